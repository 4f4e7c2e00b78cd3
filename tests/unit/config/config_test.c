/* SPDX-License-Identifier: Apache-2.0
 * config_test.c - every variable: parsing, precedence, defaults, warnings. The numbers are rows of the
 * specification's edge cases (docs/otel-conformance-report.md).
 */
#include "config/config.h"

#include <criterion/criterion.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char warnings[8192];
static unsigned warned;

static void warn(const char *line)
{
    warned++;
    strncat(warnings, line, sizeof warnings - strlen(warnings) - 2);
    strcat(warnings, "\n");
}

static const struct config *parse(const char *first, ...)
{
    char *env[32];
    size_t n = 0;
    va_list ap;
    va_start(ap, first);
    for (const char *s = first; s && n < 31; s = va_arg(ap, const char *))
        env[n++] = (char *)s;
    va_end(ap);
    env[n] = NULL;
    warned = 0;
    warnings[0] = '\0';
    return config_parse(env, warn);
}

static const char *header(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->exporter.n_headers; i++)
        if (strcmp(c->exporter.headers[i].name, name) == 0)
            return c->exporter.headers[i].value;
    return NULL;
}

static const char *url(const char *variable)
{
    return parse(variable, NULL)->exporter.url;
}

Test(config, defaults)
{
    const struct config *c = parse(NULL, NULL);
    cr_assert_eq(warned, 0);
    cr_assert(!c->disabled);
    cr_assert_eq(c->exporter.kind, EXPORTER_OTLP);
    cr_assert_eq(c->exporter.protocol, EXPORTER_HTTP_PROTOBUF);
    cr_assert_str_eq(c->exporter.url, "http://localhost:4318/v1/traces");
    cr_assert_eq(c->exporter.timeout_ms, 10000);
    cr_assert(!c->exporter.gzip);
    cr_assert_null(c->exporter.certificate);
    cr_assert_eq(c->exporter.n_headers, 0);
    cr_assert_eq(c->schedule_delay_ms, 5000);
    cr_assert_eq(c->export_timeout_ms, 30000);
    cr_assert_eq(c->max_queue, 2048);
    cr_assert_eq(c->max_batch, 512);
    cr_assert_eq(c->attribute_length, UINT32_MAX);
    cr_assert_eq(c->attribute_count, 128);
    cr_assert_eq(c->event_count, 128);
    cr_assert_eq(c->link_count, 128);
    cr_assert_eq(c->event_attribute_count, 128);
    cr_assert_eq(c->link_attribute_count, 128);
    cr_assert(c->parent_based && c->sampler == SAMPLER_ALWAYS_ON);
    cr_assert(c->propagate_tracecontext && c->propagate_baggage && !c->propagate_b3 && !c->propagate_b3multi);
    cr_assert_eq(c->log_level, 3);
}

/* edge case 1 */
Test(config, traces_endpoint_is_used_as_it_is)
{
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4318"), "http://c:4318/");
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://c/v1/traces/"), "https://c/v1/traces/");
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4318/x"), "http://c:4318/x");
}

/* edge case 2 */
Test(config, a_base_endpoint_gets_one_v1_traces)
{
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/x/"), "http://c:4318/x/v1/traces");
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/x"), "http://c:4318/x/v1/traces");
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"), "http://c:4318/v1/traces");
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_ENDPOINT=http://[::1]:4318/"), "http://[::1]:4318/v1/traces");
    const struct config *c = parse("OTEL_EXPORTER_OTLP_ENDPOINT=http://a:1",
                                   "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://b:2/y", NULL);
    cr_assert_str_eq(c->exporter.url, "http://b:2/y");
}

/* edge case 3 */
Test(config, the_port_is_the_schemes)
{
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_ENDPOINT=http://c"), "http://c/v1/traces");
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_ENDPOINT=https://c"), "https://c/v1/traces");
}

Test(config, an_endpoint_without_a_scheme)
{
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_ENDPOINT=c:4318"), "http://localhost:4318/v1/traces");
    cr_assert_eq(warned, 1);
    cr_assert_str_eq(url("OTEL_EXPORTER_OTLP_ENDPOINT=ftp://c/"), "http://localhost:4318/v1/traces");
    cr_assert_eq(warned, 1);
    parse("OTEL_EXPORTER_OTLP_ENDPOINT=http//user:secret@c", NULL);
    cr_assert_null(strstr(warnings, "secret"));
}

Test(config, grpc_endpoints)
{
    const struct config *c = parse("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", NULL);
    cr_assert_eq(c->exporter.protocol, EXPORTER_GRPC);
    cr_assert_str_eq(c->exporter.url, "http://localhost:4317");
    c = parse("OTEL_EXPORTER_OTLP_PROTOCOL=GRPC", "OTEL_EXPORTER_OTLP_ENDPOINT=https://c:4317/", NULL);
    cr_assert_str_eq(c->exporter.url, "https://c:4317");
    cr_assert_eq(warned, 0);
    c = parse("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317/x", NULL);
    cr_assert_str_eq(c->exporter.url, "http://c:4317");
    cr_assert_eq(warned, 1);
    c = parse("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=c:4317", NULL);
    cr_assert_str_eq(c->exporter.url, "https://c:4317");
    c = parse("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=c:4317",
              "OTEL_EXPORTER_OTLP_INSECURE=true", NULL);
    cr_assert_str_eq(c->exporter.url, "http://c:4317");
    c = parse("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=https://c:4317",
              "OTEL_EXPORTER_OTLP_INSECURE=true", NULL);
    cr_assert_str_eq(c->exporter.url, "https://c:4317");
    c = parse("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", NULL);
    cr_assert_eq(c->exporter.protocol, EXPORTER_HTTP_JSON);
    c = parse("OTEL_EXPORTER_OTLP_PROTOCOL=smoke", NULL);
    cr_assert_eq(c->exporter.protocol, EXPORTER_HTTP_PROTOBUF);
    cr_assert_eq(warned, 1);
}

Test(config, unix_endpoints)
{
    const struct config *c = parse("OTEL_EXPORTER_OTLP_ENDPOINT=unix:///run/otel.sock", NULL);
    cr_assert_str_eq(c->exporter.unix_path, "/run/otel.sock");
    cr_assert_str_eq(c->exporter.url, "http://localhost/v1/traces");
    c = parse("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=unix:run/otel.sock", NULL);
    cr_assert_str_eq(c->exporter.unix_path, "run/otel.sock");
    cr_assert_str_eq(c->exporter.url, "http://localhost");
    c = parse("OTEL_EXPORTER_OTLP_ENDPOINT=unix-abstract:otel", NULL);
    cr_assert_str_eq(c->exporter.unix_path, "@otel");
    c = parse("OTEL_EXPORTER_OTLP_ENDPOINT=unix://host/path", NULL);
    cr_assert_null(c->exporter.unix_path);
    cr_assert_eq(warned, 1);
}

Test(config, a_proxy_only_when_asked_for)
{
    const struct config *c = parse("http_proxy=http://p:1", "HTTPS_PROXY=http://p:1", NULL);
    cr_assert_null(c->exporter.proxy);
    c = parse("FORKSPAN_PROXY=http://user:secret@p:3128", NULL);
    cr_assert_str_eq(c->exporter.proxy, "http://user:secret@p:3128");
    c = parse("FORKSPAN_PROXY=socks5://user:secret@p:3128", NULL);
    cr_assert_null(c->exporter.proxy);
    cr_assert_eq(warned, 1);
    cr_assert_null(strstr(warnings, "secret"));
}

/* edge case 4 */
Test(config, headers_are_decoded_and_keep_a_later_equals_sign)
{
    const struct config *c =
        parse("OTEL_EXPORTER_OTLP_HEADERS=Authorization=Basic%20YWJj=,x = y z ,empty=", NULL);
    cr_assert_str_eq(header(c, "Authorization"), "Basic YWJj=");
    cr_assert_str_eq(header(c, "x"), "y z");
    cr_assert_str_eq(header(c, "empty"), "");
    cr_assert_eq(warned, 0);
}

/* edge case 5 */
Test(config, bad_headers_are_left_out)
{
    const struct config *c =
        parse("OTEL_EXPORTER_OTLP_HEADERS=a=x%0d%0aEvil: secret,b%41=2,c=%zz,novalue,d=1%00,e=5,f=a+b", NULL);
    cr_assert_null(header(c, "a"));
    cr_assert_null(header(c, "bA"));
    cr_assert_str_eq(header(c, "b%41"), "2");
    cr_assert_null(header(c, "c"));
    cr_assert_null(header(c, "d"));
    cr_assert_str_eq(header(c, "e"), "5");
    cr_assert_str_eq(header(c, "f"), "a+b");
    cr_assert_eq(warned, 4);
    cr_assert_null(strstr(warnings, "secret"));
}

Test(config, special_headers_replace_the_general_ones)
{
    const struct config *c =
        parse("OTEL_EXPORTER_OTLP_HEADERS=a=1,b=2", "OTEL_EXPORTER_OTLP_TRACES_HEADERS=b=3", NULL);
    cr_assert_null(header(c, "a"));
    cr_assert_str_eq(header(c, "b"), "3");
}

Test(config, headers_without_case_and_reserved_ones)
{
    const struct config *c =
        parse("OTEL_EXPORTER_OTLP_HEADERS=Key=1,KEY=2,content-type=text/html,grpc-timeout=1H", NULL);
    cr_assert_eq(c->exporter.n_headers, 1);
    cr_assert_str_eq(header(c, "KEY"), "2");
    cr_assert_eq(warned, 2);
}

/* edge cases 6 and 7 */
Test(config, times)
{
    cr_assert_eq(parse("OTEL_EXPORTER_OTLP_TIMEOUT=2500", NULL)->exporter.timeout_ms, 2500);
    cr_assert_eq(parse("OTEL_EXPORTER_OTLP_TIMEOUT=2500", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=300", NULL)
                     ->exporter.timeout_ms,
                 300);
    cr_assert_eq(parse("OTEL_EXPORTER_OTLP_TIMEOUT=0", NULL)->exporter.timeout_ms,
                 30000); /* the processor's bound */
    cr_assert_eq(
        parse("OTEL_EXPORTER_OTLP_TIMEOUT=0", "OTEL_BSP_EXPORT_TIMEOUT=0", NULL)->exporter.timeout_ms, 0);
    cr_assert_eq(
        parse("OTEL_EXPORTER_OTLP_TIMEOUT=60000", "OTEL_BSP_EXPORT_TIMEOUT=7000", NULL)->exporter.timeout_ms,
        7000);
    static const char *const bad[] = {"-1",  "5000ms",      "1e3", "0x10", "+5",
                                      "abc", "99999999999", "1.5", "1 2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char variable[80];
        snprintf(variable, sizeof variable, "OTEL_EXPORTER_OTLP_TIMEOUT=%s", bad[i]);
        cr_assert_eq(parse(variable, NULL)->exporter.timeout_ms, 10000, "%s", bad[i]);
        cr_assert_eq(warned, 1, "%s", bad[i]);
        cr_assert_not_null(strstr(warnings, bad[i]), "the user's own text is shown");
    }
    cr_assert_eq(parse("OTEL_EXPORTER_OTLP_TIMEOUT= 42 ", NULL)->exporter.timeout_ms, 42);
    cr_assert_leq(parse("OTEL_BSP_SCHEDULE_DELAY=0", NULL)->schedule_delay_ms, 10);
    cr_assert_eq(warned, 0);
}

Test(config, queue_sizes)
{
    static const char *const bad[] = {"0", "-1", "abc"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char variable[80];
        snprintf(variable, sizeof variable, "OTEL_BSP_MAX_QUEUE_SIZE=%s", bad[i]);
        cr_assert_eq(parse(variable, NULL)->max_queue, 2048);
        cr_assert_eq(warned, 1);
    }
}

/* edge case 8 */
Test(config, a_batch_larger_than_the_queue)
{
    const struct config *c = parse("OTEL_BSP_MAX_EXPORT_BATCH_SIZE=4096", NULL);
    cr_assert_eq(c->max_batch, 512);
    cr_assert_eq(warned, 1);
    c = parse("OTEL_BSP_MAX_QUEUE_SIZE=100", NULL);
    cr_assert_eq(c->max_batch, 100);
    cr_assert_eq(warned, 0);
}

/* edge case 9 */
Test(config, disabled_is_true_or_not)
{
    cr_assert(!parse("OTEL_SDK_DISABLED=1", NULL)->disabled);
    cr_assert_eq(warned, 1);
    cr_assert(parse("OTEL_SDK_DISABLED=TRUE", NULL)->disabled);
    cr_assert(!parse("OTEL_SDK_DISABLED=false", NULL)->disabled);
    cr_assert_eq(warned, 0);
    const struct config *c = parse("OTEL_SDK_DISABLED=true", NULL);
    cr_assert(c->propagate_tracecontext && c->propagate_baggage);
}

/* edge case 10 */
Test(config, an_empty_variable_is_an_unset_one)
{
    static const char *const names[] = {"OTEL_SDK_DISABLED",
                                        "OTEL_SERVICE_NAME",
                                        "OTEL_RESOURCE_ATTRIBUTES",
                                        "OTEL_LOG_LEVEL",
                                        "OTEL_PROPAGATORS",
                                        "OTEL_TRACES_SAMPLER",
                                        "OTEL_TRACES_SAMPLER_ARG",
                                        "OTEL_TRACES_EXPORTER",
                                        "OTEL_CONFIG_FILE",
                                        "OTEL_EXPERIMENTAL_CONFIG_FILE",
                                        "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
                                        "OTEL_BSP_SCHEDULE_DELAY",
                                        "OTEL_BSP_EXPORT_TIMEOUT",
                                        "OTEL_BSP_MAX_QUEUE_SIZE",
                                        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                                        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                                        "OTEL_ATTRIBUTE_COUNT_LIMIT",
                                        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                                        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
                                        "OTEL_SPAN_EVENT_COUNT_LIMIT",
                                        "OTEL_SPAN_LINK_COUNT_LIMIT",
                                        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
                                        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
                                        "OTEL_EXPORTER_OTLP_ENDPOINT",
                                        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                                        "OTEL_EXPORTER_OTLP_PROTOCOL",
                                        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                                        "OTEL_EXPORTER_OTLP_HEADERS",
                                        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                                        "OTEL_EXPORTER_OTLP_COMPRESSION",
                                        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
                                        "OTEL_EXPORTER_OTLP_TIMEOUT",
                                        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
                                        "OTEL_EXPORTER_OTLP_CERTIFICATE",
                                        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                                        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                                        "OTEL_EXPORTER_OTLP_INSECURE",
                                        "FORKSPAN_PROXY",
                                        "FORKSPAN_FILE",
                                        "FORKSPAN_FILE_SIZE",
                                        "FORKSPAN_LOG"};
    const struct config *plain = parse(NULL, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char variable[80];
        snprintf(variable, sizeof variable, "%s= ", names[i]);
        const struct config *c = parse(variable, NULL);
        cr_assert_eq(warned, 0, "%s: %s", names[i], warnings);
        cr_assert_str_eq(c->exporter.url, plain->exporter.url);
        cr_assert(c->disabled == plain->disabled && c->sampler == plain->sampler &&
                      c->ratio == plain->ratio && c->exporter.kind == plain->exporter.kind &&
                      c->max_queue == plain->max_queue && c->attribute_count == plain->attribute_count &&
                      c->exporter.timeout_ms == plain->exporter.timeout_ms,
                  "%s", names[i]);
    }
}

/* edge case 11 */
Test(config, a_ratio_in_any_locale)
{
    /* where it is not installed the C locale must do */
    setlocale(LC_NUMERIC, "de_DE.UTF-8");
    const struct config *c = parse("OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.25", NULL);
    cr_assert_eq(c->ratio, 0.25);
    cr_assert(!c->parent_based && c->sampler == SAMPLER_RATIO);
    static const char *const bad[] = {"nan", "-0.1", "1.5", "0,5", "0.5x", "inf", "0x1p-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char variable[80];
        snprintf(variable, sizeof variable, "OTEL_TRACES_SAMPLER_ARG=%s", bad[i]);
        cr_assert_eq(parse("OTEL_TRACES_SAMPLER=parentbased_traceidratio", variable, NULL)->ratio, 1.0);
        cr_assert_eq(warned, 1, "%s", bad[i]);
    }
    setlocale(LC_NUMERIC, "C");
}

/* edge case 12 */
Test(config, an_argument_without_a_sampler)
{
    const struct config *c = parse("OTEL_TRACES_SAMPLER_ARG=0.1", NULL);
    cr_assert_eq(c->sampler, SAMPLER_ALWAYS_ON);
    cr_assert_eq(c->ratio, 1.0);
}

Test(config, samplers)
{
    const struct config *c = parse("OTEL_TRACES_SAMPLER=ALWAYS_OFF", NULL);
    cr_assert(!c->parent_based && c->sampler == SAMPLER_ALWAYS_OFF);
    c = parse("OTEL_TRACES_SAMPLER=always_on", NULL);
    cr_assert(!c->parent_based && c->sampler == SAMPLER_ALWAYS_ON);
    c = parse("OTEL_TRACES_SAMPLER=parentbased_always_off", NULL);
    cr_assert(c->parent_based && c->sampler == SAMPLER_ALWAYS_OFF);
    static const char *const unsupported[] = {"jaeger_remote", "parentbased_jaeger_remote", "xray", "smoke"};
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        char variable[80];
        snprintf(variable, sizeof variable, "OTEL_TRACES_SAMPLER=%s", unsupported[i]);
        c = parse(variable, NULL);
        cr_assert(c->parent_based && c->sampler == SAMPLER_ALWAYS_ON);
        cr_assert_eq(warned, 1);
    }
}

/* edge case 13 */
Test(config, resource_attributes)
{
    const struct config *c =
        parse("OTEL_RESOURCE_ATTRIBUTES=a=x+y, b = c%2Cd%3De ,,e=,f=1=2,a=z,k%20y=v", NULL);
    cr_assert_eq(warned, 0);
    cr_assert_eq(c->n_resource, 5);
    cr_assert_str_eq(c->resource[0].key, "a");
    cr_assert_str_eq(c->resource[0].value, "z");
    cr_assert_str_eq(c->resource[1].value, "c,d=e");
    cr_assert_str_eq(c->resource[2].value, "");
    cr_assert_str_eq(c->resource[3].value, "1=2");
    cr_assert_str_eq(c->resource[4].key, "k y");
    cr_assert_str_eq(parse("OTEL_RESOURCE_ATTRIBUTES=a=x+y", NULL)->resource[0].value, "x+y");
    static const char *const bad[] = {"a=1,b=%ZZ", "a=1,novalue", "a=1,=x", "a=%ff", "a=1,b=%4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char variable[80];
        snprintf(variable, sizeof variable, "OTEL_RESOURCE_ATTRIBUTES=%s", bad[i]);
        cr_assert_eq(parse(variable, NULL)->n_resource, 0, "%s", bad[i]);
        cr_assert_eq(warned, 1, "%s", bad[i]);
    }
}

Test(config, exporters)
{
    cr_assert_eq(parse("OTEL_TRACES_EXPORTER=none", NULL)->exporter.kind, EXPORTER_NONE);
    cr_assert_eq(parse("OTEL_TRACES_EXPORTER=Console", NULL)->exporter.kind, EXPORTER_CONSOLE);
    cr_assert_leq(parse("OTEL_TRACES_EXPORTER=console", NULL)->schedule_delay_ms, 100);
    cr_assert_eq(parse("OTEL_TRACES_EXPORTER=otlp/stdout", NULL)->exporter.kind, EXPORTER_OTLP_STDOUT);
    cr_assert_eq(parse("OTEL_TRACES_EXPORTER=otlp/stdout", NULL)->schedule_delay_ms, 5000);
    cr_assert_eq(warned, 0);
    cr_assert_eq(parse("OTEL_TRACES_EXPORTER=zipkin", NULL)->exporter.kind, EXPORTER_OTLP);
    cr_assert_eq(warned, 1);
    cr_assert_eq(parse("OTEL_TRACES_EXPORTER=console,none", NULL)->exporter.kind, EXPORTER_NONE);
    cr_assert_eq(warned, 1);
}

Test(config, propagators)
{
    const struct config *c = parse("OTEL_PROPAGATORS=b3,B3MULTI,b3", NULL);
    cr_assert(!c->propagate_tracecontext && !c->propagate_baggage && c->propagate_b3 && c->propagate_b3multi);
    c = parse("OTEL_PROPAGATORS=none", NULL);
    cr_assert(!c->propagate_tracecontext && !c->propagate_baggage);
    cr_assert_eq(warned, 0);
    c = parse("OTEL_PROPAGATORS=none,tracecontext", NULL);
    cr_assert(c->propagate_tracecontext && !c->propagate_baggage);
    cr_assert_eq(warned, 1);
    c = parse("OTEL_PROPAGATORS=tracecontext,forkspan", NULL);
    cr_assert(c->propagate_tracecontext && !c->propagate_baggage);
    cr_assert_eq(warned, 0);
    c = parse("OTEL_PROPAGATORS=smoke", NULL);
    cr_assert(c->propagate_tracecontext && c->propagate_baggage);
    cr_assert_eq(warned, 1);
    c = parse("OTEL_PROPAGATORS=xray,b3", NULL);
    cr_assert(c->propagate_b3 && !c->propagate_tracecontext);
    cr_assert_eq(warned, 1);
}

Test(config, limits_from_special_to_general)
{
    const struct config *c =
        parse("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=10", "OTEL_ATTRIBUTE_COUNT_LIMIT=20", NULL);
    cr_assert_eq(c->attribute_length, 10);
    cr_assert_eq(c->attribute_count, 20);
    c = parse("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=10", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT=0",
              "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=0", "OTEL_SPAN_EVENT_COUNT_LIMIT=1",
              "OTEL_SPAN_LINK_COUNT_LIMIT=2", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT=3",
              "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT=4", NULL);
    cr_assert_eq(c->attribute_length, 0);
    cr_assert_eq(c->attribute_count, 0);
    cr_assert_eq(c->event_count, 1);
    cr_assert_eq(c->link_count, 2);
    cr_assert_eq(c->event_attribute_count, 3);
    cr_assert_eq(c->link_attribute_count, 4);
    cr_assert_eq(
        parse("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=-3", "OTEL_ATTRIBUTE_COUNT_LIMIT=9", NULL)->attribute_count,
        9);
    cr_assert_eq(warned, 1);
}

Test(config, compression_and_certificates)
{
    cr_assert(parse("OTEL_EXPORTER_OTLP_COMPRESSION=GZIP", NULL)->exporter.gzip);
    cr_assert(
        !parse("OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=none", NULL)
             ->exporter.gzip);
    cr_assert(!parse("OTEL_EXPORTER_OTLP_COMPRESSION=zstd", NULL)->exporter.gzip);
    cr_assert_eq(warned, 1);
    const struct config *c =
        parse("OTEL_EXPORTER_OTLP_CERTIFICATE=/a", "OTEL_EXPORTER_OTLP_CLIENT_KEY=/b", NULL);
    cr_assert_str_eq(c->exporter.certificate, "/a");
    cr_assert_eq(warned, 1);
    c = parse("OTEL_EXPORTER_OTLP_CLIENT_KEY=/b", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/c", NULL);
    cr_assert_str_eq(c->exporter.client_key, "/b");
    cr_assert_str_eq(c->exporter.client_certificate, "/c");
    cr_assert_eq(warned, 0);
}

Test(config, a_configuration_file_is_not_honoured_and_says_so)
{
    parse("OTEL_CONFIG_FILE=/x.yaml", NULL);
    cr_assert_eq(warned, 1);
    parse("OTEL_EXPERIMENTAL_CONFIG_FILE=/x.yaml", NULL);
    cr_assert_eq(warned, 1);
}

Test(config, log_levels_and_methods)
{
    cr_assert_eq(parse("OTEL_LOG_LEVEL=DEBUG", NULL)->log_level, 4);
    cr_assert_eq(parse("OTEL_LOG_LEVEL=none", NULL)->log_level, 0);
    cr_assert_eq(parse("OTEL_LOG_LEVEL=loud", NULL)->log_level, 3);
    cr_assert_eq(warned, 1);
    const struct config *c = parse("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS=GET,brew", NULL);
    cr_assert_str_eq(c->known_methods[1], "brew");
    cr_assert_null(c->known_methods[2]);
    c = parse(NULL, NULL);
    cr_assert_str_eq(c->known_methods[0], "CONNECT");
}

Test(config, file_rotation)
{
    const struct config *c = parse("FORKSPAN_FILE=/x", "FORKSPAN_FILE_SIZE=3", "FORKSPAN_FILE_COUNT=2", NULL);
    cr_assert_eq(c->exporter.file_size, 3u << 20);
    cr_assert_eq(c->exporter.file_count, 2);
    c = parse("FORKSPAN_FILE_COUNT=0", NULL);
    cr_assert_eq(c->exporter.file_count, 5);
    cr_assert_eq(warned, 1);
    cr_assert_eq(c->exporter.file_size, 0);
}
