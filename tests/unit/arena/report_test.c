/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/report.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct slot *slot;

static void to(const char *url, const char *proxy, const char *unix_path)
{
    static struct config config;
    config = (struct config){.exporter = {.url = url, .proxy = proxy, .unix_path = unix_path}};
    free(slot);
    slot = aligned_alloc(64, sizeof *slot);
    memset(slot, 0, sizeof *slot);
    report_to(slot, &config);
}

static const char *said(const char *line)
{
    static char text[300];
    report_said(0, line);
    snprintf(text, sizeof text, "%.*s", (int)slot->report.said_len, slot->report.said);
    return text;
}

Test(report, the_endpoint_is_not_in_it)
{
    to("http://user:secret@collector.example:4318/v1/traces", "http://squid:3128", NULL);
    cr_assert_str_eq(said("Failed to connect to Collector.example port 4318"),
                     "Failed to connect to (endpoint) port 4318");
    cr_assert_str_eq(said("collector.example and squid: squids, collector.examples"),
                     "(endpoint) and (endpoint): squids, collector.examples");
    to("https://[2001:db8::1]:4318/v1/traces", NULL, NULL);
    cr_assert_str_eq(said("to 2001:db8::1 port"), "to (endpoint) port");
    to("http://localhost/v1/traces", NULL, "/run/otel.sock");
    cr_assert_str_eq(said("connect to /run/otel.sock: localhost refused"),
                     "connect to (endpoint): (endpoint) refused");
    to(NULL, NULL, NULL);
    cr_assert_str_eq(said("no URL at all"), "no URL at all");
    to("http:///", "odd", "");
    cr_assert_str_eq(said("a URL without a host"), "a URL without a host");
}

Test(report, no_more_than_there_is_room_for)
{
    to("http://a/", NULL, NULL);
    char line[600];
    for (size_t i = 0; i + 1 < sizeof line; i++)
        line[i] = i % 2 ? ' ' : 'a'; /* ten times as long in the arena */
    line[sizeof line - 1] = '\0';
    const uint64_t guard = 0x1122334455667788;
    slot->counters[0] = guard;
    said(line);
    cr_assert_leq(slot->report.said_len, sizeof slot->report.said);
    cr_assert_geq(slot->report.said_len, sizeof slot->report.said - 10);
    cr_assert_eq(slot->counters[0], guard);
}

Test(report, what_ends_how)
{
    to("http://a/", NULL, NULL);
    report_opened(true);
    cr_assert_eq(slot->report.state, EXPORTER_RESTS);
    report_begun();
    cr_assert_eq(slot->report.state, EXPORTER_SENDS);
    report_ended(EXPORT_FAILED);
    report_begun();
    report_ended(EXPORT_FAILED);
    cr_assert(slot->report.failures == 2 && slot->report.delivered_ns == 0);
    report_begun();
    report_ended(EXPORT_ABORTED); /* neither */
    cr_assert_eq(slot->report.failures, 2);
    report_begun();
    report_ended(EXPORT_OK);
    cr_assert(slot->report.failures == 0 && slot->report.delivered_ns != 0);
    cr_assert_eq(slot->report.said_ns, 0);
    report_said(2, "information is not kept");
    cr_assert_eq(slot->report.said_ns, 0);
    report_said(1, "a warning is");
    cr_assert_neq(slot->report.said_ns, 0);
    report_forget();
    report_begun();
    report_said(0, "in a child");
    cr_assert_eq(slot->report.state, EXPORTER_RESTS);
}
