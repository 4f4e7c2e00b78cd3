/* SPDX-License-Identifier: Apache-2.0
 * capture.c - one scan of the environment in the constructor; a copy, because servers write over it later.
 */
#include "config/capture.h"
#include "config/config.h"

#include <sys/auxv.h>
#include <sys/mman.h>

static char **captured;

/* By hand, as all of this file: each function of libc that is bound here costs every process some 800
 * instructions, more than the whole environment does. */
static bool ours(const char *s)
{
    const char *name = *s == 'O' ? "OTEL_" : "FORKSPAN_";
    while (*name && *s == *name)
        s++, name++;
    return !*name;
}

/* Its size with the NUL. */
static size_t size_of(const char *s)
{
    size_t n = 0;
    while (s[n++])
        ;
    return n;
}

void config_capture(char **environ_now)
{
    size_t n = 0, bytes = 0;
    /* a setuid program's environment is its caller's, who must not steer it */
    if (!environ_now || getauxval(AT_SECURE))
        return;
    for (char **e = environ_now; *e; e++)
        if (ours(*e))
            n++, bytes += size_of(*e);
    if (n == 0)
        return;
    size_t size = (n + 1) * sizeof(char *) + bytes;
    char **list = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (list == MAP_FAILED)
        return;
    char *text = (char *)(list + n + 1);
    size_t i = 0;
    for (char **e = environ_now; *e && i < n; e++) {
        if (!ours(*e))
            continue;
        list[i++] = text;
        for (const char *from = *e; (*text++ = *from++);)
            ;
    }
    captured = list;
}

char **config_captured(void)
{
    static char *none[1];
    return captured ? captured : none;
}
