/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/report.h"
#include "clock.h"

#include <stdatomic.h>
#include <string.h>
#include <strings.h>

enum { WARNING = 1 };

/* Parts of the configuration that may stand in an error's text: host names and a path. */
struct part {
    const char *p;
    size_t len;
};

static struct exporter_report *report;
static struct part hidden[3];

/* The host of a URL: no scheme, no user, no port, no path. */
static struct part host_of(const char *url)
{
    const char *p = url ? strstr(url, "://") : NULL;
    if (!p)
        return (struct part){NULL, 0};
    p += 3;
    size_t authority = strcspn(p, "/?#");
    const char *at = memrchr(p, '@', authority);
    if (at) {
        authority -= (size_t)(at + 1 - p);
        p = at + 1;
    }
    bool brackets = authority && *p == '[';
    p += brackets, authority -= brackets;
    const char *end = memchr(p, brackets ? ']' : ':', authority);
    return (struct part){p, end ? (size_t)(end - p) : authority};
}

void report_to(struct slot *slot, const struct config *config)
{
    const struct exporter_config *c = &config->exporter;
    hidden[0] = host_of(c->url);
    hidden[1] = host_of(c->proxy);
    hidden[2] = (struct part){c->unix_path, c->unix_path ? strlen(c->unix_path) : 0};
    report = &slot->report;
}

void report_forget(void)
{
    report = NULL;
}

void report_opened(bool opened)
{
    if (report)
        atomic_store(&report->state, opened ? EXPORTER_RESTS : EXPORTER_MISSING);
}

void report_begun(void)
{
    if (!report)
        return;
    atomic_store(&report->begun_ns, clock_ns(CLOCK_MONOTONIC));
    atomic_store(&report->state, EXPORTER_SENDS);
}

void report_ended(enum export_result result)
{
    if (!report)
        return;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (result == EXPORT_OK) {
        atomic_store(&report->delivered_ns, now);
        atomic_store(&report->failures, 0);
    } else if (result != EXPORT_ABORTED) {
        atomic_fetch_add(&report->failures, 1);
    }
    atomic_store(&report->state, EXPORTER_RESTS);
}

static bool word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The bytes at `at` that are not for the arena. */
static size_t hidden_at(const char *line, const char *at)
{
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        size_t n = hidden[i].len;
        if (n && strncasecmp(at, hidden[i].p, n) == 0 && !(at > line && word(at[-1])) && !word(at[n]))
            return n;
    }
    return 0;
}

void report_said(int level, const char *line)
{
    if (!report || level > WARNING)
        return;
    static const char instead[] = "(endpoint)";
    size_t n = 0;
    for (const char *p = line; *p;) {
        size_t hide = hidden_at(line, p), len = hide ? sizeof instead - 1 : 1;
        if (len > sizeof report->said - n)
            break;
        memcpy(report->said + n, hide ? instead : p, len);
        n += len;
        p += hide ? hide : 1;
    }
    atomic_store(&report->said_len, (uint32_t)n);
    atomic_store(&report->said_ns, clock_ns(CLOCK_MONOTONIC));
}
