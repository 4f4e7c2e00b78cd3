/* SPDX-License-Identifier: Apache-2.0
 * beside.h - what is installed together with libforkspan.so, found from where that lies.
 */
#ifndef FORKSPAN_BATCH_BESIDE_H
#define FORKSPAN_BATCH_BESIDE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* Puts the first of `places`, each seen from this library's directory, that access() grants `mode` into
 * `path`; false: none. Not handler-safe (dladdr). */
bool beside(const char *const *places, size_t n, int mode, char path[PATH_MAX]);

#endif
