/* SPDX-License-Identifier: Apache-2.0
 * knobs.h - protections that a test may take away, to show that it finds what they are for.
 *
 * Only in builds with -Dtest_knobs=true; in all others KNOB_OFF() is the constant false, and neither the
 * names nor the variable FORKSPAN_TEST_OFF (a list of names) are in the object. tests/fork/protections.py
 * has, for each knob, the cell of the fork matrix that fails without it.
 */
#ifndef FORKSPAN_FORK_KNOBS_H
#define FORKSPAN_FORK_KNOBS_H

#ifdef FORKSPAN_TEST_KNOBS

#include <stdbool.h>

/* Protections (off: not done) ... */
#define KNOBS(X)                                                                                             \
    X(hold)           /* the batch thread is brought to rest */                                              \
    X(queue_nesting)  /* a thread that holds it comes back to it */                                          \
    X(queue_reinit)   /* made anew in the child */                                                           \
    X(atfork)         /* layer 1 */                                                                          \
    X(wrappers)       /* layer 2 */                                                                          \
    X(generation)     /* layer 3: the page is wiped in a child */                                            \
    X(reseed)         /* a child has ids of its own */                                                       \
    X(child_forgets)  /* the parent's slot is not the child's */                                             \
    X(private_slot)   /* private memory lies over its parent's slot */                                       \
    X(own_start)      /* a thread whose start a fork interrupted is not the child's */                       \
    X(thread_forgets) /* the parent's thread is not the child's */                                           \
    X(close_copies)   /* the child's copy of the parent's connection */                                      \
    X(clone_exit)     /* the end of a clone's child is the end of its process */                             \
    X(vfork_release)  /* a CLONE_VFORK child releases the hold */                                            \
    X(vfork_mark)     /* a vfork child leaves the tables alone */                                            \
    X(shares_files)   /* a CLONE_FILES child closes nothing */                                               \
    X(no_thread)      /* no thread in a child that nobody repaired */                                        \
    X(failed_fork)    /* the parent half, where the fork failed */                                           \
    X(lapse)          /* a hold ends after a second */                                                       \
    X(mask)           /* the application's signals are blocked in our thread */                              \
    X(exit_guard)     /* an exit in a child that never spoke to us touches nothing */                        \
    X(start_errno)    /* main() finds errno 0 */                                                             \
    /* ... and mistakes that the design avoids (off: made) */                                                \
    X(raw_mask)    /* the thread's mask leaves libc's own signals open */                                    \
    X(leaf_lock)   /* the wrapper holds no lock across other handlers */                                     \
    X(lazy_thread) /* no thread is started on a clone's stack */                                             \
    X(pass_vm)     /* CLONE_VM passes through */                                                             \
    X(pass_spawn)  /* vfork, posix_spawn, system and popen pass through */                                   \
    /* ... and a state that shows them: the batch thread never rests */                                      \
    X(ever_resting)

#define KNOB_ENUM(name) KNOB_##name,
enum knob { KNOBS(KNOB_ENUM) KNOB_COUNT };
#undef KNOB_ENUM

/* Constructor: the environment as it was passed, since libc may not have it yet. */
void knobs_init(char **environ_now);
bool knob_off(enum knob k);
#define KNOB_OFF(name) knob_off(KNOB_##name)

#define KNOBS_INIT(environ_now) knobs_init(environ_now)

#else
#define KNOB_OFF(name) false
#define KNOBS_INIT(environ_now) ((void)0)
#endif

#endif
