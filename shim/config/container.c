/* SPDX-License-Identifier: Apache-2.0 */
#include "config/container.h"
#include "next.h"

#include <fcntl.h>
#include <string.h>

/* 64 hexadecimal digits and no more of them: what docker, containerd, cri-o and podman name a container by.
 */
static const char *find_id(const char *s, const char *end)
{
    for (size_t run = 0; s < end; s++) {
        bool hex = (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'f');
        run = hex ? run + 1 : 0;
        bool last = s + 1 == end || !((s[1] >= '0' && s[1] <= '9') || (s[1] >= 'a' && s[1] <= 'f'));
        if (run == CONTAINER_ID && last)
            return s + 1 - CONTAINER_ID;
    }
    return NULL;
}

static bool take(const char *found, char id[CONTAINER_ID + 1])
{
    if (!found)
        return false;
    memcpy(id, found, CONTAINER_ID);
    id[CONTAINER_ID] = '\0';
    return true;
}

bool container_in_cgroup(const char *text, size_t len, char id[CONTAINER_ID + 1])
{
    const char *end = text + len;
    while (text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        if (!line_end)
            line_end = end;
        /* the last part of the path: docker-<id>.scope, <id>, cri-containerd-<id>.scope */
        const char *slash = line_end;
        while (slash > text && slash[-1] != '/')
            slash--;
        if (take(find_id(slash, line_end), id))
            return true;
        text = line_end + 1;
    }
    return false;
}

bool container_in_mountinfo(const char *text, size_t len, char id[CONTAINER_ID + 1])
{
    /* /var/lib/docker/containers/<id>/hostname, .../overlay-containers/<id>/userdata/hostname */
    static const char mark[] = "containers/";
    const char *end = text + len;
    for (const char *s; (s = memmem(text, (size_t)(end - text), mark, sizeof mark - 1)); text = s + 1) {
        const char *from = s + sizeof mark - 1;
        const char *name = from + CONTAINER_ID;
        if (name < end && *name == '/' && find_id(from, name) == from) {
            const char *stop = memchr(name, ' ', (size_t)(end - name));
            if (memmem(name, (size_t)((stop ? stop : end) - name), "/hostname", 9))
                return take(from, id);
        }
    }
    return false;
}

/* A window of the file and its predecessor's tail, so that nothing is cut: small frames, no allocation. */
static bool in_file(const char *path, bool (*find)(const char *, size_t, char[CONTAINER_ID + 1]),
                    char id[CONTAINER_ID + 1])
{
    static char text[8192]; /* the caller holds the claim: one thread */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool found = false;
    size_t have = 0;
    for (ssize_t n; fd >= 0 && !found && (n = __read(fd, text + have, sizeof text - have)) > 0;) {
        have += (size_t)n;
        /* whole lines only, but at the end of the buffer */
        const char *last = memrchr(text, '\n', have);
        size_t whole = last ? (size_t)(last - text) + 1 : have == sizeof text ? have : 0;
        found = find(text, whole, id);
        memmove(text, text + whole, have - whole);
        have -= whole;
    }
    if (fd >= 0)
        __close(fd);
    return found || (have && find(text, have, id));
}

bool container_id(char id[CONTAINER_ID + 1])
{
    return in_file("/proc/self/cgroup", container_in_cgroup, id) ||
           in_file("/proc/self/mountinfo", container_in_mountinfo, id);
}
