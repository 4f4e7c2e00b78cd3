/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "arena/requests.h"
#include "fork/generation.h"
#include "tls.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct caught caught[CAUGHT_MAX];
unsigned n_caught;
uint32_t test_forks;
bool test_inherits, test_slot_reused;
bool test_serves, test_own_thread, test_vfork_child, test_no_ring, test_no_table, test_full;
uint64_t test_counters[COUNTERS], test_answered;
struct config test_config;
_Atomic uint64_t test_sampling;
const _Atomic uint64_t *process_sampling_word = &test_sampling;

static _Thread_local uint8_t record[65536];
static _Atomic uint32_t next_number;
static pthread_mutex_t catching = PTHREAD_MUTEX_INITIALIZER;
static struct request_table *table;

/* ---- process.h, ring.h, config.h */

bool process_serves(bool signal_safe_only)
{
    (void)signal_safe_only;
    return test_serves;
}
bool process_accepts(void)
{
    return test_serves;
}
bool process_makes_spans(bool signal_safe_only)
{
    (void)signal_safe_only;
    return true;
}

_Thread_local struct thread_state tls;

struct ring *process_ring(void)
{
    return test_no_ring ? NULL : (struct ring *)record;
}
struct request_table *process_requests(void)
{
    return test_no_table ? NULL : table;
}
void process_committed(void)
{
}
void process_listens(void)
{
}
uint32_t process_forks_made(void)
{
    return test_forks;
}

struct request *process_inherited_request(struct request *r, uint32_t *epoch)
{
    *epoch = 7;
    return test_inherits ? r : NULL;
}

struct request_table *process_request_table(const struct request *r, uint32_t epoch)
{
    (void)r;
    return epoch == 7 && !test_slot_reused ? table : NULL;
}

void process_count(enum counter c, uint64_t n)
{
    __atomic_fetch_add(&test_counters[c], n, __ATOMIC_RELAXED);
}
void process_answered(uint64_t ns, bool error)
{
    const uint64_t a_minute = UINT64_C(60000000000); /* a time since the machine's start is none */
    __atomic_fetch_add(&test_answered, ns < a_minute, __ATOMIC_RELAXED);
    if (error)
        process_count(COUNT_ERRORS, 1);
}
bool process_own_thread(void)
{
    return test_own_thread;
}
bool process_in_vfork_child(void)
{
    return test_vfork_child;
}
const struct config *config_get(void)
{
    return &test_config;
}

bool ring_reserve(struct ring *ring, uint32_t room, struct ring_place *place)
{
    cr_assert_leq(room, sizeof record);
    if (test_full)
        return false;
    *place = (struct ring_place){ring, record, room, next_number++};
    return true;
}

/* ---- a reader of protobuf, enough for a Span */

struct reader {
    const uint8_t *p, *end;
};

static uint64_t varint(struct reader *r)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        cr_assert_lt(r->p, r->end);
        uint8_t b = *r->p++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    cr_assert_fail("varint");
    return 0;
}

static struct reader bytes(struct reader *r)
{
    uint64_t n = varint(r);
    cr_assert_leq(n, (uint64_t)(r->end - r->p));
    struct reader inner = {r->p, r->p + n};
    r->p += n;
    return inner;
}

static uint64_t fixed(struct reader *r, int n)
{
    uint64_t v = 0;
    cr_assert_leq(n, r->end - r->p);
    memcpy(&v, r->p, (size_t)n);
    r->p += n;
    return v;
}

static void copy(char *out, size_t room, struct reader r)
{
    size_t n = (size_t)(r.end - r.p);
    cr_assert_lt(n, room);
    memcpy(out, r.p, n);
    out[n] = 0;
}

static void hex(char *out, struct reader r)
{
    for (; r.p < r.end; r.p++, out += 2)
        sprintf(out, "%02x", *r.p);
    *out = 0;
}

static void key_value(struct caught *s, struct reader r)
{
    char key[64] = "", value[2048] = "";
    while (r.p < r.end) {
        uint64_t tag = varint(&r);
        struct reader in = bytes(&r);
        if (tag == 0x0a) {
            copy(key, sizeof key, in);
        } else {
            cr_assert_eq(tag, 0x12);
            uint64_t kind = varint(&in);
            if (kind == 0x0a)
                copy(value, sizeof value, bytes(&in));
            else
                sprintf(value, "%lld", (long long)varint(&in));
        }
    }
    size_t n = strlen(s->attributes);
    cr_assert_null(attribute(s, key), "%s comes twice", key);
    snprintf(s->attributes + n, sizeof s->attributes - n, "%s=%s\n", key, value);
}

void ring_commit(const struct ring_place *place, uint32_t len, uint16_t scope)
{
    cr_assert_eq(scope, RING_SCOPE_HTTP);
    cr_assert_gt(len, 0);
    cr_assert_leq(len, place->room);
    pthread_mutex_lock(&catching);
    cr_assert_lt(n_caught, CAUGHT_MAX);
    struct caught *s = &caught[n_caught++];
    memset(s, 0, sizeof *s);
    s->room = place->room;
    s->len = len;
    struct reader all = {place->p, place->p + len};
    cr_assert_eq(varint(&all), 0x12);
    struct reader r = bytes(&all);
    cr_assert_eq(all.p, all.end);
    while (r.p < r.end) {
        switch (varint(&r)) {
        case 1 << 3 | 2:
            hex(s->trace_id, bytes(&r));
            break;
        case 2 << 3 | 2:
            hex(s->span_id, bytes(&r));
            break;
        case 3 << 3 | 2:
            copy(s->tracestate, sizeof s->tracestate, bytes(&r));
            break;
        case 4 << 3 | 2:
            hex(s->parent, bytes(&r));
            break;
        case 5 << 3 | 2:
            copy(s->name, sizeof s->name, bytes(&r));
            break;
        case 6 << 3:
            s->kind = (unsigned)varint(&r);
            break;
        case 7 << 3 | 1:
            s->start = fixed(&r, 8);
            break;
        case 8 << 3 | 1:
            s->end = fixed(&r, 8);
            break;
        case 9 << 3 | 2:
            key_value(s, bytes(&r));
            break;
        case 10 << 3:
            s->dropped = (unsigned)varint(&r);
            break;
        case 15 << 3 | 2: {
            struct reader in = bytes(&r);
            while (in.p < in.end) {
                cr_assert_eq(varint(&in), 3 << 3);
                s->status = (unsigned)varint(&in);
            }
            break;
        }
        case 16 << 3 | 5:
            s->flags = (unsigned)fixed(&r, 4);
            break;
        default:
            cr_assert_fail("a field that we do not write");
        }
    }
    pthread_mutex_unlock(&catching);
}

void harness_forget(void)
{
    pthread_mutex_lock(&catching);
    n_caught = 0;
    pthread_mutex_unlock(&catching);
}

/* ---- */

const char *attribute(const struct caught *s, const char *key)
{
    static char value[2048];
    size_t n = strlen(key);
    for (const char *line = s->attributes; *line; line = strchr(line, '\n') + 1)
        if (strncmp(line, key, n) == 0 && line[n] == '=') {
            const char *end = strchr(line, '\n');
            snprintf(value, sizeof value, "%.*s", (int)(end - line - (long)n - 1), line + n + 1);
            return value;
        }
    return NULL;
}

void harness_init(void)
{
    static const char *methods[] = {"CONNECT", "DELETE", "GET",   "HEAD",  "OPTIONS", "PATCH",
                                    "POST",    "PUT",    "QUERY", "TRACE", NULL};
    generation_init();
    n_caught = 0;
    test_serves = true;
    test_forks = 0;
    test_answered = 0;
    test_inherits = test_slot_reused = false;
    test_own_thread = test_vfork_child = test_no_ring = test_no_table = test_full = false;
    test_sampling = 0;
    test_config = (struct config){
        .sampler = SAMPLER_ALWAYS_ON,
        .parent_based = true,
        .propagate_tracecontext = true,
        .attribute_count = 128,
        .attribute_length = UINT32_MAX,
        .known_methods = methods,
        .instrument = INSTRUMENT_HTTP,
        .trust_forwarded = true,
    };
    table = aligned_alloc(64, request_table_size());
    memset(table, 0, request_table_size());
    request_table_init(table);
}

void harness_accept(int fd)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(4711)};
    inet_pton(AF_INET, "192.0.2.7", &in.sin_addr);
    connection_accepted(fd, (struct sockaddr *)&in, sizeof in);
}

void harness_read(int fd, const char *s)
{
    struct iovec iov = {(void *)(uintptr_t)s, strlen(s)};
    connection_read(fd, &iov, 1, (ssize_t)iov.iov_len);
}

void harness_write(int fd, const char *s)
{
    struct iovec iov = {(void *)(uintptr_t)s, strlen(s)};
    connection_write_ahead(fd, s, iov.iov_len);
    connection_written(fd, &iov, 1, (ssize_t)iov.iov_len);
}

void harness_exchange(const char *request, const char *response)
{
    harness_accept(5);
    harness_read(5, request);
    harness_write(5, response);
    connection_gone(5);
}

unsigned harness_requests_open(void)
{
    static struct request copied;
    unsigned n = 0;
    for (unsigned i = 0; i < REQUESTS; i++)
        n += request_read(table, i, &copied);
    return n;
}
