/* SPDX-License-Identifier: Apache-2.0
 * container.h - the id of the container this process runs in, as far as /proc tells.
 */
#ifndef FORKSPAN_CONFIG_CONTAINER_H
#define FORKSPAN_CONFIG_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>

enum { CONTAINER_ID = 64 };

/* cgroup v1: from the lines of /proc/self/cgroup. Pure. */
bool container_in_cgroup(const char *text, size_t len, char id[CONTAINER_ID + 1]);
/* cgroup v2 shows "/" inside a container: from the mounts a runtime makes (/proc/self/mountinfo). Pure. */
bool container_in_mountinfo(const char *text, size_t len, char id[CONTAINER_ID + 1]);
/* Reads both. No allocation. */
bool container_id(char id[CONTAINER_ID + 1]);

#endif
