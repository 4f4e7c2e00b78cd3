/* SPDX-License-Identifier: Apache-2.0
 * names.h - the addresses of the one host we send to.
 *
 * No look-up of libc: getaddrinfo in one thread while another forks leaves the child with a locked resolver.
 * /etc/hosts is read by hand, the DNS is asked by c-ares, every wait is the host's. An answer is used for as
 * long as its TTL says, and beyond it only while a new one can not be had.
 */
#ifndef FORKSPAN_EXPORTER_NAMES_H
#define FORKSPAN_EXPORTER_NAMES_H

#include "exporter_internal.h"

#include <ares.h>

struct names {
    char host[256];
    ares_channel channel; /* made at open, with the resolver configuration of that moment */
    bool fixed;           /* a number, or localhost: never looked up */
    bool is_number;       /* which curl needs no help with */
    bool busy;            /* a question is under way */
    uint64_t good_until;  /* CLOCK_MONOTONIC; 0: not known yet */
    char early[512];      /* what /etc/hosts said at open: a worker in a chroot has none */
    char addresses[1024]; /* separated by commas, IPv6 in brackets; empty: none known */
    char found[1024];     /* of the question under way */
    int status, ttl;      /* of it */
};

/* `host` as in a URL (an IPv6 number in brackets). */
bool names_open(struct exporter *e, struct names *n, const char *host);
/* Sees to it that n->addresses are good. TRIED, also when there are none: then *why says why. *changed: they
 * are others than before. */
enum tried names_resolve(struct exporter *e, struct names *n, uint64_t until_ns, bool *changed,
                         const char **why);
void names_after_fork_child(struct names *n);
void names_close(struct names *n);

/* For tests: the addresses of `host` in the text of a hosts file, as in n->addresses. */
void names_in_hosts(char *text, const char *host, char *out, size_t room);

#endif
