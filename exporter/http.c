/* SPDX-License-Identifier: Apache-2.0
 * http.c - OTLP over HTTP: one easy handle, one connection, and every wait in the host's poll.
 */
#include "exporter_internal.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <zlib.h>

enum {
    SOCKETS = 8,            /* one connection, and the resolver's */
    ANSWER_MAX = 4 << 20,   /* protocol/exporter.md: a longer answer is refused */
    GZIP_PIECE = 32 * 1024, /* compressed between two rest points: less than 1 ms */
    FD_HIGH = 200,          /* above what servers number their own with */
};

struct http {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers, *resolve;
    struct {
        int fd, what;
        dev_t dev;
        ino_t ino;
    } sockets[SOCKETS];
    long timeout_ms; /* what curl wants to be called after; -1: nothing */
    bool done;
    CURLcode code;
    uint8_t *answer;
    size_t answer_len;
    char *ca; /* CA certificates, read before anybody could chroot */
    size_t ca_len;
    char *key, *certificate;
    size_t key_len, certificate_len;
    uint8_t *packed;
    size_t packed_size;
    bool secure;
};

/* -- files, read at open -- */

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return NULL;
    char *text = NULL;
    *len = 0;
    for (size_t room = 0, n;; *len += n) {
        if (room - *len < 65536) {
            char *more = realloc(text, room += 262144);
            if (!more)
                break;
            text = more;
        }
        n = fread(text + *len, 1, room - *len, f);
        if (n == 0)
            break;
    }
    fclose(f);
    return text;
}

static bool read_certificates(struct exporter *e, struct http *h)
{
    static const char *const system_bundles[] = {"/etc/ssl/certs/ca-certificates.crt",
                                                 "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    const struct exporter_config *c = e->config;
    if (c->certificate) {
        h->ca = read_file(c->certificate, &h->ca_len);
    } else {
        for (size_t i = 0; i < sizeof system_bundles / sizeof *system_bundles && !h->ca; i++)
            h->ca = read_file(system_bundles[i], &h->ca_len);
    }
    if (!h->ca) { /* verification is never dropped */
        exporter_log(e, 0, "no CA certificates can be read%s: no span is exported",
                     c->certificate ? " from OTEL_EXPORTER_OTLP_CERTIFICATE" : "");
        return false;
    }
    if (c->client_key && c->client_certificate) {
        h->key = read_file(c->client_key, &h->key_len);
        h->certificate = read_file(c->client_certificate, &h->certificate_len);
        if (!h->key || !h->certificate) {
            exporter_log(e, 0, "the client key or certificate can not be read: no span is exported");
            return false;
        }
    }
    return true;
}

/* -- sockets -- */

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)ctx;
    (void)purpose;
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    struct rlimit limit;
    int high = FD_HIGH;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FD_HIGH + 16)
        high = (int)(limit.rlim_cur > 32 ? limit.rlim_cur - 16 : 3);
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, high);
    if (moved < 0)
        return fd;
    close(fd);
    return moved;
}

/* A server may close every fd and use the numbers again: is it still the socket that curl was given? */
static bool still_ours(const struct http *h, int i)
{
    struct stat st;
    return fstat(h->sockets[i].fd, &st) == 0 && st.st_dev == h->sockets[i].dev &&
           st.st_ino == h->sockets[i].ino;
}

static int close_socket(void *ctx, curl_socket_t fd)
{
    struct http *h = ctx;
    for (int i = 0; i < SOCKETS; i++)
        if (h->sockets[i].fd == fd) {
            bool ours = still_ours(h, i);
            h->sockets[i].fd = -1;
            return ours ? close(fd) : 0;
        }
    return close(fd);
}

/* curl tells which sockets it waits for. An idle connection stays known (what = 0) for the check before its
 * next use. */
static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socketp)
{
    (void)easy;
    (void)socketp;
    struct http *h = ctx;
    int at = -1;
    for (int i = 0; i < SOCKETS; i++)
        if (h->sockets[i].fd == fd)
            at = i;
    for (int i = 0; i < SOCKETS && at < 0; i++)
        if (h->sockets[i].fd < 0)
            at = i;
    if (at < 0)
        return -1;
    struct stat st;
    if (h->sockets[at].fd != fd && fstat(fd, &st) == 0) {
        h->sockets[at].fd = fd;
        h->sockets[at].dev = st.st_dev;
        h->sockets[at].ino = st.st_ino;
    }
    h->sockets[at].what = what == CURL_POLL_REMOVE ? 0 : what;
    return 0;
}

static int timer_wanted(CURLM *multi, long timeout_ms, void *ctx)
{
    (void)multi;
    ((struct http *)ctx)->timeout_ms = timeout_ms;
    return 0;
}

static size_t answer_bytes(char *p, size_t size, size_t n, void *ctx)
{
    struct http *h = ctx;
    n *= size;
    if (h->answer_len + n > ANSWER_MAX)
        return 0; /* curl ends the transfer with CURLE_WRITE_ERROR */
    uint8_t *more = realloc(h->answer, h->answer_len + n + 1);
    if (!more)
        return 0;
    memcpy(more + h->answer_len, p, n);
    h->answer = more;
    h->answer_len += n;
    return n;
}

/* -- handles -- */

static bool make_handles(struct exporter *e, struct http *h)
{
    const struct exporter_config *c = e->config;
    if (!h->multi)
        h->multi = curl_multi_init();
    if (!h->easy)
        h->easy = curl_easy_init();
    if (!h->multi || !h->easy)
        return false;
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, 1L);
    curl_easy_setopt(h->easy, CURLOPT_URL, c->url);
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, h->headers);
    curl_easy_setopt(h->easy, CURLOPT_RESOLVE, h->resolve);
    curl_easy_setopt(h->easy, CURLOPT_USERAGENT,
                     "forkspan/" FORKSPAN_VERSION " OTel-OTLP-Exporter-C/" FORKSPAN_VERSION);
    curl_easy_setopt(h->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(h->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(h->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(h->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(h->easy, CURLOPT_CLOSESOCKETDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_WRITEFUNCTION, answer_bytes);
    curl_easy_setopt(h->easy, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (h->secure) {
        struct curl_blob ca = {h->ca, h->ca_len, CURL_BLOB_NOCOPY};
        curl_easy_setopt(h->easy, CURLOPT_CAINFO_BLOB, &ca);
        curl_easy_setopt(h->easy, CURLOPT_CAPATH, NULL);
        if (h->key) {
            struct curl_blob key = {h->key, h->key_len, CURL_BLOB_NOCOPY};
            struct curl_blob certificate = {h->certificate, h->certificate_len, CURL_BLOB_NOCOPY};
            curl_easy_setopt(h->easy, CURLOPT_SSLKEY_BLOB, &key);
            curl_easy_setopt(h->easy, CURLOPT_SSLCERT_BLOB, &certificate);
        }
    }
    return true;
}

static void append(struct curl_slist **list, const char *line)
{
    struct curl_slist *more = curl_slist_append(*list, line);
    if (more)
        *list = more;
}

/* "localhost" is loopback, with no look-up; other names are asked for by c-ares inside curl, in the same poll
 * loop. */
static void fixed_names(struct http *h, const char *url)
{
    const char *host = strstr(url, "://");
    if (!host || strncasecmp(host + 3, "localhost", 9) != 0)
        return;
    long port = host[12] == ':' ? strtol(host + 13, NULL, 10) : h->secure ? 443 : 80;
    char line[64];
    snprintf(line, sizeof line, "localhost:%ld:127.0.0.1,[::1]", port);
    append(&h->resolve, line);
}

struct http *http_open(struct exporter *e)
{
    const struct exporter_config *c = e->config;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        exporter_log(e, 0, "libcurl can not be initialised: no span is exported");
        return NULL;
    }
    struct http *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    for (int i = 0; i < SOCKETS; i++)
        h->sockets[i].fd = -1;
    h->secure = strncasecmp(c->url, "https:", 6) == 0;
    append(&h->headers, c->protocol == EXPORTER_HTTP_JSON ? "Content-Type: application/json"
                                                          : "Content-Type: application/x-protobuf");
    append(&h->headers, "Expect:");
    if (c->gzip)
        append(&h->headers, "Content-Encoding: gzip");
    for (size_t i = 0; i < c->n_headers; i++) {
        char *line = NULL;
        /* "name;" is how curl is told of an empty value */
        if (asprintf(&line, "%s%s%s", c->headers[i].name, *c->headers[i].value ? ": " : ";",
                     c->headers[i].value) > 0)
            append(&h->headers, line);
        free(line);
    }
    fixed_names(h, c->url);
    /* The handles are made at the first send: curl's may hold a pair of sockets, and a process that only
     * listens keeps the files it has. */
    if (h->secure && !read_certificates(e, h)) {
        http_close(h);
        return NULL;
    }
    return h;
}

void http_after_fork_child(struct http *h)
{
    /* Connection and handles are the parent's: no goodbye on them, no clean-up of them. Only our copies of
     * the fds go. */
    for (int i = 0; i < SOCKETS; i++) {
        if (h->sockets[i].fd >= 0 && still_ours(h, i))
            close(h->sockets[i].fd);
        h->sockets[i].fd = -1;
    }
    h->multi = NULL;
    h->easy = NULL;
    h->answer = NULL;
    h->answer_len = 0;
}

void http_close(struct http *h)
{
    if (h->easy)
        curl_easy_cleanup(h->easy);
    if (h->multi)
        curl_multi_cleanup(h->multi);
    curl_slist_free_all(h->headers);
    curl_slist_free_all(h->resolve);
    free(h->answer);
    free(h->ca);
    free(h->key);
    free(h->certificate);
    free(h->packed);
    free(h);
}

/* -- gzip -- */

static bool pack(struct exporter *e, struct http *h, const uint8_t **body, size_t *len)
{
    z_stream z = {0};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t bound = deflateBound(&z, *len) + 64;
    if (bound > h->packed_size) {
        uint8_t *p = realloc(h->packed, bound);
        if (!p) {
            deflateEnd(&z);
            return false;
        }
        h->packed = p;
        h->packed_size = bound;
    }
    z.next_out = h->packed;
    z.avail_out = (uInt)h->packed_size;
    int rc = Z_OK;
    for (size_t at = 0; rc == Z_OK;) {
        size_t n = *len - at < GZIP_PIECE ? *len - at : GZIP_PIECE;
        z.next_in = (Bytef *)(*body + at);
        z.avail_in = (uInt)n;
        at += n;
        rc = deflate(&z, at == *len ? Z_FINISH : Z_NO_FLUSH);
        if (e->host.rest_point)
            e->host.rest_point(e->host.ctx);
    }
    *body = h->packed;
    *len = z.total_out;
    deflateEnd(&z);
    return rc == Z_STREAM_END;
}

/* -- one attempt -- */

static void collect_done(struct http *h)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));)
        if (m->msg == CURLMSG_DONE) {
            h->done = true;
            h->code = m->data.result;
        }
}

/* The idle connection's socket is still the one it was; else everything is forgotten, unread and unwritten.
 */
static void check_idle(struct exporter *e, struct http *h)
{
    for (int i = 0; i < SOCKETS; i++)
        if (h->sockets[i].fd >= 0 && !still_ours(h, i)) {
            http_after_fork_child(h);
            break;
        }
    if (!h->multi || !h->easy)
        make_handles(e, h);
}

enum tried { TRIED, TRIED_TIME_UP, TRIED_STOPPED };

static enum tried attempt(struct exporter *e, const uint8_t *body, size_t len, uint64_t until_ns)
{
    struct http *h = e->http;
    check_idle(e, h);
    if (!h->easy || !h->multi)
        return TRIED_TIME_UP;
    h->answer_len = 0;
    h->done = false;
    h->code = CURLE_OK;
    curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    h->timeout_ms = 0;
    curl_multi_add_handle(h->multi, h->easy);
    enum tried result = TRIED;
    while (!h->done && result == TRIED) {
        struct pollfd fds[SOCKETS];
        unsigned n = 0;
        for (int i = 0; i < SOCKETS; i++)
            if (h->sockets[i].fd >= 0 && h->sockets[i].what) {
                if (!still_ours(h, i)) { /* closed under us in the middle: nothing more goes to that number */
                    http_after_fork_child(h);
                    h->code = CURLE_SEND_ERROR;
                    return TRIED;
                }
                fds[n++] =
                    (struct pollfd){.fd = h->sockets[i].fd,
                                    .events = (short)((h->sockets[i].what & CURL_POLL_IN ? POLLIN : 0) |
                                                      (h->sockets[i].what & CURL_POLL_OUT ? POLLOUT : 0))};
            }
        long wait_ms = h->timeout_ms < 0 || h->timeout_ms > 100 ? 100 : h->timeout_ms;
        uint64_t now = exporter_now_ns();
        if (until_ns && now >= until_ns) {
            result = TRIED_TIME_UP;
            break;
        }
        uint64_t begin = now;
        int ready = wait_ms || n ? e->host.wait(e->host.ctx, fds, n, (int)wait_ms) : 0;
        if (ready == -2) {
            result = TRIED_STOPPED;
            break;
        }
        int running;
        if (ready > 0) {
            for (unsigned i = 0; i < n; i++)
                if (fds[i].revents)
                    curl_multi_socket_action(
                        h->multi, fds[i].fd,
                        (fds[i].revents & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) |
                            (fds[i].revents & POLLOUT ? CURL_CSELECT_OUT : 0) |
                            (fds[i].revents & (POLLERR | POLLNVAL) ? CURL_CSELECT_ERR : 0),
                        &running);
        }
        if (h->timeout_ms >= 0 && exporter_now_ns() - begin >= (uint64_t)wait_ms * 1000000u)
            curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        collect_done(h);
    }
    curl_multi_remove_handle(h->multi, h->easy);
    return result;
}

/* -- the export with its retries -- */

static bool permanent(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_URL_MALFORMAT ||
           code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_SSL_CERTPROBLEM ||
           code == CURLE_SSL_CACERT_BADFILE || code == CURLE_WRITE_ERROR;
}

static void accept_answer(struct exporter *e, uint32_t n_spans, struct export_outcome *out)
{
    struct http *h = e->http;
    struct answer a;
    out->result = EXPORT_OK;
    if (h->answer_len == 0 || e->config->protocol == EXPORTER_HTTP_JSON)
        return;
    if (!answer_read(h->answer, h->answer_len, &a)) {
        exporter_log(e, 3, "the receiver's answer can not be read; it was a success");
        return;
    }
    out->rejected = a.rejected < n_spans ? a.rejected : n_spans;
    if (a.rejected)
        exporter_log(e, 1, "the receiver rejected %u of %u spans: %s", a.rejected, n_spans, a.message);
    else if (a.message[0])
        exporter_log(e, 1, "the receiver says: %s", a.message);
}

void http_send(struct exporter *e, const uint8_t *body, size_t len, uint32_t n_spans, uint64_t deadline_ns,
               struct export_outcome *out)
{
    struct http *h = e->http;
    uint64_t until =
        e->config->timeout_ms ? exporter_now_ns() + (uint64_t)e->config->timeout_ms * 1000000u : 0;
    if (deadline_ns && (!until || deadline_ns < until))
        until = deadline_ns;
    out->result = EXPORT_FAILED;
    if (e->config->gzip && !pack(e, h, &body, &len)) {
        exporter_log(e, 0, "no memory to compress an export of %u spans", n_spans);
        return;
    }
    for (out->attempts = 1;; out->attempts++) {
        out->any_byte_sent = true;
        enum tried tried = attempt(e, body, len, until);
        if (tried == TRIED_STOPPED) {
            out->result = EXPORT_ABORTED;
            return;
        }
        long status = 0;
        curl_off_t after = 0;
        if (tried == TRIED_TIME_UP) {
            exporter_log(e, 1, "an export was given up: the time for it is over");
            out->result = deadline_ns && until == deadline_ns ? EXPORT_ABORTED : EXPORT_FAILED;
            return;
        }
        if (h->code == CURLE_OK) {
            curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
            if (status >= 200 && status < 300) {
                accept_answer(e, n_spans, out);
                return;
            }
            if (!retry_status(status)) {
                char message[160];
                answer_error(h->answer, h->answer_len, message);
                exporter_log(e, 1, "the receiver answered %ld%s%s: spans dropped", status,
                             message[0] ? ": " : "", message);
                return;
            }
            curl_easy_getinfo(h->easy, CURLINFO_RETRY_AFTER, &after);
        } else if (permanent(h->code)) {
            exporter_log(e, 1, "an export failed for good: %s", curl_easy_strerror(h->code));
            return;
        }
        uint32_t random = 0;
        if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
            random = (uint32_t)exporter_now_ns();
        uint64_t pause = retry_pause_ms(out->attempts, random);
        if (after > 0)
            pause = (uint64_t)after * 1000u;
        if (out->attempts >= RETRY_ATTEMPTS || (until && exporter_now_ns() + pause * 1000000u >= until)) {
            exporter_log(e, 1, "an export failed: %s",
                         status ? "the receiver is not available" : curl_easy_strerror(h->code));
            return;
        }
        for (uint64_t end = exporter_now_ns() + pause * 1000000u, now; (now = exporter_now_ns()) < end;)
            if (e->host.wait(e->host.ctx, NULL, 0, (int)((end - now) / 1000000u) + 1) == -2) {
                out->result = EXPORT_ABORTED;
                return;
            }
    }
}
