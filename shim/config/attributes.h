/* SPDX-License-Identifier: Apache-2.0
 * attributes.h - OTEL_RESOURCE_ATTRIBUTES.
 */
#ifndef FORKSPAN_CONFIG_ATTRIBUTES_H
#define FORKSPAN_CONFIG_ATTRIBUTES_H

#include "config/config.h"
#include "config/values.h"

/* Any error leaves the whole variable out, with one warning that names the item. */
void config_attributes(struct parse *p, struct config *config);

#endif
