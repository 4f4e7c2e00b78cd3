/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/file.h"
#include "arena/recover.h"
#include "next.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_MS = 2000, TRIES = 16, FOLDER = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
enum { OPEN = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

/* An arena file on its way: `name` and `other`, the one it is made under, lie in `folder`. */
struct way {
    int folder, fd; /* -1: none */
    const char *name, *other;
    bool taken; /* what lies there was refused, not the way to it */
};

/* Too large for the small frames of this room. */
static char path_copy[PATH_MAX + 4], name_new[PATH_MAX + 4];
static struct arena_header header_copy;

static const char *told(int error)
{
    switch (error) {
    case ENOSPC:
        return "the disk is full";
    case EDQUOT:
        return "the quota is used up";
    case EFBIG:
        return "it would be larger than a file may be here (RLIMIT_FSIZE)";
    case EROFS:
        return "the file system is read-only";
    case ENOENT:
        return "its folder is not there";
    case ELOOP:
        return "it is a symbolic link, and none is followed";
    default:
        break;
    }
    const char *text = strerror(error);
    return text ? text : "unknown error";
}

/* One component further down; the last one is the file's and stays. */
static const char *step(struct way *w, const char *part)
{
    struct stat st;
    if (strcmp(part, ".") == 0)
        return NULL;
    if (strcmp(part, "..") == 0)
        return "the path has .. in it";
    int next = openat(w->folder, part, FOLDER);
    if (next < 0) {
        int error = errno;
        if (fstatat(w->folder, part, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
            return "a folder of its path is a symbolic link, and none is followed";
        return told(error);
    }
    __close(w->folder);
    w->folder = next;
    return NULL;
}

/* From / down, a component at a time: what was looked at is what is used, whoever renames meanwhile. */
static const char *walk(struct way *w, const char *path)
{
    size_t len = strlen(path);
    if (path[0] != '/')
        return "the path does not begin with /";
    if (len >= PATH_MAX)
        return told(ENAMETOOLONG);
    memcpy(path_copy, path, len + 1);
    w->folder = open("/", FOLDER);
    if (w->folder < 0)
        return told(errno);
    char *part = path_copy;
    for (;;) {
        part += strspn(part, "/");
        char *end = strchrnul(part, '/');
        if (*end == '\0')
            break;
        *end = '\0';
        const char *why = step(w, part);
        if (why)
            return why;
        part = end + 1;
    }
    if (*part == '\0' || strcmp(part, ".") == 0 || strcmp(part, "..") == 0)
        return "it names a folder";
    w->name = part;
    stpcpy(stpcpy(name_new, part), ".new");
    w->other = name_new;
    return NULL;
}

static const char *judge(const struct stat *st)
{
    if (S_ISLNK(st->st_mode))
        return told(ELOOP);
    if (S_ISDIR(st->st_mode))
        return "it is a folder";
    if (!S_ISREG(st->st_mode))
        return "it is not a regular file";
    if (st->st_uid != geteuid())
        return "it is another user's";
    if (st->st_nlink > 1)
        return "it has more than one name (hard links)";
    if (st->st_mode & 077)
        return "others may read or write it (its mode is not 0600)";
    return NULL;
}

static void drop(struct way *w)
{
    if (w->fd >= 0) {
        flock(w->fd, LOCK_UN); /* a child forked at this moment has the same open file */
        __close(w->fd);
    }
    w->fd = -1;
}

/* The lock is held for the length of a recovery, or of an allocation. */
static const char *lock(int fd)
{
    for (unsigned ms = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; ms++) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return told(errno);
        if (ms >= LOCK_MS)
            return "another process holds a lock on it";
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return NULL;
}

/* Opens and locks what lies at `name`. NULL without an fd: it is not there, or not any more. */
static const char *open_locked(struct way *w, const char *name, int how)
{
    struct stat st, now;
    /* Looked at first: opening a device may do something. */
    if (fstatat(w->folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        const char *why = judge(&st);
        w->taken = why != NULL;
        if (why)
            return why;
    } else if (errno != ENOENT || !(how & O_CREAT)) {
        return errno == ENOENT ? NULL : told(errno);
    }
    w->fd = openat(w->folder, name, OPEN | how, 0600);
    if (w->fd < 0)
        return errno == ENOENT && !(how & O_CREAT) ? NULL : told(errno);
    const char *why = fstat(w->fd, &st) == 0 ? judge(&st) : told(errno);
    if (!why)
        why = lock(w->fd);
    w->taken = why != NULL;
    if (why) {
        drop(w);
        return why;
    }
    if (fstatat(w->folder, name, &now, AT_SYMLINK_NOFOLLOW) != 0 || now.st_dev != st.st_dev ||
        now.st_ino != st.st_ino)
        drop(w); /* renamed or removed while we waited for the lock */
    return NULL;
}

/* All blocks of the file, so that a full disk is found out now and not by a SIGBUS. Returns an errno. */
static int allocate(int fd, size_t size)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur)
        return EFBIG; /* tried, it would send SIGXFSZ */
    int error;
    do
        error = posix_fallocate(fd, 0, (off_t)size);
    while (error == EINTR);
    return error;
}

static void *map(const struct arena *a, int fd)
{
    void *p = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, a->size, MADV_NOHUGEPAGE);
    madvise(p, a->size, MADV_DONTDUMP);
    return p;
}

static int rename_new(const struct way *w)
{
    if (syscall(SYS_renameat2, w->folder, w->other, w->folder, w->name, 1 /* RENAME_NOREPLACE */) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    return renameat(w->folder, w->other, w->folder, w->name) == 0 ? 0 : errno;
}

/* Makes an arena of the open file, and gives it its name. Returns an errno. */
static int fill(struct arena *a, const struct way *w, const char boot[BOOT_ID_MAX])
{
    if (ftruncate(w->fd, 0) != 0 || fchmod(w->fd, 0600) != 0) /* what a start that was killed left there */
        return errno;
    int error = allocate(w->fd, a->size);
    if (error)
        return error;
    a->header = map(a, w->fd);
    if (!a->header)
        return errno;
    arena_describe(a);
    memcpy(a->header->boot, boot, BOOT_ID_MAX);
    /* After a power cut it is whole, or not there. */
    error = fdatasync(w->fd) == 0 ? rename_new(w) : errno;
    if (error) {
        munmap(a->header, a->size);
        a->header = NULL;
    }
    return error;
}

/* NULL without a mapping: somebody else has just made it. */
static const char *make(struct arena *a, struct way *w, const char boot[BOOT_ID_MAX])
{
    static char text[160];
    struct stat st;
    const char *why = open_locked(w, w->other, O_CREAT);
    if (why && w->taken) {
        snprintf(text, sizeof text, "the file PATH.new, which it is made as: %.80s", why);
        return text;
    }
    if (why || w->fd < 0)
        return why;
    if (fstatat(w->folder, w->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        drop(w);
        return NULL;
    }
    a->size = a->slots_off + a->slots * a->slot_size;
    int error = fill(a, w, boot);
    if (error)
        unlinkat(w->folder, w->other, 0);
    return !error || error == EEXIST ? NULL : told(error);
}

static const char *take(struct arena *a, const struct way *w, const char boot[BOOT_ID_MAX], bool start)
{
    struct stat st;
    ssize_t n = __read(w->fd, &header_copy, sizeof header_copy);
    if (n < 0 || fstat(w->fd, &st) != 0)
        return told(errno);
    if (n < (ssize_t)sizeof header_copy)
        return "it is not an arena of forkspan";
    const char *why = arena_recognise(a, &header_copy, (size_t)st.st_size);
    if (why)
        return why;
    /* A copy with holes, as some tools make them. */
    if ((size_t)st.st_blocks * 512 < a->size && fallocate(w->fd, 0, 0, (off_t)a->size) != 0 &&
        (errno == ENOSPC || errno == EDQUOT))
        return told(errno);
    a->header = map(a, w->fd);
    if (!a->header)
        return told(errno);
    recover(a, boot, start);
    return NULL;
}

const char *arena_file_open(struct arena *a, const char *path, bool create)
{
    char boot[BOOT_ID_MAX];
    struct way w = {.folder = -1, .fd = -1};
    a->header = NULL;
    a->id = a->life = a->semaphores = -1;
    a->file = path;
    const char *why = walk(&w, path);
    if (!why && !recover_boot_id(boot))
        why = "the id of this boot cannot be read";
    for (int i = 0; i < TRIES && !why && !a->header; i++) {
        why = open_locked(&w, w.name, 0);
        if (!why && w.fd >= 0)
            why = take(a, &w, boot, create);
        else if (!why)
            why = create ? make(a, &w, boot) : "it is not there";
        drop(&w);
    }
    if (w.folder >= 0)
        __close(w.folder);
    if (why)
        return why;
    if (!a->header)
        return "it is made and removed again and again";
    ring_trust(&a->shape, a->max_queued);
    return NULL;
}
