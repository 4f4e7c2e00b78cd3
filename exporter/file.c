/* SPDX-License-Identifier: Apache-2.0
 * file.c - where lines go: FORKSPAN_FILE, standard output or standard error; each by one write(2).
 */
#include "exporter_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOCK_TRIES = 200, LOCK_PAUSE_MS = 5 };

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

/* -- FORKSPAN_FILE: many processes append to it, and whoever finds it full renames it -- */

static int open_file(const struct stream *s)
{
    return open(s->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

/* Of all writers. A holder writes one line, so it does not last; one that was stopped with it is not waited
 * for for long. */
static void lock_file(struct exporter *e, int fd)
{
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK && tries < LOCK_TRIES;
         tries++)
        if (e->host.wait(e->host.ctx, NULL, 0, LOCK_PAUSE_MS) == -2)
            break;
}

static void rotate(const struct stream *s, unsigned count)
{
    char from[PATH_MAX], to[PATH_MAX];
    if (count == 1) {
        unlink(s->path);
        return;
    }
    for (unsigned i = count - 1; i > 0; i--) {
        if (snprintf(to, sizeof to, "%s.%u", s->path, i) >= (int)sizeof to ||
            snprintf(from, sizeof from, i > 1 ? "%s.%u" : "%s", s->path, i - 1) >= (int)sizeof from)
            return;
        rename(from, to);
    }
}

/* The file for the next line, locked; its length. Opened for each line: a renamed file is found again, and
 * the host has no fd of ours to close. */
static int file_for(struct exporter *e, size_t len, off_t *size)
{
    const struct stream *s = e->stream;
    for (int tries = 0;; tries++) {
        int fd = open_file(s);
        struct stat st, now;
        if (fd < 0)
            return -1;
        lock_file(e, fd);
        bool same = fstat(fd, &st) == 0 && stat(s->path, &now) == 0 && st.st_ino == now.st_ino &&
                    st.st_dev == now.st_dev;
        bool full =
            e->config->file_size && st.st_size > 0 && (uint64_t)st.st_size + len > e->config->file_size;
        *size = st.st_size;
        if ((same && !full) || tries == LOCK_TRIES)
            return fd;
        if (same)
            rotate(s, e->config->file_count);
        close(fd);
    }
}

static bool write_all(struct exporter *e, int fd, const char *line, size_t len, size_t *done)
{
    for (*done = 0; *done < len;) {
        ssize_t n = write(fd, line + *done, len - *done);
        if (n > 0)
            *done += (size_t)n;
        else if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            if (e->host.wait(e->host.ctx, &p, 1, 1000) <= 0)
                return false;
        } else if (n == 0 || errno != EINTR)
            return false;
    }
    return true;
}

bool stream_line(struct exporter *e, const char *line, size_t len)
{
    struct stream *s = e->stream;
    size_t done;
    if (s->path) {
        off_t before;
        int fd = file_for(e, len, &before);
        bool whole = fd >= 0 && write_all(e, fd, line, len, &done);
        if (!whole) {
            exporter_log(e, 1, "FORKSPAN_FILE can not be written (errno %d): spans are dropped", errno);
            /* a disk that is full takes half a line: the next one is to begin a line of its own */
            if (fd >= 0 && done && ftruncate(fd, before) != 0)
                exporter_log(e, 1, "FORKSPAN_FILE has half a line");
        }
        if (fd >= 0)
            close(fd);
        return whole;
    }
    struct stat st;
    if (s->fd < 0 || fstat(s->fd, &st) != 0 || st.st_dev != s->dev || st.st_ino != s->ino)
        return false; /* the number belongs to somebody else by now */
    return write_all(e, s->fd, line, len, &done);
}
