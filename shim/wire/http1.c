/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http1.h"

#include <string.h>

enum state {
    IDLE, /* before a message; empty lines are let pass */
    METHOD,
    BEFORE_TARGET,
    TARGET,
    AFTER_TARGET,
    VERSION,      /* inside "HTTP/1." and its last digit */
    VERSION_TOLD, /* response: status code follows */
    STATUS,
    LINE_REST,  /* request: blanks; response: the reason phrase */
    LINE_LF,    /* request line: CR seen */
    LINE_START, /* first byte of a header line, or of the empty line, or a folded line */
    HEAD_LF,    /* empty line: CR seen */
    NAME,
    VALUE_BLANK, /* leading blanks of a value */
    VALUE,
    VALUE_CR,
    SKIP_LINE, /* value of a header that nobody asked for */
    BODY,
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_END, /* CR LF, or LF, behind a chunk's bytes */
    CHUNK_LF,
    TRAILER, /* first byte of a trailer line */
    TRAILER_REST,
    TRAILER_LF,
    /* From here on no byte is looked at. */
    HEAD_DONE, /* HEAD_END was returned */
    BODY_CLOSE,
    END, /* MESSAGE_END is due */
    UPGRADED_DUE,
    UPGRADED,
    LOST, /* NOT_HTTP */
};

enum flag {
    IS_RESPONSE = 1,
    HAS_LENGTH = 2,    /* a Content-Length was complete */
    HAS_CODING = 4,    /* a Transfer-Encoding was there */
    CHUNKED = 8,       /* and its last coding was chunked */
    VALUE_OPEN = 16,   /* a value whose VALUE_END is due once the next line is known not to be folded */
    DIGITS = 32,       /* digits of a number have been seen */
    DIGITS_OVER = 64,  /* and blanks behind them */
    LOST_AT_END = 128, /* bytes behind the body went by unseen */
};

#define CODING_BAD 0xff

enum odd {
    ODD = 1,
    ODD_BEHIND = 2, /* becomes so behind this head */
};

static const char version_text[] = "HTTP/1.";
static const char chunked_text[] = "chunked";
static const uint8_t blank[1] = {' '};

static const bool token[256] = {/* tchar, RFC 9110, 5.6.2 */
                                ['!'] = 1,         ['#'] = 1,         ['$'] = 1,        ['%'] = 1, ['&'] = 1,
                                ['\''] = 1,        ['*'] = 1,         ['+'] = 1,        ['-'] = 1, ['.'] = 1,
                                ['^'] = 1,         ['_'] = 1,         ['`'] = 1,        ['|'] = 1, ['~'] = 1,
                                ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1};

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static bool is_alpha(uint8_t c)
{
    uint8_t l = c | 0x20;
    return l >= 'a' && l <= 'z';
}

static const struct field {
    uint8_t len, field;
    char name[18];
} fields[] = {
    {4, HTTP1_HOST, "host"},
    {7, HTTP1_UPGRADE, "upgrade"},
    {9, HTTP1_FORWARDED, "forwarded"},
    {10, HTTP1_USER_AGENT, "user-agent"},
    {10, HTTP1_TRACESTATE, "tracestate"},
    {10, HTTP1_CONNECTION, "connection"},
    {11, HTTP1_TRACEPARENT, "traceparent"},
    {14, HTTP1_CONTENT_LENGTH, "content-length"},
    {15, HTTP1_X_FORWARDED_FOR, "x-forwarded-for"},
    {16, HTTP1_X_FORWARDED_HOST, "x-forwarded-host"},
    {17, HTTP1_X_FORWARDED_PROTO, "x-forwarded-proto"},
    {17, HTTP1_TRANSFER_ENCODING, "transfer-encoding"},
    {UINT8_MAX, HTTP1_FIELD_OTHER, ""},
};

static uint64_t word_at(const void *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* A name in small letters, 4 to 17 bytes, against one as it came. Of the bytes that a name may have, only the
 * two cases of a letter become that letter with this bit set. */
static bool same_name(const char *name, const uint8_t *s, size_t len)
{
    const uint64_t small = UINT64_C(0x2020202020202020);
    if (len < 8) {
        uint32_t a, b, c, d;
        memcpy(&a, s, 4), memcpy(&b, s + len - 4, 4);
        memcpy(&c, name, 4), memcpy(&d, name + len - 4, 4);
        return ((a | (uint32_t)small) == c) & ((b | (uint32_t)small) == d);
    }
    return (word_at(s) | small) == word_at(name) &&
           (word_at(s + len - 8) | small) == word_at(name + len - 8) &&
           (len <= 16 || (word_at(s + 8) | small) == word_at(name + 8));
}

/* A name without control characters. */
static uint8_t field_of(const uint8_t *name, size_t len)
{
    /* Where those of a length begin; the last of them stands for the lengths that none has. */
    enum { NONE = sizeof fields / sizeof *fields - 1 };
    static const uint8_t first[18] = {NONE, NONE, NONE, NONE, 0,    NONE, NONE, 1, NONE,
                                      2,    3,    6,    NONE, NONE, 7,    8,    9, 10};
    if (len >= sizeof first)
        return HTTP1_FIELD_OTHER;
    for (const struct field *f = fields + first[len]; f->len == len; f++)
        if (same_name(f->name, name, len))
            return f->field;
    return HTTP1_FIELD_OTHER;
}

/* Eight bytes at a time. The lowest bit of what these two return is in the first byte that is meant; the ones
 * above may be false. */
static const uint64_t each = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);

static uint64_t byte_below(uint64_t word, uint8_t c)
{
    return (word - each * c) & ~word & tops;
}

static uint64_t has_byte(uint64_t word, uint8_t c)
{
    return byte_below(word ^ each * c, 1);
}

/* The byte of the lowest bit: both of our machines are little-endian. */
static size_t first_byte(uint64_t bits)
{
    return (size_t)__builtin_ctzll(bits) / 8;
}

/* How many bytes at s a request target may go on with. */
static size_t target_length(const uint8_t *s, size_t len)
{
    size_t n = 0;
    for (; n + 8 <= len; n += 8) {
        uint64_t word = word_at(s + n), end = byte_below(word, ' ' + 1) | has_byte(word, 0x7f);
        if (end)
            return n + first_byte(end);
    }
    while (n < len && s[n] > ' ' && s[n] != 0x7f)
        n++;
    return n;
}

/* How many bytes at s come before a CR or an LF. Looks no further: a value may be megabytes of CR. */
static size_t line_length(const uint8_t *s, size_t len)
{
    size_t n = 0;
    for (; n + 8 <= len; n += 8) {
        uint64_t word = word_at(s + n), end = has_byte(word, '\r') | has_byte(word, '\n');
        if (end)
            return n + first_byte(end);
    }
    while (n < len && s[n] != '\r' && s[n] != '\n')
        n++;
    return n;
}

/* How many bytes at s a name may have that is judged as it is: up to its colon, a blank or anything below. */
static size_t name_length(const uint8_t *s, size_t len)
{
    size_t n = 0;
    for (; n + 8 <= len; n += 8) {
        uint64_t word = word_at(s + n), end = byte_below(word, ' ' + 1) | has_byte(word, ':');
        if (end)
            return n + first_byte(end);
    }
    while (n < len && s[n] > ' ' && s[n] != ':')
        n++;
    return n;
}

static void message_begins(struct http1 *p)
{
    uint8_t keep = p->flags & IS_RESPONSE;
    p->left = p->length = p->number = 0;
    p->flags = keep;
    p->count = p->coding = p->name_len = 0;
    p->minor = 0;
    p->status = 0;
    p->field = HTTP1_FIELD_OTHER;
}

void http1_init_request(struct http1 *p)
{
    memset(p, 0, sizeof *p);
    p->state = IDLE;
}

void http1_init_response(struct http1 *p)
{
    memset(p, 0, sizeof *p);
    p->state = IDLE;
    p->flags = IS_RESPONSE;
}

void http1_set_request_kind(struct http1 *p, enum http1_request_kind kind)
{
    p->kind = (uint8_t)kind;
}

bool http1_idle(const struct http1 *p)
{
    return p->state == IDLE;
}

bool http1_ends_at_close(const struct http1 *p)
{
    return p->state == BODY_CLOSE;
}

bool http1_odd(const struct http1 *p)
{
    return p->odd & ODD;
}

void http1_doubt(struct http1 *p)
{
    p->odd |= ODD;
}

bool http1_final(const struct http1 *p)
{
    return p->state == LOST || p->state == UPGRADED;
}

void http1_skip_body(struct http1 *p, uint64_t n)
{
    if (n == 0)
        return;
    if ((p->state == BODY || p->state == CHUNK_DATA) && n <= p->left) {
        p->left -= n;
        if (p->left == 0)
            p->state = p->state == BODY ? END : CHUNK_END;
    } else if (p->state == BODY) {
        p->left = 0;
        p->flags |= LOST_AT_END;
        p->state = END;
    } else if (p->state != BODY_CLOSE && p->state != UPGRADED) {
        p->state = LOST;
    }
}

/* One more digit of p->number; false where it does not fit. */
static bool number_add(struct http1 *p, unsigned base, unsigned digit)
{
    if (p->number > (UINT64_MAX - digit) / base)
        return false;
    p->number = p->number * base + digit;
    p->flags |= DIGITS;
    return true;
}

/* An element of a Content-Length list is complete: all must be there and equal. */
static bool length_element(struct http1 *p)
{
    if (!(p->flags & DIGITS) || (p->flags & HAS_LENGTH && p->length != p->number))
        return false;
    if (p->flags & HAS_LENGTH)
        p->odd |= ODD;
    p->length = p->number;
    p->number = 0;
    p->flags = (uint8_t)((p->flags | HAS_LENGTH) & ~(DIGITS | DIGITS_OVER));
    return true;
}

/* An element of Transfer-Encoding is complete: the last one says how the body ends. */
static void coding_element(struct http1 *p)
{
    if (p->coding != 0)
        p->flags = (uint8_t)(p->coding == sizeof chunked_text - 1 ? p->flags | CHUNKED : p->flags & ~CHUNKED);
    p->coding = 0;
}

/* Bytes of a framing header's value. */
static bool framing_value(struct http1 *p, const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t c = s[i];
        if (p->field == HTTP1_CONTENT_LENGTH) {
            if (c >= '0' && c <= '9') {
                if (p->flags & DIGITS_OVER || !number_add(p, 10, c - '0'))
                    return false;
            } else if (c == ',') {
                if (!length_element(p))
                    return false;
            } else if (c == ' ' || c == '\t') {
                if (p->flags & DIGITS)
                    p->flags |= DIGITS_OVER;
            } else {
                return false;
            }
        } else if (c == ',') {
            coding_element(p);
        } else if (c == ' ' || c == '\t') {
            if (p->coding != 0 && p->coding != sizeof chunked_text - 1)
                p->coding = CODING_BAD;
        } else if (p->coding < sizeof chunked_text - 1 && lower(c) == (uint8_t)chunked_text[p->coding]) {
            p->coding++;
        } else {
            p->coding = CODING_BAD;
        }
    }
    return true;
}

static bool framing_value_end(struct http1 *p)
{
    if (p->field == HTTP1_CONTENT_LENGTH)
        return length_element(p);
    coding_element(p);
    return true;
}

static bool is_framing(const struct http1 *p)
{
    return p->field == HTTP1_CONTENT_LENGTH || p->field == HTTP1_TRANSFER_ENCODING;
}

/* The field is known: is its value asked for? */
static void name_ends(struct http1 *p)
{
    if (p->field == HTTP1_FIELD_OTHER || p->field == HTTP1_CONNECTION || p->field == HTTP1_UPGRADE ||
        (p->flags & IS_RESPONSE && !is_framing(p))) {
        if (p->field == HTTP1_UPGRADE)
            p->odd |= ODD_BEHIND;
        p->state = SKIP_LINE;
        return;
    }
    p->flags = (uint8_t)((p->flags | VALUE_OPEN) & ~(DIGITS | DIGITS_OVER));
    p->number = 0;
    p->coding = 0;
    if (p->field == HTTP1_TRANSFER_ENCODING)
        p->flags |= HAS_CODING;
    p->state = VALUE_BLANK;
}

/* How the message goes on behind its head. */
static enum state after_head(struct http1 *p)
{
    bool response = p->flags & IS_RESPONSE;
    if (response) {
        if (p->status == 101)
            return UPGRADED_DUE;
        if (p->status < 200)
            return IDLE;
        if (p->kind == HTTP1_REQ_CONNECT && p->status < 300)
            return UPGRADED_DUE;
        if (p->kind == HTTP1_REQ_HEAD || p->status == 204 || p->status == 304)
            return END;
    }
    if (p->odd & ODD_BEHIND)
        p->odd = ODD;
    if (p->flags & HAS_CODING) {
        if (p->flags & HAS_LENGTH || !(p->flags & CHUNKED) || p->minor == 0)
            p->odd |= ODD;
        p->number = 0;
        p->flags = (uint8_t)(p->flags & ~(DIGITS | DIGITS_OVER));
        return p->flags & CHUNKED ? CHUNK_SIZE : BODY_CLOSE;
    }
    if (p->flags & HAS_LENGTH) {
        p->left = p->length;
        return p->left ? BODY : END;
    }
    return response ? BODY_CLOSE : END;
}

static enum http1_event lost(struct http1 *p, struct http1_slice *in)
{
    p->state = LOST;
    in->p += in->len;
    in->len = 0;
    return HTTP1_NOT_HTTP;
}

static void take(struct http1_slice *in, size_t n)
{
    in->p += n;
    in->len -= n;
}

/* States that look at no byte; true: `event` is next. */
static bool step_without_input(struct http1 *p, struct http1_slice *in, enum http1_event *event)
{
    if (p->state == HEAD_DONE)
        p->state = (uint8_t)after_head(p);
    switch (p->state) {
    case END:
        p->state = p->flags & LOST_AT_END ? LOST : IDLE;
        p->kind = HTTP1_REQ_PLAIN;
        *event = HTTP1_MESSAGE_END;
        return true;
    case UPGRADED_DUE:
        p->state = UPGRADED;
        *event = HTTP1_UPGRADED;
        return true;
    case UPGRADED:
    case BODY_CLOSE:
        take(in, in->len);
        return false;
    case LOST:
        *event = lost(p, in);
        return true;
    default:
        return false;
    }
}

/* Takes the bytes of a value up to its line's end; true: `out` is an event. */
static bool value_bytes(struct http1 *p, struct http1_slice *in, struct http1_slice *out, bool *bad)
{
    struct http1_slice piece = {in->p, line_length(in->p, in->len)};
    take(in, piece.len);
    if (in->len) {
        size_t end = *in->p == '\r' && in->len > 1 && in->p[1] == '\n' ? 2 : 1;
        p->state = in->p[end - 1] == '\n' ? LINE_START : VALUE_CR;
        take(in, end);
    }
    if (!is_framing(p)) {
        *out = piece;
        return piece.len != 0;
    }
    *bad = !framing_value(p, piece.p, piece.len);
    return false;
}

enum http1_event http1_next(struct http1 *p, struct http1_slice *in, struct http1_slice *out)
{
    out->p = blank;
    out->len = 0;
    for (;;) {
        enum http1_event event;
        if (p->state >= HEAD_DONE && step_without_input(p, in, &event))
            return event;
        if (in->len == 0)
            return HTTP1_NEED_MORE;
        uint8_t c = *in->p;
        switch ((enum state)p->state) {
        case IDLE:
            if (c == '\r' || c == '\n') {
                take(in, 1);
                break;
            }
            message_begins(p);
            if (p->flags & IS_RESPONSE ? c != 'H' : !is_alpha(c))
                return lost(p, in);
            p->state = p->flags & IS_RESPONSE ? VERSION : METHOD;
            return HTTP1_START;
        case METHOD: {
            /* A "method" of 64 and more bytes is text or data, not HTTP. */
            size_t n = 0, most = 63u - p->count;
            while (n < in->len && n < most && token[in->p[n]])
                n++;
            if (n) {
                out->p = in->p;
                out->len = n;
                p->count = (uint8_t)(p->count + n);
                take(in, n);
                return HTTP1_METHOD;
            }
            if (c != ' ')
                return lost(p, in);
            take(in, 1);
            p->state = BEFORE_TARGET;
            break;
        }
        case BEFORE_TARGET:
            if (c == ' ') {
                take(in, 1);
                break;
            }
            if (c < ' ' || c == 0x7f)
                return lost(p, in);
            p->state = TARGET;
            __attribute__((fallthrough));
        case TARGET: {
            size_t n = target_length(in->p, in->len);
            if (n) {
                out->p = in->p;
                out->len = n;
                take(in, n);
                return HTTP1_TARGET;
            }
            if (c != ' ')
                return lost(p, in); /* also HTTP/0.9, which ends here */
            take(in, 1);
            p->count = 0;
            p->state = AFTER_TARGET;
            break;
        }
        case AFTER_TARGET:
            if (c == ' ') {
                take(in, 1);
                break;
            }
            p->state = VERSION;
            __attribute__((fallthrough));
        case VERSION:
            if (p->count == 0 && in->len >= sizeof version_text &&
                memcmp(in->p, version_text, sizeof version_text - 1) == 0) {
                p->count = sizeof version_text - 1;
                take(in, sizeof version_text - 1);
                c = *in->p;
            }
            take(in, 1);
            if (p->count < sizeof version_text - 1) {
                if (c != (uint8_t)version_text[p->count++])
                    return lost(p, in);
                break;
            }
            if (c != '0' && c != '1')
                return lost(p, in);
            p->minor = c - '0';
            p->count = 0;
            p->state = p->flags & IS_RESPONSE ? VERSION_TOLD : LINE_REST;
            return HTTP1_VERSION;
        case VERSION_TOLD:
            if (c != ' ')
                return lost(p, in);
            take(in, 1);
            p->state = STATUS;
            break;
        case STATUS:
            if (c == ' ' && p->count == 0) {
                take(in, 1);
                break;
            }
            if (c < '0' || c > '9')
                return lost(p, in);
            take(in, 1);
            p->status = (uint16_t)(p->status * 10 + (c - '0'));
            if (++p->count < 3)
                break;
            if (p->status < 100)
                return lost(p, in);
            p->state = LINE_REST;
            return HTTP1_STATUS;
        case LINE_REST:
            if (p->flags & IS_RESPONSE) {
                const uint8_t *lf = memchr(in->p, '\n', in->len);
                if (p->count == 3 && c != ' ' && c != '\r' && c != '\n')
                    return lost(p, in); /* a fourth digit, or anything glued to the code */
                p->count = 0;
                take(in, lf ? (size_t)(lf - in->p) + 1 : in->len);
                if (lf)
                    p->state = LINE_START;
                break;
            }
            take(in, 1);
            if (c == '\n')
                p->state = LINE_START;
            else if (c == '\r')
                p->state = LINE_LF;
            else if (c != ' ')
                return lost(p, in);
            break;
        case LINE_LF:
            if (c != '\n')
                return lost(p, in);
            take(in, 1);
            p->state = LINE_START;
            break;
        case LINE_START:
            if (c == ' ' || c == '\t') {
                /* a folded line: the value goes on behind a blank */
                p->odd |= ODD;
                if (p->flags & VALUE_OPEN) {
                    p->state = VALUE_BLANK;
                    if (is_framing(p)) {
                        if (!framing_value(p, blank, 1))
                            return lost(p, in);
                        break;
                    }
                    out->p = blank;
                    out->len = 1;
                    return HTTP1_VALUE;
                }
                p->state = SKIP_LINE;
                break;
            }
            if (p->flags & VALUE_OPEN) {
                p->flags = (uint8_t)(p->flags & ~VALUE_OPEN);
                if (!is_framing(p))
                    return HTTP1_VALUE_END;
                if (!framing_value_end(p))
                    return lost(p, in);
            }
            if (c == '\r') {
                take(in, 1);
                p->state = HEAD_LF;
                break;
            }
            if (c == '\n') {
                take(in, 1);
                p->odd |= ODD;
                p->state = HEAD_DONE;
                return HTTP1_HEAD_END;
            }
            /* Of a response only the framing counts, whose names begin with these. */
            if (p->flags & IS_RESPONSE && lower(c) != 'c' && lower(c) != 't') {
                p->state = SKIP_LINE;
                break;
            }
            p->name_len = 0;
            p->state = NAME;
            __attribute__((fallthrough));
        case NAME: {
            size_t n = name_length(in->p, in->len), len = p->name_len;
            if (len == 0 && n < in->len && in->p[n] == ':') { /* whole, as nearly all are */
                p->field = field_of(in->p, n);
                take(in, n + 1);
                name_ends(p);
                break;
            }
            for (n = 0; n < in->len && in->p[n] != ':' && in->p[n] != '\n';) {
                c = in->p[n++];
                if (c < ' ')
                    p->odd |= ODD;
                if (len < HTTP1_NAME_ROOM)
                    p->name[len++] = c == '\t' ? ' ' : c < ' ' ? 1 : lower(c);
            }
            p->name_len = (uint8_t)len;
            take(in, n);
            if (in->len == 0)
                break;
            c = *in->p;
            take(in, 1);
            if (c == '\n') {
                p->odd |= ODD;
                p->state = LINE_START; /* a line without a colon: let pass */
                break;
            }
            while (p->name_len && p->name_len < HTTP1_NAME_ROOM && p->name[p->name_len - 1] == ' ') {
                p->name_len--;
                p->odd |= ODD;
            }
            p->field = p->name_len < HTTP1_NAME_ROOM ? field_of(p->name, p->name_len) : HTTP1_FIELD_OTHER;
            name_ends(p);
            break;
        }
        case HEAD_LF:
            if (c != '\n')
                return lost(p, in);
            take(in, 1);
            p->state = HEAD_DONE;
            return HTTP1_HEAD_END;
        case VALUE_BLANK: {
            size_t n = 0;
            while (n < in->len && (in->p[n] == ' ' || in->p[n] == '\t'))
                n++;
            take(in, n);
            if (in->len == 0)
                break;
            p->state = VALUE;
            __attribute__((fallthrough));
        }
        case VALUE: {
            bool bad = false;
            if (value_bytes(p, in, out, &bad))
                return HTTP1_VALUE;
            if (bad)
                return lost(p, in);
            break;
        }
        case VALUE_CR:
            if (c == '\n') {
                take(in, 1);
                p->state = LINE_START;
                break;
            }
            /* A bare CR within a value counts as a blank (RFC 9112, 2.2). To Python's http.server it ends a
             * line. */
            p->odd |= ODD;
            p->state = VALUE;
            if (is_framing(p)) {
                if (!framing_value(p, blank, 1))
                    return lost(p, in);
                break;
            }
            out->p = blank;
            out->len = 1;
            return HTTP1_VALUE;
        case SKIP_LINE:
        case TRAILER_REST:
        case CHUNK_EXTENSION: {
            const uint8_t *lf = memchr(in->p, '\n', in->len);
            size_t n = lf ? (size_t)(lf - in->p) : in->len;
            if (p->state == SKIP_LINE && !(p->flags & IS_RESPONSE)) {
                /* A CR that no LF follows; count: the last byte that came was a CR. */
                const uint8_t *cr = memchr(in->p, '\r', n);
                if ((cr && cr + 1 != in->p + n) || (p->count && c != '\n'))
                    p->odd |= ODD;
                p->count = cr && !lf;
            }
            take(in, lf ? n + 1 : n);
            if (!lf)
                break;
            if (p->state == SKIP_LINE)
                p->state = LINE_START;
            else if (p->state == TRAILER_REST)
                p->state = TRAILER;
            else
                p->state = p->left ? CHUNK_DATA : TRAILER;
            break;
        }
        case BODY:
        case CHUNK_DATA: {
            size_t n = in->len < p->left ? in->len : (size_t)p->left;
            take(in, n);
            p->left -= n;
            if (p->left == 0)
                p->state = p->state == BODY ? END : CHUNK_END;
            break;
        }
        case CHUNK_SIZE: {
            unsigned digit = c >= '0' && c <= '9' ? c - 0u - '0'
                             : is_alpha(c)        ? (c | 0x20u) - 'a' + 10u
                                                  : 16u;
            if (digit < 16) {
                if (!number_add(p, 16, digit))
                    return lost(p, in);
                take(in, 1);
                break;
            }
            if (!(p->flags & DIGITS) || (c != ';' && c != ' ' && c != '\t' && c != '\r' && c != '\n'))
                return lost(p, in);
            p->left = p->number;
            p->number = 0;
            p->flags = (uint8_t)(p->flags & ~DIGITS);
            p->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
            if (c == '\r')
                take(in, 1);
            else
                p->odd |= ODD;
            break;
        }
        case CHUNK_SIZE_LF:
            if (c != '\n')
                return lost(p, in);
            take(in, 1);
            p->state = p->left ? CHUNK_DATA : TRAILER;
            break;
        case CHUNK_END:
        case CHUNK_LF:
            if (c == '\n') {
                p->odd |= p->state == CHUNK_END ? ODD : 0;
                p->state = CHUNK_SIZE;
            } else if (c == '\r' && p->state == CHUNK_END) {
                p->state = CHUNK_LF;
            } else {
                return lost(p, in);
            }
            take(in, 1);
            break;
        case TRAILER:
            if (c == '\r' || c == '\n') {
                take(in, 1);
                p->odd |= c == '\n' ? ODD : 0;
                p->state = c == '\r' ? TRAILER_LF : END;
            } else {
                p->state = TRAILER_REST;
            }
            break;
        case TRAILER_LF:
            if (c != '\n')
                return lost(p, in);
            take(in, 1);
            p->state = END;
            break;
        case BODY_CLOSE:
        case HEAD_DONE:
        case END:
        case UPGRADED_DUE:
        case UPGRADED:
        case LOST:
            break; /* dealt with above */
        }
    }
}
