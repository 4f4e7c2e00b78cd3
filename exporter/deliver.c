/* SPDX-License-Identifier: Apache-2.0 */
#include "deliver.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static uint32_t any_number(void)
{
    uint32_t random;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (uint32_t)exporter_now_ns();
    return random;
}

/* False: told to stop. */
static bool pause_for(struct exporter *e, uint64_t ms)
{
    for (uint64_t end = exporter_now_ns() + ms * 1000000u, now; (now = exporter_now_ns()) < end;)
        if (e->host.wait(e->host.ctx, NULL, 0, (int)((end - now) / 1000000u) + 1) == -2)
            return false;
    return true;
}

/* What may be tried again has been tried for as long as it may. */
static enum export_result given_up(struct exporter *e, const char *what, const char *why)
{
    exporter_log(e, 1, "an export %s, its spans are %s: %s", what, e->kept ? "kept for later" : "dropped",
                 why);
    return e->kept ? EXPORT_UNDELIVERED : EXPORT_FAILED;
}

void deliver_partial(struct exporter *e, const struct answer *a, uint32_t n_spans, struct export_outcome *out)
{
    out->rejected = a->rejected < n_spans ? a->rejected : n_spans;
    if (a->rejected)
        exporter_log(e, 1, "the receiver rejected %u of %u spans: %s", a->rejected, n_spans, a->message);
    else if (a->message[0])
        exporter_log(e, 1, "the receiver says: %s", a->message);
}

void deliver(struct exporter *e, struct transport *t, const struct protocol *p, const uint8_t *body,
             size_t len, uint32_t n_spans, uint64_t deadline_ns, struct export_outcome *out)
{
    uint64_t begin = exporter_now_ns();
    uint64_t until = e->config->timeout_ms ? begin + (uint64_t)e->config->timeout_ms * 1000000u : 0;
    if (deadline_ns && (!until || deadline_ns < until))
        until = deadline_ns;
    out->result = EXPORT_FAILED;
    struct verdict last = {.why = "no answer"};
    for (out->attempts = 1;; out->attempts++) {
        uint64_t now = exporter_now_ns();
        enum tried tried = TRIED_TIME_UP;
        if (!until || now < until) {
            struct curl_slist *headers = p->headers(p->ctx, until ? (until - now) / 1000000u + 1 : 0);
            tried = transport_post(e, t, headers, body, len, until, &out->any_byte_sent);
        }
        if (tried == TRIED_STOPPED) {
            out->result = EXPORT_ABORTED;
            return;
        }
        if (tried == TRIED_TIME_UP) {
            bool hosts = deadline_ns && until == deadline_ns;
            if (hosts)
                exporter_log(e, 1, "an export was given up, the time for it is over: %s", last.why);
            out->result = hosts ? EXPORT_ABORTED : given_up(e, "took too long", last.why);
            return;
        }
        if (t->code == CURLE_OUT_OF_MEMORY) {
            exporter_no_memory(e, n_spans, out);
            return;
        }
        struct verdict v = {.what = RETRY};
        if (t->code != CURLE_OK)
            snprintf(v.why, sizeof v.why, "%s", t->error[0] ? t->error : curl_easy_strerror(t->code));
        if (transport_permanent(t->code))
            v.what = DROP;
        else
            p->judge(e, p->ctx, n_spans, out, &v);
        if (v.what == DELIVERED) {
            out->result = EXPORT_OK;
            return;
        }
        if (v.what == DROP) {
            exporter_log(e, 1, "an export failed for good, its spans are dropped: %s", v.why);
            return;
        }
        last = v;
        uint64_t pause = retry_pause_ms(out->attempts, any_number());
        if (pause < v.pause_ms) /* all clients were told the same: apart by the back-off's own share */
            pause = v.pause_ms + pause / 5;
        if (out->attempts >= RETRY_ATTEMPTS ||
            (until && pause >= (until - (now < until ? now : until)) / 1000000u)) {
            out->result = given_up(e, "failed", v.why);
            return;
        }
        if (!pause_for(e, pause)) {
            out->result = EXPORT_ABORTED;
            return;
        }
    }
}
