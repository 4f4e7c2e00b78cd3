/* SPDX-License-Identifier: Apache-2.0
 * resource.h - the Resource of this process in wire form (otel-conformance.md 2.3).
 */
#ifndef FORKSPAN_CONFIG_RESOURCE_H
#define FORKSPAN_CONFIG_RESOURCE_H

#include "config/config.h"

/* Writes an encoded resource.v1.Resource message (no outer tag) of the calling process: service.*,
 * telemetry.sdk.*, telemetry.distro.*, process.* (pid, parent_pid not), host.*, os.type, user attributes;
 * fresh service.instance.id (UUID v4) unless the user fixed one. Returns its length, 0 if it does not fit
 * into room. Ordinary context only (opens files of /proc and /etc and closes them). */
size_t resource_encode(const struct config *config, uint8_t *out, size_t room);

#endif
