/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/bounds.h"
#include "next.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { SHARE = 16, TEXT = 160 };

/* The beginning of a file; its length, 0 where it cannot be read. */
static size_t text_of(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : __read(fd, text, room - 1);
    if (fd >= 0)
        __close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* "max" and what is no number are no limit. */
static uint64_t limit_in(const char *path)
{
    char text[TEXT];
    if (text_of(path, text, sizeof text) == 0 || text[0] < '0' || text[0] > '9')
        return UINT64_MAX;
    return strtoull(text, NULL, 10);
}

/* The limit of the cgroup that a line of /proc/self/cgroup names: "0::/path" or "9:memory:/path". */
static uint64_t limit_of_line(const char *text, const char *controller, const char *folder, const char *file)
{
    static char path[1200];
    const char *at = strstr(text, controller);
    const char *end = at ? strchrnul(at, '\n') : NULL;
    size_t skip = strlen(controller), len = end ? (size_t)(end - at) - skip : 0;
    if (!at || strlen(folder) + len + strlen(file) >= sizeof path)
        return UINT64_MAX;
    char *to = stpcpy(path, folder);
    memcpy(to, at + skip, len);
    strcpy(to + len, file);
    return limit_in(path);
}

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Of the cgroup this process is in, and of the root that a container is shown; either version. */
static uint64_t cgroup_limit(void)
{
    static char text[1024];
    text_of("/proc/self/cgroup", text, sizeof text);
    uint64_t least = limit_in("/sys/fs/cgroup/memory.max");
    least = least_of(least, limit_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    least = least_of(least, limit_of_line(text, "0::", "/sys/fs/cgroup", "/memory.max"));
    return least_of(least,
                    limit_of_line(text, ":memory:", "/sys/fs/cgroup/memory", "/memory.limit_in_bytes"));
}

static uint64_t field_kb(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) * 1024u : 0;
}

static uint64_t commit_left(void)
{
    static char text[4096];
    if (limit_in("/proc/sys/vm/overcommit_memory") != 2 || text_of("/proc/meminfo", text, sizeof text) == 0)
        return UINT64_MAX;
    uint64_t limit = field_kb(text, "CommitLimit:"), used = field_kb(text, "Committed_AS:");
    return limit > used ? limit - used : 0;
}

size_t arena_bound(void)
{
    struct rlimit as;
    uint64_t least = least_of(cgroup_limit(), commit_left());
    if (getrlimit(RLIMIT_AS, &as) == 0 && as.rlim_cur != RLIM_INFINITY)
        least = least_of(least, as.rlim_cur);
    return least == UINT64_MAX ? SIZE_MAX : (size_t)(least / SHARE);
}
