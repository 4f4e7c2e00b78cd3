/* SPDX-License-Identifier: Apache-2.0
 * harness.h - a process made of fakes: connections fed by hand, spans caught behind ring_commit and decoded.
 */
#ifndef TEST_IO_HARNESS_H
#define TEST_IO_HARNESS_H

#include "config/config.h"
#include "io/connection.h"
#include "process.h"

#include <stdint.h>

struct caught {
    char name[64];
    char attributes[8192]; /* "key=value\n" in order */
    char tracestate[600];
    char trace_id[33], span_id[17], parent[17];
    uint64_t start, end;
    unsigned kind, status, flags, dropped;
    uint32_t room, len;
};

#define CAUGHT_MAX 64
extern struct caught caught[CAUGHT_MAX];
extern unsigned n_caught;
extern struct config test_config;
extern _Atomic uint64_t test_sampling; /* arena/sampling.h */
extern bool test_serves, test_own_thread, test_vfork_child, test_no_ring, test_no_table, test_full;
/* Forks of this process so far; its child finds the parent's entries (in this very table); their slot is
 * another's. */
extern uint32_t test_forks;
extern bool test_inherits, test_slot_reused;
extern uint64_t test_counters[COUNTERS], test_answered;

/* Before each test. */
void harness_init(void);
/* What was caught so far, while other threads go on. */
void harness_forget(void);
/* A new IPv4 connection from 192.0.2.7:4711. */
void harness_accept(int fd);
void harness_read(int fd, const char *s);
void harness_write(int fd, const char *s);
/* With the exchange "request, response, close" on fd 5. */
void harness_exchange(const char *request, const char *response);
/* The value of an attribute of the span, NULL without it; static storage. */
const char *attribute(const struct caught *s, const char *key);
/* How many entries of the table are in use. */
unsigned harness_requests_open(void);

#endif
