/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"
#include "config/attributes.h"
#include "config/capture.h"
#include "config/otlp.h"
#include "log.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

enum { MEMORY = 256 * 1024, DELAY_LEAST = 10 /* ms */ };

static void sampler(struct parse *p, struct config *c)
{
    static const char *const names[] = {"always_on",
                                        "always_off",
                                        "traceidratio",
                                        "parentbased_always_on",
                                        "parentbased_always_off",
                                        "parentbased_traceidratio",
                                        NULL};
    int which = parse_choice(p, "OTEL_TRACES_SAMPLER", names, 3);
    c->parent_based = which >= 3;
    c->sampler = (enum sampler_kind)(which % 3);
    c->ratio = 1.0;
    const char *arg = parse_text(p, "OTEL_TRACES_SAMPLER_ARG");
    if (arg && c->sampler == SAMPLER_RATIO && !parse_ratio(arg, &c->ratio)) {
        c->ratio = 1.0;
        parse_warn(p, "OTEL_TRACES_SAMPLER_ARG=%.60s is not a number from 0 to 1: taken as 1", arg);
    }
}

static void propagators(struct parse *p, struct config *c)
{
    c->propagate_tracecontext = c->propagate_baggage = true;
    const char **list = parse_list(p, "OTEL_PROPAGATORS");
    if (!list)
        return;
    c->propagate_tracecontext = c->propagate_baggage = false;
    bool none = false, any = false;
    for (const char **name = list; *name; name++) {
        if (strcasecmp(*name, "tracecontext") == 0)
            c->propagate_tracecontext = true;
        else if (strcasecmp(*name, "baggage") == 0)
            c->propagate_baggage = true;
        else if (strcasecmp(*name, "b3") == 0)
            c->propagate_b3 = true;
        else if (strcasecmp(*name, "b3multi") == 0)
            c->propagate_b3multi = true;
        else if (strcasecmp(*name, "none") == 0)
            none = true;
        else if (strcasecmp(*name, "forkspan") != 0) /* an SDK in the process takes its parents from us */
            parse_warn(p, "OTEL_PROPAGATORS: %.60s is not known here and left out", *name);
    }
    any = c->propagate_tracecontext || c->propagate_baggage || c->propagate_b3 || c->propagate_b3multi;
    if (none && any)
        parse_warn(p, "OTEL_PROPAGATORS: none does not go with others and is left out");
    if (!none && !any) /* nothing of it was understood */
        c->propagate_tracecontext = c->propagate_baggage = true;
}

static void exporters(struct parse *p, struct config *c)
{
    c->exporter.kind = EXPORTER_OTLP;
    const char **list = parse_list(p, "OTEL_TRACES_EXPORTER");
    bool chosen = false;
    for (const char **name = list; name && *name; name++) {
        static const char *const names[] = {"none", "otlp", "console", "otlp/stdout"};
        size_t k = 0;
        while (k < 4 && strcasecmp(*name, names[k]) != 0)
            k++;
        if (strcasecmp(*name, "forkspan") == 0)
            k = 1; /* an SDK in the process gives its spans to us: sent on as all others */
        if (k == 4)
            parse_warn(p, "OTEL_TRACES_EXPORTER: %.60s is not known here and left out", *name);
        else if (k == 0 || !chosen) {
            c->exporter.kind = (enum exporter_kind)k;
            chosen = true;
            if (k == 0 && list[1])
                parse_warn(p, "OTEL_TRACES_EXPORTER: none does not go with others; none it is");
            if (k == 0)
                return;
        } else
            parse_warn(p, "OTEL_TRACES_EXPORTER: one exporter at a time; %.60s is left out", *name);
    }
}

static void batch(struct parse *p, struct config *c)
{
    /* Who reads the console wants to see a request when it is over. */
    c->schedule_delay_ms =
        parse_integer(p, "OTEL_BSP_SCHEDULE_DELAY", 0, c->exporter.kind == EXPORTER_CONSOLE ? 100 : 5000);
    if (c->schedule_delay_ms < DELAY_LEAST) /* "at once" is as soon as the thread looks */
        c->schedule_delay_ms = DELAY_LEAST;
    c->export_timeout_ms = parse_integer(p, "OTEL_BSP_EXPORT_TIMEOUT", 0, 30000);
    c->max_queue = parse_integer(p, "OTEL_BSP_MAX_QUEUE_SIZE", 1, 2048);
    if (c->max_queue > 1u << 20) {
        parse_warn(p, "OTEL_BSP_MAX_QUEUE_SIZE: %u is more than a ring can hold: 1048576 is used",
                   c->max_queue);
        c->max_queue = 1u << 20;
    }
    c->max_batch =
        parse_integer(p, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, c->max_queue < 512 ? c->max_queue : 512);
    if (c->max_batch > c->max_queue) {
        parse_warn(p, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: %u is more than the queue holds: the default is used",
                   c->max_batch);
        c->max_batch = c->max_queue < 512 ? c->max_queue : 512;
    }
}

static void limits(struct parse *p, struct config *c)
{
    uint32_t length = parse_integer(p, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0, UINT32_MAX);
    uint32_t number = parse_integer(p, "OTEL_ATTRIBUTE_COUNT_LIMIT", 0, 128);
    c->attribute_length = parse_integer(p, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0, length);
    c->attribute_count = parse_integer(p, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", 0, number);
    c->event_count = parse_integer(p, "OTEL_SPAN_EVENT_COUNT_LIMIT", 0, 128);
    c->link_count = parse_integer(p, "OTEL_SPAN_LINK_COUNT_LIMIT", 0, 128);
    c->event_attribute_count = parse_integer(p, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", 0, 128);
    c->link_attribute_count = parse_integer(p, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", 0, 128);
}

/* "shm:ID", as forkspan run passes it. */
static int arena_id(const char *text)
{
    static const char prefix[] = "shm:";
    if (!text || strncmp(text, prefix, sizeof prefix - 1) != 0)
        return -1;
    long id = 0;
    const char *digit = text + sizeof prefix - 1;
    if (!*digit)
        return -1;
    for (; *digit >= '0' && *digit <= '9' && id <= INT_MAX; digit++)
        id = id * 10 + (*digit - '0');
    return *digit || id > INT_MAX ? -1 : (int)id;
}

static void own(struct parse *p, struct config *c)
{
    static const char *known[] = {"CONNECT", "DELETE", "GET",   "HEAD",  "OPTIONS", "PATCH",
                                  "POST",    "PUT",    "QUERY", "TRACE", NULL};
    static const char *const levels[] = {"none", "error", "warn", "info", "debug", "trace", NULL};
    static const char *const respawn[] = {"lazy", "eager", NULL};
    static const char *const exports[] = {"thread", "process", NULL};
    c->log_level = parse_choice(p, "OTEL_LOG_LEVEL", levels, 3);
    const char **methods = parse_list(p, "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS");
    c->known_methods = methods ? methods : known;
    c->instrument = INSTRUMENT_HTTP | INSTRUMENT_FASTCGI | INSTRUMENT_UWSGI;
    const char **instrument = parse_list(p, "FORKSPAN_INSTRUMENT");
    if (instrument) {
        c->instrument = 0;
        for (; *instrument; instrument++) {
            if (strcasecmp(*instrument, "http") == 0)
                c->instrument |= INSTRUMENT_HTTP;
            else if (strcasecmp(*instrument, "fastcgi") == 0)
                c->instrument |= INSTRUMENT_FASTCGI;
            else if (strcasecmp(*instrument, "uwsgi") == 0)
                c->instrument |= INSTRUMENT_UWSGI;
            else if (strcasecmp(*instrument, "none") != 0)
                parse_warn(p, "FORKSPAN_INSTRUMENT: %.60s is not known and left out", *instrument);
        }
    }
    c->respawn_eager = parse_choice(p, "FORKSPAN_RESPAWN", respawn, 0) == 1;
    c->export_process = parse_choice(p, "FORKSPAN_EXPORT", exports, 0) == 1;
    c->arena_id = arena_id(parse_text(p, "FORKSPAN_ARENA"));
    c->fork_wait_ms = parse_integer(p, "FORKSPAN_FORK_WAIT", 0, 200);
    c->exit_flush_ms = parse_integer(p, "FORKSPAN_EXIT_FLUSH", 0, 1000);
    c->workers = parse_integer(p, "FORKSPAN_WORKERS", 1, 128);
    c->log_path = parse_text(p, "FORKSPAN_LOG");
    c->arena = parse_text(p, "FORKSPAN_ARENA");
    c->only = parse_list(p, "FORKSPAN_ONLY");
    c->exclude = parse_list(p, "FORKSPAN_EXCLUDE");
    c->share = !parse_text(p, "FORKSPAN_SHARE")         ? SHARE_WITH_ONE
               : parse_bool(p, "FORKSPAN_SHARE", false) ? SHARE_ALWAYS
                                                        : SHARE_NEVER;
    c->trust_forwarded = parse_bool(p, "FORKSPAN_TRUST_FORWARDED", true);
    c->propagate = parse_bool(p, "FORKSPAN_PROPAGATE", true);
    c->exporter.file = parse_text(p, "FORKSPAN_FILE");
    c->exporter.file_size = (uint64_t)parse_integer(p, "FORKSPAN_FILE_SIZE", 0, 0) << 20;
    c->exporter.file_count = parse_integer(p, "FORKSPAN_FILE_COUNT", 1, 5);
    c->exporter.console_stderr = parse_bool(p, "FORKSPAN_CONSOLE_STDERR", false);
}

/* true, false, or true with the names of objects that may fork besides the main executable */
static void python(struct parse *p, struct config *c)
{
    const char *s = parse_text(p, "FORKSPAN_PYTHON_FORK_HOOKS");
    c->python_fork_hooks = true;
    if (s && (strcasecmp(s, "true") == 0 || strcasecmp(s, "false") == 0))
        c->python_fork_hooks = strcasecmp(s, "true") == 0;
    else if (s)
        c->python_fork_objects = parse_list(p, "FORKSPAN_PYTHON_FORK_HOOKS");
}

const struct config *config_parse(char **env, void (*warn)(const char *line))
{
    char *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        static const struct config off = {.disabled = true};
        return &off;
    }
    struct parse p = {.env = env, .warn = warn, .memory = memory, .memory_end = memory + MEMORY};
    struct config *c = parse_alloc(&p, sizeof *c);
    c->disabled = parse_bool(&p, "OTEL_SDK_DISABLED", false);
    c->service_name = parse_text(&p, "OTEL_SERVICE_NAME");
    config_attributes(&p, c);
    propagators(&p, c);
    sampler(&p, c);
    exporters(&p, c);
    batch(&p, c);
    limits(&p, c);
    config_otlp(&p, &c->exporter);
    /* both bound one export with its retries; 0 is no bound */
    if (c->export_timeout_ms && (!c->exporter.timeout_ms || c->export_timeout_ms < c->exporter.timeout_ms))
        c->exporter.timeout_ms = c->export_timeout_ms;
    own(&p, c);
    python(&p, c);
    c->exporter.schema_url = "https://opentelemetry.io/schemas/1.44.0";
    static const char *const files[] = {"OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (parse_text(&p, files[i]))
            parse_warn(&p, "%s is not honoured: forkspan reads the other OTEL_ variables", files[i]);
    return c;
}

static const struct config *_Atomic parsed;

static void warn_user(const char *line)
{
    log_warn("%s", line);
}

static void warn_nobody(const char *line)
{
    (void)line;
}

static const struct config *get(void (*warn)(const char *line))
{
    const struct config *c = atomic_load_explicit(&parsed, memory_order_acquire);
    if (__builtin_expect(c != NULL, 1))
        return c;
    c = config_parse(config_captured(), warn);
    const struct config *none = NULL;
    return atomic_compare_exchange_strong(&parsed, &none, c) ? c : none;
}

const struct config *config_get(void)
{
    return get(warn_user);
}

const struct config *config_get_quietly(void)
{
    return get(warn_nobody);
}

const struct config *config_parsed(void)
{
    return atomic_load_explicit(&parsed, memory_order_acquire);
}

uint64_t config_destination(void)
{
    static const char *const of_it[] = {"OTEL_EXPORTER_",  "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED",
                                        "FORKSPAN_EXPORT", "FORKSPAN_FILE",        "FORKSPAN_PROXY",
                                        "FORKSPAN_CONSOLE"};
    uint64_t sum = 0; /* the order in an environment means nothing */
    for (char **e = config_captured(); *e; e++)
        for (size_t i = 0; i < sizeof of_it / sizeof *of_it; i++) {
            if (strncmp(*e, of_it[i], strlen(of_it[i])) != 0)
                continue;
            uint64_t hash = UINT64_C(14695981039346656037);
            for (const char *s = *e; *s; s++)
                hash = (hash ^ (uint8_t)*s) * UINT64_C(1099511628211);
            sum += hash;
            break;
        }
    return sum;
}
