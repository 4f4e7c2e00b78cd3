/* SPDX-License-Identifier: Apache-2.0
 * capture.h - the environment as it was at start.
 */
#ifndef FORKSPAN_CONFIG_CAPTURE_H
#define FORKSPAN_CONFIG_CAPTURE_H

/* NULL-terminated NAME=value list of OTEL_* and FORKSPAN_*; never NULL. */
char **config_captured(void);

#endif
