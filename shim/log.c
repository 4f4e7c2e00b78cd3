/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"
#include "clock.h"
#include "config/config.h"
#include "next.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DISTINCT = 64, LINE = 320, LINES_A_MINUTE = 60 };

static dev_t start_dev;
static ino_t start_ino;
static bool start_known;

void log_init(void)
{
    struct stat st;
    if (fstat(2, &st) == 0) {
        start_dev = st.st_dev;
        start_ino = st.st_ino;
        start_known = true;
    }
}

/* One line a distinct problem a minute; a line's hash names the problem. */
static bool said_lately(const char *line)
{
    static _Atomic uint64_t said[DISTINCT];
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *line; line++)
        hash = (hash ^ (uint8_t)*line) * UINT64_C(1099511628211);
    uint64_t minute = clock_ns(CLOCK_MONOTONIC_COARSE) / UINT64_C(60000000000) & 0xffff;
    uint64_t mark = (hash & ~UINT64_C(0xffff)) | minute;
    return atomic_exchange(&said[hash % DISTINCT], mark) == mark;
}

/* A receiver that says something new each time is not to fill a log, either. */
static bool too_many(void)
{
    static _Atomic uint64_t minute_and_count;
    uint64_t minute = clock_ns(CLOCK_MONOTONIC_COARSE) / UINT64_C(60000000000) << 16;
    uint64_t seen = atomic_load(&minute_and_count), next;
    do {
        next = (seen & ~UINT64_C(0xffff)) == minute ? seen + 1 : minute + 1;
        if ((next & 0xffff) > LINES_A_MINUTE)
            return true;
    } while (!atomic_compare_exchange_weak(&minute_and_count, &seen, next));
    return false;
}

static int destination(const struct config *c)
{
    if (c && c->log_path)
        return open(c->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    struct stat st;
    if (!start_known || fstat(2, &st) != 0 || st.st_dev != start_dev || st.st_ino != start_ino)
        return -1; /* somebody else's file by now */
    return 2;
}

void log_line(enum log_level level, const char *format, ...)
{
    int keep = errno;
    const struct config *c = config_parsed();
    if ((int)level <= (c ? c->log_level : LOG_LEVEL_INFO)) {
        char line[LINE] = "forkspan: ";
        va_list ap;
        va_start(ap, format);
        int n = vsnprintf(line + 10, sizeof line - 11, format, ap);
        va_end(ap);
        size_t len = 10 + (n < 0 ? 0 : (size_t)n < sizeof line - 11 ? (size_t)n : sizeof line - 12);
        if (!said_lately(line) && !too_many()) {
            line[len++] = '\n';
            int fd = destination(c);
            if (fd >= 0 && __write(fd, line, len) < 0)
                errno = keep; /* nobody left to tell */
            if (fd > 2)
                __close(fd);
        }
    }
    errno = keep;
}
