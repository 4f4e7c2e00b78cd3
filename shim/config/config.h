/* SPDX-License-Identifier: Apache-2.0
 * config.h - what the user set, read once.
 *
 * The environment is copied by config_capture() in the constructor (servers overwrite it later) and parsed by
 * config_get() at the first need, so that a process that neither listens nor makes a span pays one scan of
 * its environment. In a process with AT_SECURE everything is ignored.
 */
#ifndef FORKSPAN_CONFIG_CONFIG_H
#define FORKSPAN_CONFIG_CONFIG_H

#include "exporter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sampler_kind { SAMPLER_ALWAYS_ON, SAMPLER_ALWAYS_OFF, SAMPLER_RATIO };
enum { INSTRUMENT_HTTP = 1, INSTRUMENT_FASTCGI = 2, INSTRUMENT_UWSGI = 4 };

struct config {
    bool disabled;            /* OTEL_SDK_DISABLED, or exporter none: no spans, no thread */
    const char *service_name; /* OTEL_SERVICE_NAME, or NULL */
    /* OTEL_RESOURCE_ATTRIBUTES, decoded */
    struct config_attribute {
        const char *key;
        const char *value;
    } * resource;
    size_t n_resource;
    int log_level; /* 0 none, 1 error, 2 warn, 3 info, 4 debug, 5 trace */
    enum sampler_kind sampler;
    bool parent_based;
    double ratio;
    bool propagate_tracecontext, propagate_baggage, propagate_b3, propagate_b3multi;
    /* batch span processor */
    uint32_t schedule_delay_ms, export_timeout_ms, max_queue, max_batch;
    /* limits; UINT32_MAX = none */
    uint32_t attribute_length, attribute_count, event_count, link_count, event_attribute_count,
        link_attribute_count;
    const char **known_methods; /* NULL-terminated */
    struct exporter_config exporter;
    /* our own */
    unsigned instrument;
    bool respawn_eager;
    bool export_process; /* FORKSPAN_EXPORT: by a process of its own instead of a thread in each worker */
    int arena_id;        /* FORKSPAN_ARENA=shm:ID: of an arena that is there already; -1: none is named */
    uint32_t fork_wait_ms, exit_flush_ms, workers;
    const char *log_path;
    const char *arena;                                        /* where it is to lie, or NULL */
    const char **only;                                        /* program names, or NULL */
    const char **exclude;                                     /* url paths, or NULL */
    enum { SHARE_WITH_ONE, SHARE_ALWAYS, SHARE_NEVER } share; /* the arena, with processes of other users */
    bool trust_forwarded, propagate;
    bool python_fork_hooks;
    const char **python_fork_objects; /* names of shared objects whose forks get them, too; or NULL */
};

/* Constructor only: copies OTEL_*, FORKSPAN_* out of environ. Allocates at most one mapping, and none where
 * nothing is set. */
void config_capture(char **environ_now);
/* The parsed configuration; parses and warns once a process tree (the first caller, before any thread of
 * ours). Not in a signal handler the first time. Never NULL. */
const struct config *config_get(void);
/* The same in a process that only sends: the warnings have been given by the server. */
const struct config *config_get_quietly(void);
/* As config_get(), but NULL before the first config_get(). */
const struct config *config_parsed(void);
/* A number for where this process sends to, as its environment says: programs share an arena where it is the
 * same, for each of them may have to send what the others have left. */
uint64_t config_destination(void);
/* Tests: parses the given NAME=value list into a fresh struct; warnings go to `warn`. */
const struct config *config_parse(char **env, void (*warn)(const char *line));

#endif
