/* SPDX-License-Identifier: Apache-2.0 */
#include "transport.h"
#include "sockets.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TICK_MS = 100 /* a time that is up, a lost socket are seen this late at most */ };

/* -- what curl calls -- */

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)ctx;
    (void)purpose;
    int fd = sockets_make(a->family, a->socktype, a->protocol);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int close_socket(void *ctx, curl_socket_t fd)
{
    (void)ctx;
    return sockets_close(fd);
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socketp)
{
    (void)easy;
    (void)socketp;
    struct transport *t = ctx;
    int at = -1;
    for (int i = 0; i < WATCHED; i++)
        if (t->watched[i].what && t->watched[i].fd == fd)
            at = i;
    for (int i = 0; i < WATCHED && at < 0; i++)
        if (!t->watched[i].what)
            at = i;
    if (at < 0)
        return -1;
    t->watched[at].fd = fd;
    t->watched[at].what = what == CURL_POLL_REMOVE ? 0 : what;
    return 0;
}

static int timer_wanted(CURLM *multi, long timeout_ms, void *ctx)
{
    (void)multi;
    ((struct transport *)ctx)->timer_at =
        timeout_ms < 0 ? 0 : exporter_now_ns() + (uint64_t)timeout_ms * 1000000u;
    return 0;
}

static size_t answer_bytes(char *p, size_t size, size_t n, void *ctx)
{
    struct transport *t = ctx;
    n *= size;
    t->too_large = t->answer_len + n > ANSWER_MAX;
    if (t->too_large)
        return 0; /* curl ends the transfer with CURLE_WRITE_ERROR */
    if (t->answer_len + n > t->answer_room) {
        size_t room = (t->answer_len + n) * 2;
        uint8_t *more = realloc(t->answer, room);
        if (!more)
            return 0;
        t->answer = more;
        t->answer_room = room;
    }
    memcpy(t->answer + t->answer_len, p, n);
    t->answer_len += n;
    return n;
}

static size_t header_line(char *p, size_t size, size_t n, void *ctx)
{
    struct transport *t = ctx;
    if (t->on_header)
        t->on_header(t->on_header_ctx, p, size * n);
    return size * n;
}

/* -- handles -- */

static bool make_handles(struct exporter *e, struct transport *t)
{
    const struct exporter_config *c = e->config;
    if (t->multi && t->easy)
        return true;
    if (!t->multi)
        t->multi = curl_multi_init();
    if (!t->easy)
        t->easy = curl_easy_init();
    if (!t->multi || !t->easy)
        return false;
    curl_multi_setopt(t->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(t->multi, CURLMOPT_SOCKETDATA, t);
    curl_multi_setopt(t->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(t->multi, CURLMOPT_TIMERDATA, t);
    curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, 1L);
    curl_easy_setopt(t->easy, CURLOPT_URL, t->url);
    curl_easy_setopt(t->easy, CURLOPT_USERAGENT,
                     "forkspan/" FORKSPAN_VERSION " OTel-OTLP-Exporter-C/" FORKSPAN_VERSION);
    curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->easy, CURLOPT_FOLLOWLOCATION, 0L);
    /* The host's http_proxy is not ours: a proxy is used only when it was asked for. */
    curl_easy_setopt(t->easy, CURLOPT_PROXY, c->proxy ? c->proxy : "");
    if (c->proxy && t->http2_only)
        curl_easy_setopt(t->easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(t->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, answer_bytes);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, header_line);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    /* Above any time limit of ours: those end a try, not curl's own 300 s. */
    curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, 0x7fffffffL);
    if (c->unix_path && c->unix_path[0] == '@')
        curl_easy_setopt(t->easy, CURLOPT_ABSTRACT_UNIX_SOCKET, c->unix_path + 1);
    else if (c->unix_path)
        curl_easy_setopt(t->easy, CURLOPT_UNIX_SOCKET_PATH, c->unix_path);
    if (t->http2_only)
        curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION,
                         (long)(t->secure ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
#ifndef EXPORTER_WRAPS
    if (t->http2_only && !t->secure) /* curl 7.88 can not use such a connection again; ours is patched */
        curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
#endif
    if (!t->http2_only)
        curl_easy_setopt(t->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    if (t->secure) {
        curl_easy_setopt(t->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        curl_easy_setopt(t->easy, CURLOPT_CAINFO_BLOB, &t->certificates.ca);
        curl_easy_setopt(t->easy, CURLOPT_CAPATH, NULL);
        if (t->certificates.key.data) {
            curl_easy_setopt(t->easy, CURLOPT_SSLKEY_BLOB, &t->certificates.key);
            curl_easy_setopt(t->easy, CURLOPT_SSLCERT_BLOB, &t->certificates.certificate);
        }
    }
    return true;
}

static void drop_handles(struct transport *t)
{
#ifdef EXPORTER_WRAPS
    /* what the clean-up would write on a lost socket is refused by our send() */
    if (t->easy)
        curl_easy_cleanup(t->easy);
    if (t->multi)
        curl_multi_cleanup(t->multi);
#else
    /* A clean-up would write a goodbye on a number that may be somebody else's: left behind. */
    sockets_forget();
#endif
    t->easy = NULL;
    t->multi = NULL;
    memset(t->watched, 0, sizeof t->watched);
}

/* -- open and close -- */

/* The host that a URL connects to, and its port. */
static bool host_of(struct exporter *e, struct transport *t, const char *url)
{
    char *host = NULL, *port = NULL;
    CURLU *u = curl_url();
    bool ok = u && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK;
    if (ok) {
        t->port = strtol(port, NULL, 10);
        ok = names_open(e, &t->names, host);
    } else {
        exporter_log(e, 0, "the endpoint's URL can not be read: no span is exported");
    }
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return ok;
}

bool transport_open(struct exporter *e, struct transport *t, const char *url, bool http2_only)
{
    const struct exporter_config *c = e->config;
#ifdef EXPORTER_WRAPS
    /* A copy of our own: the host's openssl.cnf is not for it, and an exit handler would take it apart before
     * the last spans are sent. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
#endif
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        exporter_log(e, 0, "libcurl can not be initialised: no span is exported");
        return false;
    }
    t->url = url;
    t->http2_only = http2_only;
    t->secure = strncasecmp(url, "https:", 6) == 0;
    t->named = !c->unix_path;
    /* The handles are made at the first send: a process that only listens keeps the files it has. */
    return (!t->named || host_of(e, t, c->proxy ? c->proxy : url)) &&
           (!t->secure || certificates_read(e, &t->certificates));
}

bool transport_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *more = curl_slist_append(*list, line);
    if (more)
        *list = more;
    return more != NULL;
}

void transport_after_fork_child(struct transport *t)
{
    /* Connection, handles and buffers are the parent's, who may have been in the middle of them: no goodbye,
     * no clean-up. Only our copies of the fds go. */
    sockets_forget();
    names_after_fork_child(&t->names);
    t->multi = NULL;
    t->easy = NULL;
    t->resolve = NULL;
    t->answer = NULL;
    t->answer_len = t->answer_room = 0;
    memset(t->watched, 0, sizeof t->watched);
}

void transport_close(struct transport *t)
{
    drop_handles(t);
    names_close(&t->names);
    curl_slist_free_all(t->resolve);
    free(t->answer);
    certificates_free(&t->certificates);
}

/* -- one try -- */

static void collect_done(struct transport *t)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(t->multi, &left));)
        if (m->msg == CURLMSG_DONE) {
            t->done = true;
            t->code = m->data.result;
        }
}

/* Addresses for curl, which then asks nobody. */
static enum tried look_up(struct exporter *e, struct transport *t, uint64_t until_ns)
{
    bool changed;
    const char *why;
    enum tried tried = names_resolve(e, &t->names, until_ns, &changed, &why);
    if (tried != TRIED)
        return tried;
    if (t->names.addresses[0] == '\0') {
        t->code = CURLE_COULDNT_RESOLVE_HOST;
        snprintf(t->error, sizeof t->error, "the name %.100s can not be resolved: %.80s", t->names.host, why);
        return TRIED;
    }
    if (!t->resolve || changed) {
        char line[sizeof t->names.host + sizeof t->names.addresses + 16];
        snprintf(line, sizeof line, "%s:%ld:%s", t->names.host, t->port, t->names.addresses);
        curl_slist_free_all(t->resolve);
        t->resolve = curl_slist_append(NULL, line);
    }
    curl_easy_setopt(t->easy, CURLOPT_RESOLVE, t->resolve);
    /* an address that is no longer the name's gets nothing more */
    curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, (long)changed);
    return TRIED;
}

/* One round of waiting and working. */
static enum tried turn(struct exporter *e, struct transport *t, uint64_t until_ns)
{
    struct pollfd fds[WATCHED];
    unsigned n = 0;
    for (int i = 0; i < WATCHED; i++)
        if (t->watched[i].what)
            fds[n++] = (struct pollfd){.fd = t->watched[i].fd,
                                       .events = (short)((t->watched[i].what & CURL_POLL_IN ? POLLIN : 0) |
                                                         (t->watched[i].what & CURL_POLL_OUT ? POLLOUT : 0))};
    uint64_t now = exporter_now_ns();
    if (until_ns && now >= until_ns)
        return TRIED_TIME_UP;
    int wait_ms = TICK_MS;
    if (t->timer_at && t->timer_at < now + TICK_MS * 1000000u)
        wait_ms = t->timer_at <= now ? 0 : (int)((t->timer_at - now) / 1000000u) + 1;
    int ready = 0, running;
    if (wait_ms || n)
        ready = e->host.wait(e->host.ctx, fds, n, wait_ms);
    if (ready == -2)
        return TRIED_STOPPED;
    if (sockets_lost()) { /* closed under us: nothing more goes to that number */
        t->code = CURLE_SEND_ERROR;
        snprintf(t->error, sizeof t->error, "this process closed the exporter's connection");
        t->done = true;
        return TRIED;
    }
    for (unsigned i = 0; i < n && ready > 0; i++)
        if (fds[i].revents)
            curl_multi_socket_action(t->multi, fds[i].fd,
                                     (fds[i].revents & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) |
                                         (fds[i].revents & POLLOUT ? CURL_CSELECT_OUT : 0) |
                                         (fds[i].revents & (POLLERR | POLLNVAL) ? CURL_CSELECT_ERR : 0),
                                     &running);
    if (t->timer_at && exporter_now_ns() >= t->timer_at) {
        t->timer_at = 0;
        curl_multi_socket_action(t->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    collect_done(t);
    return TRIED;
}

enum tried transport_post(struct exporter *e, struct transport *t, struct curl_slist *headers,
                          const uint8_t *body, size_t len, uint64_t until_ns, bool *sent)
{
    t->answer_len = 0;
    t->done = t->too_large = false;
    t->code = CURLE_OK;
    t->error[0] = '\0';
    if (sockets_lost())
        drop_handles(t); /* the idle connection's number is somebody else's */
    if (!make_handles(e, t)) {
        t->code = CURLE_OUT_OF_MEMORY;
        return TRIED;
    }
    if (t->named && !t->names.is_number) {
        enum tried tried = look_up(e, t, until_ns);
        if (tried != TRIED || t->code != CURLE_OK)
            return tried;
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    t->timer_at = exporter_now_ns();
    curl_multi_add_handle(t->multi, t->easy);
    enum tried result = TRIED;
    while (!t->done && result == TRIED)
        result = turn(e, t, until_ns);
    if (t->too_large)
        snprintf(t->error, sizeof t->error, "the receiver's answer is larger than 4 MiB");
    curl_off_t connected = 0;
    long request = 0;
    curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME_T, &connected);
    curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &request);
    *sent |= connected > 0 || request > 0; /* on a new connection, on one that was kept */
    curl_multi_remove_handle(t->multi, t->easy);
    if (sockets_lost())
        drop_handles(t);
    return result;
}

bool transport_permanent(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_URL_MALFORMAT ||
           code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_SSL_CERTPROBLEM ||
           code == CURLE_SSL_CACERT_BADFILE || code == CURLE_WRITE_ERROR ||
           code == CURLE_BAD_CONTENT_ENCODING;
}
