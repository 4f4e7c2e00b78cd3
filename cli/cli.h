/* SPDX-License-Identifier: Apache-2.0
 * cli.h - what the files of the command share. Single-threaded throughout.
 */
#ifndef FORKSPAN_CLI_CLI_H
#define FORKSPAN_CLI_CLI_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* Exit statuses of forkspan itself, as env(1), nohup(1) and the shells use them. */
enum { EXIT_REFUSED = 2, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

#define LIBRARY_NAME "libforkspan.so"
#define EXPORTER_NAME "forkspan-exporter.so"

/* One line on standard error, begun with "forkspan: ". */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Until it is called with NULL complaints go to `line`, the last one, without "forkspan: ". */
void complain_into(char *line, size_t room);

/* run.c */
int run_main(int argc, char **argv);
void run_help(FILE *to);

/* export.c */
int export_main(int argc, char **argv);
void export_help(FILE *to);

/* status.c */
int status_main(int argc, char **argv);
void status_help(FILE *to);

/* explain.c */
int explain_main(int argc, char **argv);
void explain_help(FILE *to);

/* tree.c */

/* At the end of a run: on a terminal, if anything was served; or as was asked for. */
enum summary { SUMMARY_ON_TERMINAL, SUMMARY_ALWAYS, SUMMARY_NEVER };

/* tree_make makes the arena of the command's tree, if there is to be one, and names it in the environment.
 * The environment is complete but for that. */
void tree_make(enum summary summary);
/* tree_end sends what the tree has left when |command| has ended with wait status |status|: at most
 * FORKSPAN_EXIT_FLUSH. Then it says what the tree has done, if that is wanted. */
void tree_end(pid_t command, int status);

/* summary.c */
struct arena;
/* summary_print writes two lines: requests, and what became of their spans. */
void summary_print(FILE *to, const struct arena *a);

/* find.c */

/* find_exporter returns the path of forkspan-exporter.so, malloc'd; NULL where there is none. */
char *find_exporter(void);
/* find_library returns the absolute path of the preload, malloc'd; NULL after a complaint. */
char *find_library(void);
/* find_python returns the folder of the sitecustomize for --python that belongs to |library|, malloc'd; NULL
 * where it is not. */
char *find_python(const char *library);
/* find_command looks |name| up as execvp would and returns its path, malloc'd. NULL where there is none, with
 * *|status| EXIT_NOT_FOUND or EXIT_NOT_EXECUTABLE; says nothing. */
char *find_command(const char *name, int *status);
/* preload_with returns |old| (an LD_PRELOAD value, or NULL) with |library| put in front and every other
 * mention of forkspan's library taken out; with |library| NULL only the taking out. malloc'd. */
char *preload_with(const char *library, const char *old);

/* refuse.c */

/* refuse_command returns 0 where |library| preloaded into |path| will work as far as can be known before;
 * else an exit status, after a complaint. A file that cannot be read is let through. */
int refuse_command(const char *path, const char *library);

/* jobs.c */

/* become_command executes |path|, or hands a file without a format to /bin/sh as the shells do. Returns only
 * on failure: the exit status, after a complaint. */
int become_command(const char *path, char **argv);
/* parent_command runs |path| as a child and stays beside it: see jobs.c. Returns the exit status; where the
 * child was killed by a signal it does not return, unless as pid 1. */
int parent_command(const char *path, char **argv);

#endif
