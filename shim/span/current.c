/* SPDX-License-Identifier: Apache-2.0 */
#include "span/current.h"
#include "arena/requests.h"
#include "fork/generation.h"
#include "process.h"
#include "span/span_internal.h"
#include "tls.h"

#include <string.h>

/* The generation in which a request was lost sight of; 0: none was. */
static _Atomic uint64_t untold;
/* How many are open of which nothing is known, below the generation in which they were read. */
static _Atomic uint64_t unseen;

/* The innermost. Another thread may have ended it, and what was below it is not known then. */
static struct span *innermost(void)
{
    if (tls.attached && !pool_look(tls.attached))
        tls.attached = NULL;
    return tls.attached;
}

void current_attach(struct span *s)
{
    for (struct span *p = innermost(); p;) {
        const struct span_body *b = pool_look(p);
        if (!b || p == s)
            return;
        p = b->below;
    }
    struct span_body *b = pool_enter(s);
    if (!b)
        return;
    uint64_t now = generation_now();
    bool elsewhere = b->attached_to && b->attached_to != &tls && b->attached_generation == now;
    if (!elsewhere) {
        b->below = tls.attached;
        b->attached_to = &tls;
        b->attached_generation = now;
    }
    pool_leave(b);
    if (!elsewhere)
        tls.attached = s;
}

/* What was below s is below `above` now, or the innermost. */
static void take_from_under(struct span *above, struct span_body *b)
{
    if (!above) {
        tls.attached = b->below;
        return;
    }
    struct span_body *upper = pool_enter(above);
    if (!upper) {
        tls.attached = NULL; /* ended this very moment by another thread */
        return;
    }
    upper->below = b->below;
    pool_leave(upper);
}

void current_detach(struct span *s)
{
    struct span *above = NULL;
    for (struct span *p = innermost(); p;) {
        struct span_body *b = pool_look(p);
        if (!b)
            return;
        if (p == s) {
            take_from_under(above, b);
            b->attached_to = NULL;
            return;
        }
        above = p;
        p = b->below;
    }
}

void current_read(const struct request *r)
{
    static _Atomic uint32_t readers;
    while (tls.reader == 0)
        tls.reader = atomic_fetch_add_explicit(&readers, 1, memory_order_relaxed) + 1;
    request_read_by(process_requests(), r, tls.reader);
}

void current_unseen(int change)
{
    uint64_t now = generation_now() << 32, was = atomic_load(&unseen), next;
    do {
        uint64_t count = (was ^ now) >> 32 ? 0 : (uint32_t)was;
        next = now | (change > 0 ? count + 1 : count ? count - 1 : 0);
    } while (!atomic_compare_exchange_weak(&unseen, &was, next));
}

static bool all_known(void)
{
    uint64_t now = generation_now(), hidden = atomic_load_explicit(&unseen, memory_order_relaxed);
    return atomic_load_explicit(&untold, memory_order_relaxed) != now &&
           ((uint32_t)hidden == 0 || hidden >> 32 != (uint32_t)now);
}

void current_untold(void)
{
    atomic_store_explicit(&untold, generation_now(), memory_order_relaxed);
}

/* The one open request that this thread has read. A request is over when it is answered, by whatever thread,
 * and its entry another's: then the second search does not find it. */
static bool only_request(struct span_context *out, char *tracestate, size_t *len)
{
    if (tls.reader == 0 || !all_known())
        return false;
    const struct request *r = request_only_one(process_requests(), tls.reader);
    if (!r || !request_copy_context(r, out, tracestate, len))
        return false;
    return request_only_one(process_requests(), tls.reader) == r;
}

bool current_get(struct span_context *out, char *tracestate, size_t *len)
{
    struct span *s = innermost();
    if ((s && span_get_context(s, out, tracestate, len)) || (!s && only_request(out, tracestate, len)))
        return true;
    memset(out, 0, sizeof *out);
    *len = 0;
    return false;
}
