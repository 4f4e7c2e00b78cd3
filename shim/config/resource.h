/* SPDX-License-Identifier: Apache-2.0
 * resource.h - the Resource of this process in wire form (otel-conformance.md 2.3).
 */
#ifndef FORKSPAN_CONFIG_RESOURCE_H
#define FORKSPAN_CONFIG_RESOURCE_H

#include "config/config.h"

/* What all processes of a server have in common is found out, once, in the one that listens: service.name,
 * telemetry.sdk.*, telemetry.distro.*, process.executable.*, process.command, host.arch, host.id or
 * container.id, os.type, the user's attributes. One thread. Opens files of /proc and /etc and closes them; no
 * allocation. */
void resource_prepare(const struct config *config);
/* Writes an encoded resource.v1.Resource message (no outer tag) of the calling process: that, its pid
 * (parent_pid not), host.name and a fresh service.instance.id (UUID v4) unless the user fixed one. Returns
 * its length, 0 if it does not fit into room. Where resource_prepare() was called before: quick, and
 * handler-safe. */
size_t resource_encode(const struct config *config, uint8_t *out, size_t room);
/* Appends what takes longer to find out: process.owner, and process.creation.time, of `ticks` since boot (0:
 * not known). Returns the new length; `len` as it was where there is no room. The caller's is the only thread
 * that does so; a reader sees `len` bytes until it is told more. */
size_t resource_complete(const struct config *config, uint8_t *out, size_t len, size_t room, uint64_t ticks);

#endif
