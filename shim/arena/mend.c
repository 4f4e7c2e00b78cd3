/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/mend.h"
#include "log.h"

#include <stdatomic.h>
#include <string.h>

static struct {
    uint64_t state, start_time, pid_namespace, ticket;
    uint32_t epoch, liveness, resource_len;
    uint8_t resource[RESOURCE_MAX];
} own;

void mend_remember(const struct arena *a, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    own.state = atomic_load(arena_state(a, i));
    own.start_time = atomic_load(&s->start_time);
    own.pid_namespace = atomic_load(&s->pid_namespace);
    own.ticket = atomic_load(&s->ticket);
    own.epoch = atomic_load(&s->epoch);
    own.liveness = atomic_load(&a->header->liveness[i]);
    uint32_t len = atomic_load(&s->resource_len);
    own.resource_len = len <= RESOURCE_MAX ? len : 0;
    memcpy(own.resource, s->resource, own.resource_len);
}

static bool put64(_Atomic uint64_t *word, uint64_t right)
{
    return atomic_exchange_explicit(word, right, memory_order_relaxed) != right;
}

static bool put32(_Atomic uint32_t *word, uint32_t right)
{
    return atomic_exchange_explicit(word, right, memory_order_relaxed) != right;
}

void mend_slot(const struct arena *a, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    bool spoilt = put64(arena_state(a, i), own.state);
    spoilt |= put64(&s->start_time, own.start_time);
    spoilt |= put64(&s->pid_namespace, own.pid_namespace);
    spoilt |= put64(&s->ticket, own.ticket);
    spoilt |= put32(&s->epoch, own.epoch);
    spoilt |= put32(&a->header->liveness[i], own.liveness);
    spoilt |= put32(&slot_ring(a, s)->open, 1);
    spoilt |= put32(&s->consuming, 1);
    spoilt |= put32(&s->resource_len, own.resource_len);
    if (memcmp(s->resource, own.resource, own.resource_len) != 0) {
        memcpy(s->resource, own.resource, own.resource_len);
        spoilt = true;
    }
    if (spoilt)
        log_error("another process of this server writes over forkspan's memory: spans are lost or spoilt");
}
