/* SPDX-License-Identifier: Apache-2.0
 * capture.c - one scan of the environment in the constructor; a copy, because servers write over it later.
 */
#include "config/capture.h"
#include "config/config.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

static char **captured;

static bool ours(const char *s)
{
    return strncmp(s, "OTEL_", 5) == 0 || strncmp(s, "FORKSPAN_", 9) == 0;
}

void config_capture(char **environ_now)
{
    size_t n = 0, bytes = 0;
    /* a setuid program's environment is its caller's, who must not steer it */
    if (!environ_now || getauxval(AT_SECURE))
        return;
    for (char **e = environ_now; *e; e++)
        if (((*e)[0] == 'O' || (*e)[0] == 'F') && ours(*e))
            n++, bytes += strlen(*e) + 1;
    if (n == 0)
        return;
    size_t size = (n + 1) * sizeof(char *) + bytes;
    char **list = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (list == MAP_FAILED)
        return;
    char *text = (char *)(list + n + 1);
    size_t i = 0;
    for (char **e = environ_now; *e && i < n; e++) {
        if (((*e)[0] != 'O' && (*e)[0] != 'F') || !ours(*e))
            continue;
        list[i++] = text;
        text = stpcpy(text, *e) + 1;
    }
    captured = list;
}

char **config_captured(void)
{
    static char *none[1];
    return captured ? captured : none;
}
