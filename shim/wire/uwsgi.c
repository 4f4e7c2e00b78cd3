/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/uwsgi.h"

#include <string.h>

enum state {
    START,
    HEADER, /* inside the four bytes */
    NAME_LENGTH,
    NAME,
    VALUE_LENGTH,
    VALUE,
    BODY,
    LOST,
};

void uwsgi_init(struct uwsgi *p)
{
    memset(p, 0, sizeof *p);
    p->state = START;
}

bool uwsgi_first_byte(uint8_t c)
{
    /* modifier1 of requests with variables: Python, Perl, Lua, Ruby, the JVM, CGI, Go, PHP, Mono, V8. Not 10
     * and 13, which are an empty line before an HTTP request; not 1, which is FastCGI; not 22, which is TLS.
     */
    static const uint32_t requests =
        1u << 0 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 11 | 1u << 14 | 1u << 15 | 1u << 18;
    return c < 32 && (requests >> c & 1);
}

enum uwsgi_var uwsgi_var_of(const uint8_t *name, size_t len)
{
    static const struct {
        uint8_t len, var;
        char name[UWSGI_NAME_ROOM];
    } vars[] = {
        {5, UWSGI_HTTPS, "HTTPS"},
        {9, UWSGI_PATH_INFO, "PATH_INFO"},
        {9, UWSGI_HOST, "HTTP_HOST"},
        {11, UWSGI_REQUEST_URI, "REQUEST_URI"},
        {11, UWSGI_REMOTE_ADDR, "REMOTE_ADDR"},
        {12, UWSGI_QUERY_STRING, "QUERY_STRING"},
        {12, UWSGI_SCHEME, "UWSGI_SCHEME"},
        {14, UWSGI_REQUEST_METHOD, "REQUEST_METHOD"},
        {14, UWSGI_SCHEME, "REQUEST_SCHEME"},
        {14, UWSGI_FORWARDED, "HTTP_FORWARDED"},
        {15, UWSGI_SERVER_PROTOCOL, "SERVER_PROTOCOL"},
        {15, UWSGI_USER_AGENT, "HTTP_USER_AGENT"},
        {15, UWSGI_TRACESTATE, "HTTP_TRACESTATE"},
        {16, UWSGI_TRACEPARENT, "HTTP_TRACEPARENT"},
        {20, UWSGI_X_FORWARDED_FOR, "HTTP_X_FORWARDED_FOR"},
        {21, UWSGI_X_FORWARDED_HOST, "HTTP_X_FORWARDED_HOST"},
        {22, UWSGI_X_FORWARDED_PROTO, "HTTP_X_FORWARDED_PROTO"},
    };
    for (size_t i = 0; i < sizeof vars / sizeof *vars; i++)
        if (vars[i].len == len && memcmp(vars[i].name, name, len) == 0)
            return (enum uwsgi_var)vars[i].var;
    return UWSGI_VAR_OTHER;
}

static enum uwsgi_event lost(struct uwsgi *p, struct http1_slice *in)
{
    p->state = LOST;
    in->p += in->len;
    in->len = 0;
    return UWSGI_NOT_UWSGI;
}

static uint8_t take(struct http1_slice *in)
{
    uint8_t c = *in->p++;
    in->len--;
    return c;
}

/* One more byte of a 16-bit length; true when it is complete. */
static bool length_byte(struct uwsgi *p, uint8_t c)
{
    if (p->count++ == 0) {
        p->need = c;
        return false;
    }
    p->need = (uint16_t)(p->need | c << 8);
    p->count = 0;
    return true;
}

static bool name_byte(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '_' ||
           c == '-' || c == '.';
}

enum uwsgi_event uwsgi_next(struct uwsgi *p, struct http1_slice *in, struct http1_slice *out)
{
    out->p = in->p;
    out->len = 0;
    for (;;) {
        if (p->state == LOST)
            return lost(p, in);
        /* A value that is complete needs no byte more to be told of, nor does the end of the variables. */
        if (p->state == VALUE && p->need == 0) {
            p->state = NAME_LENGTH;
            if (p->var != UWSGI_VAR_OTHER)
                return UWSGI_VALUE_END;
        }
        if (p->state == NAME_LENGTH && p->count == 0 && p->left == 0) {
            p->state = BODY;
            return UWSGI_HEAD_END;
        }
        if (p->state == BODY) {
            in->p += in->len;
            in->len = 0;
        }
        if (in->len == 0)
            return UWSGI_NEED_MORE;
        switch ((enum state)p->state) {
        case START:
            if (!uwsgi_first_byte(*in->p))
                return lost(p, in);
            p->state = HEADER;
            return UWSGI_START;
        case HEADER: {
            uint8_t c = take(in);
            switch (p->count++) {
            case 1:
                p->left = c;
                break;
            case 2:
                p->left = (uint16_t)(p->left | c << 8);
                break;
            case 3:
                p->count = 0;
                p->state = NAME_LENGTH;
                /* Variables there are in every request: without any it is a ping, or no uwsgi at all. */
                if (p->left == 0)
                    return lost(p, in);
                break;
            default: /* modifier1 */
                break;
            }
            break;
        }
        case NAME_LENGTH:
        case VALUE_LENGTH:
            if (p->left == 0)
                return lost(p, in);
            p->left--;
            if (!length_byte(p, take(in)))
                break;
            if (p->need > p->left || (p->state == NAME_LENGTH && p->need == 0))
                return lost(p, in);
            if (p->state == NAME_LENGTH) {
                p->name_len = 0;
                p->state = NAME;
            } else {
                p->state = VALUE;
            }
            break;
        case NAME: {
            uint8_t c = take(in);
            if (!name_byte(c))
                return lost(p, in);
            if (p->name_len < UWSGI_NAME_ROOM)
                p->name[p->name_len++] = c;
            p->left--;
            if (--p->need == 0) {
                if (p->left < 2)
                    return lost(p, in);
                p->var = (uint8_t)uwsgi_var_of(p->name, p->name_len);
                p->state = VALUE_LENGTH;
            }
            break;
        }
        case VALUE: {
            size_t n = in->len < p->need ? in->len : p->need;
            out->p = in->p;
            out->len = n;
            in->p += n;
            in->len -= n;
            p->need = (uint16_t)(p->need - n);
            p->left = (uint16_t)(p->left - n);
            if (p->var != UWSGI_VAR_OTHER)
                return UWSGI_VALUE;
            out->len = 0;
            break;
        }
        case BODY:
        case LOST:
            break;
        }
    }
}
