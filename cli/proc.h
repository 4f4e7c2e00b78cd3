/* SPDX-License-Identifier: Apache-2.0
 * proc.h - what /proc says of another process.
 */
#ifndef FORKSPAN_CLI_PROC_H
#define FORKSPAN_CLI_PROC_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { SEGMENTS_MAX = 16 };

struct proc {
    pid_t pid, parent;
    pid_t pid_inside; /* in its own PID namespace */
    uid_t uid;        /* effective */
    unsigned threads;
    char name[64];              /* as ps shows it */
    char executable[PATH_MAX];  /* empty: a thread of the kernel's, or not to be known */
    char library[PATH_MAX];     /* of a libforkspan.so in it; empty: none */
    bool library_deleted;       /* another file has its name by now, or none */
    int segments[SEGMENTS_MAX]; /* System V segments it has */
    size_t n_segments;
    bool secure;       /* it was started with other rights than its caller's: AT_SECURE */
    char *environment; /* as it was at its start, or whatever the process has written there; malloc'd */
    char **variables;  /* of it, those that have a name and a '='; NULL at the end; malloc'd */
};

/* NULL, or why not. proc_free in both cases. */
const char *proc_read(struct proc *proc, pid_t pid);
/* The value of a variable, or NULL. */
const char *proc_variable(const struct proc *proc, const char *name);
/* Whether `path` is there for the process (its root may be another one). */
bool proc_sees(const struct proc *proc, const char *path);
void proc_free(struct proc *proc);

#endif
