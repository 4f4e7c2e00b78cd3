/* SPDX-License-Identifier: Apache-2.0
 * program.h - FORKSPAN_ONLY: which programs are traced, by name.
 */
#ifndef FORKSPAN_CONFIG_PROGRAM_H
#define FORKSPAN_CONFIG_PROGRAM_H

#include <stdbool.h>

/* True where `only` is NULL, or has the name of this process (what ps shows: a script's own name, at most 15
 * bytes of it), the last part of its executable's path, or of argv[0]. Two system calls; any context. */
bool program_wanted(const char *const *only);
/* The same of a process known by these three; `only` is not NULL. */
bool program_named(const char *const *only, const char *comm, const char *executable, const char *called);

#endif
