/* SPDX-License-Identifier: Apache-2.0
 * otlp.h - OTEL_EXPORTER_OTLP_* (protocol/exporter.md).
 */
#ifndef FORKSPAN_CONFIG_OTLP_H
#define FORKSPAN_CONFIG_OTLP_H

#include "config/config.h"
#include "config/values.h"

void config_otlp(struct parse *p, struct exporter_config *e);

#endif
