/* SPDX-License-Identifier: Apache-2.0
 * file.h - an arena in a file: it outlives the whole tree, and a reboot.
 *
 * The file is the arena as it lies in memory, mapped shared; no fd of it stays open. It comes into being
 * under another name (PATH.new), whole, and gets its own only then, so that nobody maps a half-made one.
 * Several trees may share it: slots are claimed and recovered one by one, as in memory.
 *
 * Nobody but its user may touch it: no component of the path is followed if it is a symbolic link, and it is
 * a regular file, our own, of mode 0600, with one name. What only its user could do to it is a limit: cut
 * short while it is mapped, it kills whoever looks (SIGBUS).
 */
#ifndef FORKSPAN_ARENA_FILE_H
#define FORKSPAN_ARENA_FILE_H

#include "arena/arena.h"

/* Maps the arena at `path` (which must live as long as `a`), and recovers it (arena/recover.h). One that is
 * not there is made in the shape of `a`, all of its blocks allocated, if `create`: the caller begins a tree
 * of its own. One that is there keeps its own shape: every size is checked. NULL, or why not, for one line of
 * a log: then `a` is undefined and the file as it was. Waits for other starts, at most 2 s. Ordinary context,
 * one thread. */
const char *arena_file_open(struct arena *a, const char *path, bool create);

#endif
