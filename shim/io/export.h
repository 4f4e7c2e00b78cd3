/* SPDX-License-Identifier: Apache-2.0
 * export.h - the mark of a name that the preload takes from libc.
 */
#ifndef FORKSPAN_IO_EXPORT_H
#define FORKSPAN_IO_EXPORT_H

#define EXPORT __attribute__((visibility("default")))

#endif
