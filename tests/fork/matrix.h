/* SPDX-License-Identifier: Apache-2.0
 * matrix.h - the driver of the fork matrix: one way to fork, one way to go on, one set of circumstances.
 *
 * It runs with and without the preload and writes what it sees, a line a fact, into FOLDER/facts:
 *   h WHO KEY VALUE    what the host sees: must be the same without us
 *   t WHO GOT WANTED   threads of a process, and as many as are promised
 *   s NAME             a span was ended (arrives exactly once)
 *   n PREFIX COUNT     spans PREFIX-0 .. PREFIX-(COUNT-1) were ended
 * Nothing here allocates between a fork and the end of its child.
 */
#ifndef FORKSPAN_TESTS_MATRIX_H
#define FORKSPAN_TESTS_MATRIX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { CODE = 3, ERRNO_BEFORE = 77, ENDERS_MAX = 16 };

struct options {
    const char *way, *going, *folder, *self;
    int rounds, enders;
    bool batch;       /* the batch thread runs before the fork */
    bool spans;       /* spans are ended before the fork (claims a slot), the thread is not asked for */
    bool alloc;       /* enders allocate and free */
    bool stall;       /* wait until the receiver says that the batch thread is where it is wanted */
    bool stuck;       /* the same, of a receiver that lets not even the first batch through */
    bool fill;        /* more spans than the queue holds */
    bool listens;     /* listens, as a master does; a child that serves accepts */
    bool busy_parent; /* a span of the parent must arrive while a pass-through child lives */
    bool reuse_parent, reuse_child; /* all fds closed, numbers used again for files */
    bool setuid_child, seccomp_child, setuid_parent, sigwait, atfork, atfork_flush, dlclose, lost_forker,
        open_request;
    bool child_flush; /* the child starts its batch thread before it goes on */
    bool starting;    /* the fork comes while the batch thread opens the exporter */
    bool quiet;       /* the child ends no span */
    bool slow;        /* the child of a CLONE_VFORK stays until a span of the parent has arrived */
};
extern struct options opt;
extern bool traced; /* the preload is there */

/* facts */
void fact(const char *format, ...) __attribute__((format(printf, 1, 2)));
void see_process(const char *who, int error);
void see_threads(const char *who, int wanted);
int count_threads(void);
bool exists(const char *name); /* a file of the folder */
void make(const char *name);
bool wait_for(const char *name, int ms);

/* spans */
void end_span(const char *name);
void end_spans(const char *who, int n);

/* going on, in a child: does what opt.going says. Returns where it is "return", with the exit code. `error`:
 * errno after the fork; `thread`: may this child start a thread? */
int go_on(const char *who, int error, bool thread);
/* The program that an exec'd child is. */
int exec_target(const char *who);
void exec_self(const char *who);
char *const *exec_arguments(const char *who);

/* ways: forks as opt.way says. Returns true in a child that is to return from main (its code in *code). */
bool fork_as_asked(int round, int *code);
bool way_known(void);
bool way_repeats(void); /* it forks many times by itself */
void reap_all(const char *who);

/* A fork at every few instructions of an enqueue (matrix_step.c). */
void step_as(pid_t (*how)(void));
void step_flush_as(pid_t (*how)(void));

void reuse_fds(const char *who);
int serve_request(const char *who);
#endif
