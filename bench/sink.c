/* SPDX-License-Identifier: Apache-2.0
 * sink.c - a receiver of OTLP over HTTP that costs next to nothing: it answers 200 and counts the spans, by
 * the one attribute that each span of these measurements has. Prints its port; each line on standard input is
 * answered with the number of spans so far; the end of standard input ends it.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 8192, BODY_MAX = 8 << 20 };

static _Atomic unsigned long spans;

static void count(const char *body, size_t len)
{
    static const char key[] = "url.path";
    unsigned long n = 0;
    for (const char *end = body + len; (body = memmem(body, (size_t)(end - body), key, sizeof key - 1)); n++)
        body += sizeof key - 1;
    atomic_fetch_add(&spans, n);
}

/* Answers requests until the other side is done. */
static void *serve(void *arg)
{
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
    int fd = (int)(intptr_t)arg;
    char *bytes = malloc(HEAD_MAX + BODY_MAX + 1);
    size_t have = 0;
    for (;;) {
        char *end;
        bytes[have] = '\0';
        while (!(end = strstr(bytes, "\r\n\r\n"))) {
            ssize_t n = have < HEAD_MAX ? read(fd, bytes + have, HEAD_MAX - have) : 0;
            if (n <= 0)
                goto done;
            have += (size_t)n;
            bytes[have] = '\0';
        }
        size_t head = (size_t)(end - bytes) + 4;
        const char *length = strcasestr(bytes, "\r\ncontent-length:");
        size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
        if (body > BODY_MAX)
            break;
        while (have < head + body) {
            ssize_t n = read(fd, bytes + have, head + body - have);
            if (n <= 0)
                goto done;
            have += (size_t)n;
        }
        count(bytes + head, body);
        if (write(fd, answer, sizeof answer - 1) != (ssize_t)sizeof answer - 1)
            break;
        have -= head + body;
        memmove(bytes, bytes + head + body, have);
    }
done:
    free(bytes);
    close(fd);
    return NULL;
}

static void *serve_all(void *arg)
{
    int listener = (int)(intptr_t)arg;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t id;
        if (fd >= 0 && pthread_create(&id, NULL, serve, (void *)(intptr_t)fd) == 0)
            pthread_detach(id);
    }
    return NULL;
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, len) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) != 0) {
        perror("sink");
        return 1;
    }
    pthread_t id;
    pthread_create(&id, NULL, serve_all, (void *)(intptr_t)listener);
    printf("%u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        printf("%lu\n", atomic_load(&spans));
        fflush(stdout);
    }
    return 0;
}
