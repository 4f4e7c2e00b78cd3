/* SPDX-License-Identifier: Apache-2.0
 * file.c - where lines go: FORKSPAN_FILE, standard output or standard error; each by one write(2).
 */
#include "exporter_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct stream {
    const char *path; /* or NULL */
    int fd;           /* 1 or 2: the host's, so it is looked at before each write */
    dev_t dev;
    ino_t ino;
    mode_t mode;
};

struct stream *stream_open(struct exporter *e)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->fd = e->config->kind == EXPORTER_CONSOLE && e->config->console_stderr ? 2 : 1;
    s->path = e->config->kind == EXPORTER_OTLP_STDOUT ? e->config->file : NULL;
    struct stat st;
    if (s->path) {
        int fd = open(s->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
        if (fd < 0)
            exporter_log(e, 0, "FORKSPAN_FILE can not be opened (errno %d): no span is written", errno);
        else
            close(fd);
    } else if (fstat(s->fd, &st) == 0) {
        s->dev = st.st_dev, s->ino = st.st_ino, s->mode = st.st_mode;
    } else {
        s->fd = -1;
    }
    return s;
}

void stream_close(struct stream *s)
{
    free(s);
}

size_t stream_line_max(const struct stream *s)
{
    return !s->path && (S_ISFIFO(s->mode) || S_ISSOCK(s->mode)) ? PIPE_BUF : SIZE_MAX;
}

bool stream_terminal(const struct stream *s)
{
    return !s->path && s->fd >= 0 && isatty(s->fd);
}

bool stream_line(struct exporter *e, const char *line, size_t len)
{
    struct stream *s = e->stream;
    int fd = s->fd;
    if (s->path) {
        /* opened for each line: a rotated file is found again, and the host has no fd of ours to close */
        fd = open(s->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    } else {
        struct stat st;
        if (fd < 0 || fstat(fd, &st) != 0 || st.st_dev != s->dev || st.st_ino != s->ino)
            return false; /* the number belongs to somebody else by now */
    }
    if (fd < 0)
        return false;
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(fd, line + done, len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno == EAGAIN && e->host.wait) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            if (e->host.wait(e->host.ctx, &p, 1, 1000) <= 0)
                break;
        } else if (n < 0 && errno != EINTR)
            break;
    }
    if (s->path)
        close(fd);
    return done == len;
}
