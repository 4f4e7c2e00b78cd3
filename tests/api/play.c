/* SPDX-License-Identifier: Apache-2.0
 * play.c - makes the spans that a script on standard input describes, so that a test can make random ones and
 * know what must arrive. One call a line; strings are hexadecimal, "-" is NULL:
 *
 *   start NAME KIND START_NS    rename NAME    status N TEXT    end END_NS
 *   set ATTRIBUTE...    event NAME NS ATTRIBUTE...    link TRACE SPAN FLAGS TRACESTATE ATTRIBUTE...
 *
 * ATTRIBUTE is KEY s TEXT, KEY i NUMBER, KEY d HEXFLOAT or KEY b 0|1.
 */
#include <forkspan.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 4096, ATTRIBUTES = 512 };

static char *words[WORDS];
static size_t n_words, at;

static const char *word(void)
{
    if (at >= n_words)
        exit(4);
    return words[at++];
}

/* Decoded in place. */
static size_t bytes_of(char *hex)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        hex[i] = (char)strtoul(digits, NULL, 16);
    }
    hex[n] = '\0';
    return n;
}

static const char *text(size_t *len)
{
    char *w = words[at++];
    if (strcmp(w, "-") == 0)
        return NULL;
    if (strcmp(w, "=") == 0)
        w[0] = '\0';
    *len = bytes_of(w);
    return w;
}

static uint64_t number(void)
{
    return strtoull(word(), NULL, 10);
}

static size_t attributes(struct forkspan_attribute *a)
{
    size_t n = 0, len;
    while (at < n_words && n < ATTRIBUTES) {
        const char *key = text(&len), *type = word();
        if (*type == 's') {
            const char *s = text(&len);
            a[n++] = s ? forkspan_string_n(key, s, len) : forkspan_string(key, NULL);
        } else if (*type == 'i') {
            a[n++] = forkspan_int(key, strtoll(word(), NULL, 10));
        } else if (*type == 'd') {
            a[n++] = forkspan_double(key, strtod(word(), NULL));
        } else {
            a[n++] = forkspan_bool(key, *word() == '1');
        }
    }
    return n;
}

static void link_to(struct forkspan_span *s, struct forkspan_attribute *a)
{
    static struct forkspan_context c;
    size_t len = 0;
    memset(&c, 0, sizeof c);
    memcpy(c.trace_id, text(&len), sizeof c.trace_id);
    memcpy(c.span_id, text(&len), sizeof c.span_id);
    c.flags = (uint8_t)number();
    const char *tracestate = text(&len);
    if (tracestate) {
        memcpy(c.tracestate, tracestate, len);
        c.tracestate_len = (uint16_t)len;
    }
    size_t n = attributes(a);
    forkspan_link(s, &c, a, n);
}

int main(void)
{
    static struct forkspan_attribute a[ATTRIBUTES];
    struct forkspan_span *s = NULL;
    char *line = NULL;
    size_t room = 0, len, spans = 0;
    if (!forkspan_enabled())
        return 3;
    while (getline(&line, &room, stdin) > 0) {
        n_words = at = 0;
        for (char *w = strtok(line, " \n"); w && n_words < WORDS; w = strtok(NULL, " \n"))
            words[n_words++] = w;
        const char *what = word();
        if (strcmp(what, "start") == 0) {
            const char *name = text(&len);
            unsigned kind = (unsigned)number();
            s = forkspan_start_at(name, kind, FORKSPAN_ROOT, number());
        } else if (strcmp(what, "rename") == 0) {
            forkspan_rename(s, text(&len));
        } else if (strcmp(what, "status") == 0) {
            unsigned status = (unsigned)number();
            forkspan_set_status(s, (enum forkspan_status)status, text(&len));
        } else if (strcmp(what, "set") == 0) {
            size_t n = attributes(a);
            forkspan_set(s, a, n);
        } else if (strcmp(what, "event") == 0) {
            const char *name = text(&len);
            uint64_t when = number();
            size_t n = attributes(a);
            forkspan_event(s, name, when, a, n);
        } else if (strcmp(what, "link") == 0) {
            link_to(s, a);
        } else if (strcmp(what, "end") == 0) {
            forkspan_end_at(s, number());
            if (++spans % 64 == 0 && !forkspan_flush(20000))
                return 2;
        }
    }
    free(line);
    return forkspan_flush(20000) ? 0 : 2;
}
