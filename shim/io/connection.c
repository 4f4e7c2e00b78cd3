/* SPDX-License-Identifier: Apache-2.0 */
#include "io/connection.h"
#include "clock.h"
#include "fork/generation.h"
#include "io/http_span.h"
#include "io/uwsgi_span.h"
#include "process.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/un.h>

#define FDS_MAX (1u << 20)
#define CHUNK 64u
#define CHUNKS (FDS_MAX / CHUNK)
/* Marks a connection whose inherited state is being cleared. No generation reaches it. */
#define REFRESHING UINT64_MAX

struct connection *_Atomic *_Atomic connection_entries;
_Atomic uint32_t connection_length;
static _Atomic uint32_t table_high; /* no entry at or above it was ever set */

static struct connection *_Atomic chunks[CHUNKS];
static _Atomic uint32_t next_index;
/* Index + 1 of the first free connection, and a count that makes each change a new value. */
static _Atomic uint64_t free_list;

/* ------------------------------------------------------------------ memory */

static bool table_make(void)
{
    if (atomic_load(&connection_length))
        return true;
    struct rlimit limit;
    uint32_t n = FDS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < n)
        n = (uint32_t)limit.rlim_max;
    /* An address space limit is the host's to spend. */
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && n > 65536)
        n = 65536;
    if (n == 0)
        return false;
    size_t size = (size_t)n * sizeof *connection_entries;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return false;
    struct connection *_Atomic *none = NULL;
    if (!atomic_compare_exchange_strong(&connection_entries, &none, p)) {
        munmap(p, size);
        return atomic_load(&connection_length) != 0;
    }
    atomic_store_explicit(&connection_length, n, memory_order_release);
    return true;
}

static struct connection *by_index(uint32_t i)
{
    struct connection *chunk = atomic_load_explicit(&chunks[i / CHUNK], memory_order_acquire);
    return chunk + i % CHUNK;
}

static struct connection *chunk_make(uint32_t i)
{
    struct connection *chunk = atomic_load_explicit(&chunks[i / CHUNK], memory_order_acquire);
    if (chunk)
        return chunk + i % CHUNK;
    size_t size = CHUNK * sizeof *chunk;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (!atomic_compare_exchange_strong(&chunks[i / CHUNK], &chunk, p)) {
        munmap(p, size);
        return chunk + i % CHUNK;
    }
    return (struct connection *)p + i % CHUNK;
}

static struct connection *connection_take(void)
{
    uint64_t head = atomic_load_explicit(&free_list, memory_order_acquire);
    while ((uint32_t)head) {
        struct connection *c = by_index((uint32_t)head - 1);
        uint32_t next = atomic_load_explicit(&c->next_free, memory_order_relaxed);
        uint64_t want = ((head >> 32) + 1) << 32 | next;
        if (atomic_compare_exchange_weak_explicit(&free_list, &head, want, memory_order_acquire,
                                                  memory_order_acquire))
            return c;
    }
    uint32_t i = atomic_load_explicit(&next_index, memory_order_relaxed);
    do {
        if (i >= FDS_MAX)
            return NULL;
    } while (!atomic_compare_exchange_weak(&next_index, &i, i + 1));
    struct connection *c = chunk_make(i);
    if (c) /* an index whose chunk could not be mapped is lost; so is everything else then */
        c->index = i;
    return c;
}

static void connection_give_back(struct connection *c)
{
    uint64_t head = atomic_load_explicit(&free_list, memory_order_relaxed);
    uint64_t want;
    do {
        atomic_store_explicit(&c->next_free, (uint32_t)head, memory_order_relaxed);
        want = ((head >> 32) + 1) << 32 | (c->index + 1);
    } while (!atomic_compare_exchange_weak_explicit(&free_list, &head, want, memory_order_release,
                                                    memory_order_relaxed));
}

/* ------------------------------------------------------------------ halves */

/* Puts `half` into this thread's hands; *stale is set where the word was left behind by a fork. */
static bool owner_take(struct connection *c, enum half half, uint64_t now, bool *stale)
{
    uint64_t owner = atomic_load(&c->owner[half]);
    do {
        if (owner == now)
            return false;
    } while (!atomic_compare_exchange_weak(&c->owner[half], &owner, now));
    *stale = owner != 0;
    return true;
}

static void owner_drop(struct connection *c, enum half half)
{
    atomic_store(&c->owner[half], 0);
}

/* The one request that the parent read and had not answered when it forked: from now on known by its entry in
 * the arena, since the memory that the parent had it in is not the child's. */
static bool inherit_pending(struct connection *c)
{
    uint32_t got = atomic_load(&c->got);
    if (atomic_load(&c->put) - got != 1)
        return false;
    if (c->foreign)
        return true; /* a grandparent's */
    _Atomic uintptr_t *place = &c->pending[got % CONNECTION_PENDING];
    uintptr_t word = atomic_load(place);
    struct request *r = PENDING_POINTER(word);
    if (r)
        r = process_inherited_request(r, &c->foreign_epoch);
    if (!r)
        return false;
    atomic_store(place, (uintptr_t)r | (word & (PENDING_SET | PENDING_KIND_MASK)));
    c->foreign = true;
    return true;
}

/* This process is not the one that read what the connection remembers: those requests are the parent's.
 * Between two requests the connection goes on, else its place in the stream is unknown. False while another
 * thread is at it. */
static bool refresh(struct connection *c, uint64_t now, bool stale)
{
    uint64_t then = atomic_load(&c->generation);
    if (then == now)
        return true;
    if (then == REFRESHING || !atomic_compare_exchange_strong(&c->generation, &then, REFRESHING))
        return false;
    for (int h = 0; h < 2; h++) {
        uint64_t owner = atomic_load(&c->owner[h]);
        stale |= owner != 0 && owner != now;
    }
    bool between = !stale && c->protocol != PROTOCOL_UWSGI && http1_idle(&c->request) &&
                   http1_idle(&c->response) && atomic_load(&c->put) == atomic_load(&c->got) &&
                   !atomic_load(&c->request_final);
    /* What was read and not answered may be answered here; of one request the place in the stream is known.
     */
    bool asked = !stale && !between && http1_idle(&c->response) && inherit_pending(c);
    c->inherited = true;
    c->inherited_ns = clock_ns(CLOCK_MONOTONIC);
    c->current = NULL;
    c->answering = false;
    if (!asked) {
        atomic_store(&c->put, 0);
        atomic_store(&c->got, 0);
    }
    atomic_store(&c->generation, now);
    if (!between && !asked)
        connection_end(c, CONNECTION_DONE);
    return true;
}

static void try_finish(struct connection *c)
{
    uint64_t now = generation_now();
    bool stale = false;
    for (;;) {
        if (!owner_take(c, HALF_REQUEST, now, &stale))
            return; /* its holder will come here when it leaves */
        if (owner_take(c, HALF_RESPONSE, now, &stale))
            break;
        owner_drop(c, HALF_REQUEST);
        /* The other half's holder may have looked while we held this one: then it is our turn again. */
        if (atomic_load(&c->owner[HALF_RESPONSE]) == now)
            return;
    }
    uint32_t why = atomic_load(&c->ending);
    bool ours = why != CONNECTION_LIVE && why != CONNECTION_FREE;
    if (ours) {
        if (atomic_load(&c->generation) == now) {
            if (why == CONNECTION_CLOSED)
                http_connection_closed(c);
            else
                http_connection_forget(c);
        }
        atomic_store(&c->ending, CONNECTION_FREE);
    }
    owner_drop(c, HALF_REQUEST);
    owner_drop(c, HALF_RESPONSE);
    if (ours)
        connection_give_back(c);
}

static void entry_clear(uint32_t fd, struct connection *c)
{
    if (fd < atomic_load(&connection_length))
        atomic_compare_exchange_strong(&connection_entries[fd], &c, CONNECTION_NONE);
}

void connection_end(struct connection *c, enum connection_ending why)
{
    uint32_t live = CONNECTION_LIVE;
    if (!atomic_compare_exchange_strong(&c->ending, &live, why))
        return;
    if (why == CONNECTION_UNSURE)
        process_count(COUNT_UNSURE, 1);
    if (why != CONNECTION_CLOSED) {
        uint64_t fds = atomic_load(&c->fds);
        entry_clear((uint32_t)(fds >> 32), c);
        entry_clear((uint32_t)fds, c);
    }
    try_finish(c);
}

bool connection_try(struct connection *c, enum half half)
{
    bool stale;
    return owner_take(c, half, generation_now(), &stale);
}

void connection_leave(struct connection *c, enum half half)
{
    owner_drop(c, half);
    uint32_t why = atomic_load(&c->ending);
    if (why != CONNECTION_LIVE && why != CONNECTION_FREE)
        try_finish(c);
}

#define FDS(first, second) ((uint64_t)(uint32_t)(first) << 32 | (uint32_t)(second))

static bool has_fd(struct connection *c, int fd)
{
    uint64_t fds = atomic_load(&c->fds);
    return (uint32_t)(fds >> 32) == (uint32_t)fd || (uint32_t)fds == (uint32_t)fd;
}

/* Enters a half for the bytes of fd; false where there is nothing to do (any more), or another is in it: that
 * makes the connection unsure where `bytes` go by. */
static bool enter(struct connection *c, int fd, enum half half, bool bytes)
{
    uint64_t now = generation_now();
    bool stale = false;
    if (!owner_take(c, half, now, &stale)) {
        if (bytes)
            connection_end(c, CONNECTION_UNSURE);
        return false;
    }
    if (refresh(c, now, stale) && atomic_load(&c->ending) == CONNECTION_LIVE && has_fd(c, fd))
        return true;
    connection_leave(c, half);
    return false;
}

/* fd is a number of c no more; true: it was the last. */
static bool fd_drop(struct connection *c, int fd)
{
    uint64_t fds = atomic_load(&c->fds), want;
    do {
        uint32_t first = (uint32_t)(fds >> 32), second = (uint32_t)fds;
        if (first == (uint32_t)fd)
            want = FDS(second, CONNECTION_NO_FD);
        else if (second == (uint32_t)fd)
            want = FDS(first, CONNECTION_NO_FD);
        else
            return false;
    } while (!atomic_compare_exchange_weak(&c->fds, &fds, want));
    return want == FDS(CONNECTION_NO_FD, CONNECTION_NO_FD);
}

/* ------------------------------------------------------------------ fds */

static void peer_set(struct connection *c, const struct sockaddr *peer, socklen_t len)
{
    c->peer_family = 0;
    c->peer_port = 0;
    c->peer_path_len = 0;
    if (!peer || len < sizeof peer->sa_family)
        return;
    sa_family_t family;
    memcpy(&family, peer, sizeof family);
    if (family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, peer, sizeof in);
        memcpy(c->peer, &in.sin_addr, 4);
        c->peer_port = ntohs(in.sin_port);
    } else if (family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in;
        memcpy(&in, peer, sizeof in);
        memcpy(c->peer, &in.sin6_addr, 16);
        c->peer_port = ntohs(in.sin6_port);
    } else if (family == AF_UNIX) {
        const char *path = (const char *)peer + offsetof(struct sockaddr_un, sun_path);
        size_t room =
            len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path) : 0;
        if (room > sizeof c->peer_path)
            room = sizeof c->peer_path;
        size_t n = strnlen(path, room); /* an abstract name begins with NUL: no path */
        memcpy(c->peer_path, path, n);
        c->peer_path_len = (uint16_t)n;
    } else {
        return;
    }
    c->peer_family = (uint8_t)family;
}

static struct connection *connection_new(int fd, const struct sockaddr *peer, socklen_t len)
{
    struct connection *c = connection_take();
    if (!c)
        return NULL;
    atomic_store_explicit(&c->owner[0], 0, memory_order_relaxed);
    atomic_store_explicit(&c->owner[1], 0, memory_order_relaxed);
    atomic_store_explicit(&c->generation, generation_now(), memory_order_relaxed);
    atomic_store_explicit(&c->fault, FAULT_NONE, memory_order_relaxed);
    atomic_store_explicit(&c->fds, FDS(fd, CONNECTION_NO_FD), memory_order_relaxed);
    atomic_store_explicit(&c->peeked, 0, memory_order_relaxed);
    atomic_store_explicit(&c->passed_on, false, memory_order_relaxed);
    c->protocol = PROTOCOL_UNKNOWN;
    c->foreign = false;
    c->forks = 0;
    http1_init_request(&c->request);
    http1_init_response(&c->response);
    c->current = NULL;
    c->inherited = c->handed_over = c->value_begun = c->value_ignored = false;
    c->method_len = c->traceparent_len = c->traceparents = 0;
    c->answering = c->status_told = false;
    c->head_at = c->traceparent_at = NULL;
    c->last_sent_ns = 0;
    atomic_store_explicit(&c->request_final, false, memory_order_relaxed);
    atomic_store_explicit(&c->put, 0, memory_order_relaxed);
    atomic_store_explicit(&c->got, 0, memory_order_relaxed);
    peer_set(c, peer, len);
    atomic_store_explicit(&c->ending, CONNECTION_LIVE, memory_order_release);
    return c;
}

static void entry_set(int fd, struct connection *c)
{
    uint32_t high = atomic_load_explicit(&table_high, memory_order_relaxed);
    while (high <= (uint32_t)fd && !atomic_compare_exchange_weak(&table_high, &high, (uint32_t)fd + 1))
        ;
    struct connection *old = atomic_exchange(&connection_entries[fd], c);
    if ((uintptr_t)old > (uintptr_t)CONNECTION_NONE && old != c && fd_drop(old, fd))
        connection_end(old, CONNECTION_CLOSED); /* it was closed in a way that we do not see */
}

static bool in_table(int fd)
{
    return (uint32_t)fd < atomic_load(&connection_length);
}

void connection_accepted(int fd, const struct sockaddr *peer, socklen_t len)
{
    int saved = errno;
    if (!process_own_thread() && !(in_table(fd) && process_in_vfork_child())) {
        bool wanted = config_get()->instrument & (INSTRUMENT_HTTP | INSTRUMENT_UWSGI);
        bool serves = wanted && process_accepts();
        if (serves)
            table_make();
        if (in_table(fd)) {
            /* Another thread may be claiming the slot at this moment: then the first read looks again. */
            struct connection *none = wanted ? NULL : CONNECTION_NONE;
            struct connection *c = serves ? connection_new(fd, peer, len) : NULL;
            entry_set(fd, c ? c : none);
        }
    }
    errno = saved;
}

void connection_arrived(int fd)
{
    int saved = errno;
    if (!process_own_thread() && table_make() && in_table(fd) && !process_in_vfork_child())
        entry_set(fd, NULL);
    errno = saved;
}

void connection_passed_on(int fd)
{
    struct connection *c = connection_of(fd);
    if ((uintptr_t)c > (uintptr_t)CONNECTION_NONE && !process_in_vfork_child())
        atomic_store_explicit(&c->passed_on, true, memory_order_relaxed);
}

void connection_duplicated(int from, int to)
{
    struct connection *c = connection_of(from);
    if (!in_table(to) || process_in_vfork_child())
        return;
    int saved = errno;
    if ((uintptr_t)c <= (uintptr_t)CONNECTION_NONE) {
        /* Not looked at yet, or of no interest; the first bytes of either tell. */
        if (connection_of(to))
            entry_set(to, NULL);
    } else {
        uint64_t fds = FDS(from, CONNECTION_NO_FD);
        if (atomic_compare_exchange_strong(&c->fds, &fds, FDS(from, to))) {
            entry_set(to, c);
            if (atomic_load(&c->ending) != CONNECTION_LIVE)
                entry_clear((uint32_t)to, c); /* it ended meanwhile, and did not see this number */
        } else if (has_fd(c, from)) {
            entry_set(to, CONNECTION_NONE);
            bool ours = atomic_load(&c->generation) == generation_now();
            connection_end(c, ours ? CONNECTION_UNSURE : CONNECTION_DONE);
        }
    }
    errno = saved;
}

void connection_blind(int fd)
{
    struct connection *c = connection_of(fd);
    if (c == CONNECTION_NONE || process_in_vfork_child())
        return;
    int saved = errno;
    if (c)
        connection_end(c, CONNECTION_DONE);
    else
        entry_set(fd, CONNECTION_NONE);
    errno = saved;
}

void connection_gone(int fd)
{
    struct connection *c = connection_of(fd);
    if (!c || !in_table(fd))
        return;
    int saved = errno;
    if (c == CONNECTION_NONE) {
        /* A vfork child may do this, too: the entry is then found out anew. */
        atomic_compare_exchange_strong(&connection_entries[fd], &c, NULL);
    } else if (!process_in_vfork_child() &&
               atomic_compare_exchange_strong(&connection_entries[fd], &c, NULL) && fd_drop(c, fd)) {
        connection_end(c, CONNECTION_CLOSED);
    }
    errno = saved;
}

void connection_gone_range(unsigned first, unsigned last)
{
    uint32_t high = atomic_load_explicit(&table_high, memory_order_relaxed);
    for (uint64_t fd = first; fd <= last && fd < high; fd++)
        connection_gone((int)fd);
}

/* ------------------------------------------------------------------ bytes */

/* The first bytes read from an fd that no accept was seen of. NULL: nothing for us. */
static struct connection *classify(int fd, const struct iovec *iov, ssize_t got)
{
    if (process_own_thread())
        return NULL;
    size_t first = iov->iov_len < (size_t)got ? iov->iov_len : (size_t)got;
    struct connection *c = NULL;
    if (http_looks_like_request(iov->iov_base, first)) {
        if (process_in_vfork_child())
            return NULL;
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer, type_len = sizeof(int);
        int type = 0;
        /* A worker that was exec'd and gets its connections over a socket (node) has no other place to begin
         * in: here, not in a signal handler, which reads no request of a connection it has never seen. */
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_STREAM &&
            getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && process_serves(false) &&
            (config_get()->instrument & INSTRUMENT_HTTP))
            c = connection_new(fd, (struct sockaddr *)&peer, len);
    }
    entry_set(fd, c ? c : CONNECTION_NONE);
    return c;
}

static void fault_set(struct connection *c, uint32_t fault)
{
    uint32_t none = FAULT_NONE;
    atomic_compare_exchange_strong_explicit(&c->fault, &none, fault, memory_order_relaxed,
                                            memory_order_relaxed);
}

static void fault_of(struct connection *c, int error)
{
    if (error == ECONNRESET || error == EPIPE || error == ECONNABORTED)
        fault_set(c, FAULT_RESET);
    else if (error == ETIMEDOUT)
        fault_set(c, FAULT_TIMEOUT);
}

/* `n` bytes have left the stream. */
static void looked_at_no_more(struct connection *c, size_t n)
{
    uint32_t peeked = atomic_load_explicit(&c->peeked, memory_order_relaxed);
    if (__builtin_expect(peeked != 0, 0))
        atomic_store_explicit(&c->peeked, peeked > n ? peeked - (uint32_t)n : 0, memory_order_relaxed);
}

static void request_bytes(struct connection *c, uint8_t *p, size_t n)
{
    if (c->protocol == PROTOCOL_UNKNOWN && n) {
        bool uwsgi = uwsgi_first_byte(*p);
        c->protocol = uwsgi ? PROTOCOL_UWSGI : PROTOCOL_HTTP;
        uwsgi_init(&c->uwsgi);
        if (!(config_get()->instrument & (uwsgi ? INSTRUMENT_UWSGI : INSTRUMENT_HTTP)))
            connection_end(c, CONNECTION_DONE);
    }
    if (c->protocol == PROTOCOL_UWSGI)
        uwsgi_request_bytes(c, p, n);
    else
        http_request_bytes(c, p, n);
}

static void feed(struct connection *c, const struct iovec *iov, int n, size_t bytes, enum half half)
{
    for (int i = 0; i < n && bytes; i++) {
        size_t part = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;
        if (half == HALF_RESPONSE) {
            http_response_bytes(c, iov[i].iov_base, part);
        } else {
            request_bytes(c, iov[i].iov_base, part);
            looked_at_no_more(c, part);
        }
        bytes -= part;
    }
}

void connection_read(int fd, const struct iovec *iov, int n, ssize_t got)
{
    struct connection *c = connection_of(fd);
    if (c == CONNECTION_NONE)
        return;
    int saved = errno;
    if (!c) {
        if (got > 0 && n > 0)
            c = classify(fd, iov, got);
    } else if (process_own_thread() || process_in_vfork_child()) {
        c = NULL;
    }
    if (c && got > 0) {
        if (enter(c, fd, HALF_REQUEST, true)) {
            feed(c, iov, n, (size_t)got, HALF_REQUEST);
            connection_leave(c, HALF_REQUEST);
        }
    } else if (c && got == 0) {
        if (n > 0 && iov->iov_len) /* a read of nothing tells nothing */
            fault_set(c, FAULT_EOF);
    } else if (c) {
        fault_of(c, saved);
    }
    errno = saved;
}

void connection_peeked(int fd, const struct iovec *iov, int n, ssize_t got)
{
    struct connection *c = connection_of(fd);
    if (c == CONNECTION_NONE || got <= 0 || n <= 0)
        return;
    int saved = errno;
    if (!c)
        c = classify(fd, iov, got);
    if (c && !process_own_thread() && !process_in_vfork_child()) {
        uint32_t now = atomic_load_explicit(&c->peeked, memory_order_relaxed);
        uint32_t want = got < INT32_MAX ? (uint32_t)got : INT32_MAX;
        while (now < want && !atomic_compare_exchange_weak(&c->peeked, &now, want))
            ;
    }
    errno = saved;
}

/* The connection of fd, where its bytes are to be looked at. */
static struct connection *traced(int fd)
{
    struct connection *c = connection_of(fd);
    if ((uintptr_t)c <= (uintptr_t)CONNECTION_NONE || process_own_thread() || process_in_vfork_child())
        return NULL;
    return c;
}

void connection_read_unseen(int fd, ssize_t got)
{
    if (got <= 0)
        return;
    int saved = errno;
    struct connection *c = connection_of(fd);
    if (!c) {
        connection_blind(fd); /* its beginning is not known */
    } else if ((c = traced(fd)) && enter(c, fd, HALF_REQUEST, true)) {
        http_request_unseen(c, (size_t)got);
        looked_at_no_more(c, (size_t)got);
        connection_leave(c, HALF_REQUEST);
    }
    errno = saved;
}

void connection_write_ahead(int fd, const void *p, size_t len)
{
    struct connection *c = traced(fd);
    if (c && atomic_load_explicit(&c->generation, memory_order_relaxed) == generation_now())
        http_write_ahead(c, p, len);
}

void connection_written(int fd, const struct iovec *iov, int n, ssize_t sent)
{
    int saved = errno;
    struct connection *c = traced(fd);
    if (c && sent < 0) {
        fault_of(c, saved);
    } else if (c && sent > 0 && enter(c, fd, HALF_RESPONSE, true)) {
        feed(c, iov, n, (size_t)sent, HALF_RESPONSE);
        connection_leave(c, HALF_RESPONSE);
    }
    errno = saved;
}

void connection_written_unseen(int fd, ssize_t sent)
{
    int saved = errno;
    struct connection *c = traced(fd);
    if (c && sent < 0) {
        fault_of(c, saved);
    } else if (c && sent > 0 && enter(c, fd, HALF_RESPONSE, true)) {
        http_response_unseen(c, (size_t)sent);
        connection_leave(c, HALF_RESPONSE);
    }
    errno = saved;
}

void connection_shut(int fd)
{
    int saved = errno;
    struct connection *c = traced(fd);
    if (c && enter(c, fd, HALF_RESPONSE, false)) {
        http_response_shut(c);
        connection_leave(c, HALF_RESPONSE);
    }
    errno = saved;
}

void connection_postfork_child(void)
{
    /* Each connection finds out by its generation when it is next touched: a child that closes thousands of
     * fds and serves none pays nothing here. */
    request_postfork_child();
}
