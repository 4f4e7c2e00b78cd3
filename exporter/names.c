/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"
#include "sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    TTL_LEAST = 1,   /* s; a TTL of 0 is a question for each export otherwise */
    TTL_MOST = 3600, /* s */
    TTL_HOSTS = 10,  /* s; how often /etc/hosts is looked at */
    TTL_STALE = 5,   /* s; the next question after one without an answer */
    ASK_MS = 1500,   /* a server may take this long, times three tries */
    STALE_MS = 700,  /* all of them, while there is an old address to go on with */
    TICK_MS = 100,
};

static void add(char *out, size_t room, const char *number)
{
    size_t len = strlen(out);
    bool six = strchr(number, ':') != NULL;
    if (len + strlen(number) + 4 <= room)
        snprintf(out + len, room - len, "%s%s%s%s", len ? "," : "", six ? "[" : "", number, six ? "]" : "");
}

static bool number(const char *s)
{
    unsigned char any[16];
    return inet_pton(AF_INET, s, any) == 1 || inet_pton(AF_INET6, s, any) == 1;
}

void names_in_hosts(char *text, const char *host, char *out, size_t room)
{
    out[0] = '\0';
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line[strcspn(line, "#")] = '\0';
        char *rest = line, *address = strtok_r(line, " \t\r", &rest);
        if (!address || !number(address))
            continue;
        for (char *name; (name = strtok_r(NULL, " \t\r", &rest));)
            if (strcasecmp(name, host) == 0)
                add(out, room, address);
    }
}

static bool hosts_file(const char *host, char *out, size_t room)
{
    enum { SIZE = 64 * 1024 };
    int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    char *text = malloc(SIZE);
    size_t len = 0;
    for (ssize_t n; text && len < SIZE - 1 && (n = read(fd, text + len, SIZE - 1 - len)) > 0;)
        len += (size_t)n;
    close(fd);
    out[0] = '\0';
    if (text) {
        text[len] = '\0';
        names_in_hosts(text, host, out, room);
    }
    free(text);
    return true;
}

static bool make_channel(struct names *n)
{
    struct ares_options options = {.timeout = ASK_MS, .tries = 3, .lookups = (char *)"b"};
    n->channel = NULL;
    return ares_init_options(&n->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS) ==
           ARES_SUCCESS;
}

bool names_open(struct exporter *e, struct names *n, const char *host)
{
    size_t len = strlen(host);
    if (len >= 2 && host[0] == '[') /* the number of an IPv6 URL */
        host++, len -= 2;
    if (len >= sizeof n->host)
        return false;
    memcpy(n->host, host, len);
    n->host[len] = '\0';
    n->fixed = true;
    if (strcasecmp(n->host, "localhost") == 0)
        strcpy(n->addresses, "127.0.0.1,[::1]");
    else if (number(n->host))
        n->is_number = true;
    else
        n->fixed = false;
    if (n->fixed)
        return true;
    hosts_file(n->host, n->early, sizeof n->early);
    if (!make_channel(n)) {
        exporter_log(e, 0, "the resolver can not be made ready: no span is exported");
        return false;
    }
    return true;
}

static void answered(void *ctx, int status, int timeouts, struct ares_addrinfo *found)
{
    struct names *n = ctx;
    (void)timeouts;
    n->status = status;
    n->busy = false;
    n->ttl = TTL_MOST;
    if (!found)
        return;
    for (const struct ares_addrinfo_node *a = found->nodes; a; a = a->ai_next) {
        char text[INET6_ADDRSTRLEN];
        const void *bytes =
            a->ai_family == AF_INET6
                ? (const void *)&((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_addr
                : (const void *)&((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_addr;
        if (inet_ntop(a->ai_family, bytes, text, sizeof text))
            add(n->found, sizeof n->found, text);
        if (a->ai_ttl < n->ttl)
            n->ttl = a->ai_ttl;
    }
    for (const struct ares_addrinfo_cname *c = found->cnames; c; c = c->next)
        if (c->ttl < n->ttl)
            n->ttl = c->ttl;
    ares_freeaddrinfo(found);
}

/* Asks the DNS; the answer is in n->found, n->status, n->ttl. */
static enum tried ask(struct exporter *e, struct names *n, uint64_t until_ns)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    n->found[0] = '\0';
    n->busy = true;
    ares_getaddrinfo(n->channel, n->host, NULL, &hints, answered, n);
    while (n->busy) {
        ares_socket_t s[ARES_GETSOCK_MAXNUM];
        struct pollfd fds[ARES_GETSOCK_MAXNUM];
        unsigned count = 0;
        int bits = ares_getsock(n->channel, s, ARES_GETSOCK_MAXNUM);
        if (sockets_lost() || (until_ns && exporter_now_ns() >= until_ns)) {
            ares_cancel(n->channel);
            continue;
        }
        for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
            short events = (short)((ARES_GETSOCK_READABLE(bits, i) ? POLLIN : 0) |
                                   (ARES_GETSOCK_WRITABLE(bits, i) ? POLLOUT : 0));
            if (events)
                fds[count++] = (struct pollfd){.fd = s[i], .events = events};
        }
        struct timeval most = {0, TICK_MS * 1000}, room, *wait = ares_timeout(n->channel, &most, &room);
        int ready =
            e->host.wait(e->host.ctx, fds, count, (int)(wait->tv_sec * 1000 + wait->tv_usec / 1000) + 1);
        if (ready == -2) {
            ares_cancel(n->channel);
            return TRIED_STOPPED;
        }
        for (unsigned i = 0; i < count && ready > 0; i++)
            if (fds[i].revents)
                ares_process_fd(n->channel, fds[i].revents & ~POLLOUT ? fds[i].fd : ARES_SOCKET_BAD,
                                fds[i].revents & POLLOUT ? fds[i].fd : ARES_SOCKET_BAD);
        if (ready <= 0)
            ares_process_fd(n->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
    return until_ns && exporter_now_ns() >= until_ns ? TRIED_TIME_UP : TRIED;
}

enum tried names_resolve(struct exporter *e, struct names *n, uint64_t until_ns, bool *changed,
                         const char **why)
{
    *changed = false;
    *why = "";
    if (n->fixed || (n->good_until && exporter_now_ns() < n->good_until))
        return TRIED;
    char before[sizeof n->addresses];
    memcpy(before, n->addresses, sizeof before);
    int ttl = TTL_HOSTS;
    if (!hosts_file(n->host, n->found, sizeof n->found))
        strcpy(n->found, n->early);
    if (n->found[0] == '\0') {
        uint64_t most = exporter_now_ns() + STALE_MS * UINT64_C(1000000);
        bool stale = n->addresses[0] != '\0' && (!until_ns || most < until_ns);
        enum tried tried = n->channel || make_channel(n) ? ask(e, n, stale ? most : until_ns) : TRIED;
        if (tried == TRIED_STOPPED)
            return tried;
        if (n->found[0] == '\0') {
            /* The configuration may have changed since open; where it can not be read, the old one stays. */
            *why = ares_strerror(n->status);
            if (n->channel && access("/etc/resolv.conf", R_OK) == 0) {
                ares_destroy(n->channel);
                n->channel = NULL;
            }
            if (n->addresses[0] == '\0')
                return tried;
            exporter_log(e, 1, "the endpoint's name can not be resolved again (%s): the old address is used",
                         *why);
            n->good_until = exporter_now_ns() + TTL_STALE * UINT64_C(1000000000);
            return TRIED;
        }
        ttl = n->ttl < TTL_LEAST ? TTL_LEAST : n->ttl;
    }
    strcpy(n->addresses, n->found);
    *changed = strcmp(before, n->addresses) != 0;
    n->good_until = exporter_now_ns() + (uint64_t)ttl * 1000000000u;
    return TRIED;
}

void names_after_fork_child(struct names *n)
{
    /* An idle channel is memory only. One with a question under way is its parent's. */
    if (n->busy)
        n->channel = NULL;
    n->busy = false;
}

void names_close(struct names *n)
{
    if (n->channel)
        ares_destroy(n->channel);
    n->channel = NULL;
}
