/* SPDX-License-Identifier: Apache-2.0
 * probe.c - run under an emulator that wipes no page in a child and says it does: are a child's ids its own?
 */
#include "forkspan.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    struct forkspan_context c[3];
    int fd[2];
    if (!forkspan_enabled() || pipe(fd) != 0)
        return 1;
    struct forkspan_span *s = forkspan_start("parent", FORKSPAN_INTERNAL, FORKSPAN_ROOT);
    forkspan_context_of(s, &c[0]);
    forkspan_end(s);
    for (int i = 1; i < 3; i++) {
        pid_t pid = i == 1 ? fork() : _Fork();
        if (pid == 0) {
            s = forkspan_start("child", FORKSPAN_INTERNAL, FORKSPAN_ROOT);
            if (!forkspan_context_of(s, &c[i]) || write(fd[1], &c[i], sizeof c[i]) != sizeof c[i])
                _exit(2);
            forkspan_end(s);
            _exit(0);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status != 0 || read(fd[0], &c[i], sizeof c[i]) != sizeof c[i])
            return 3;
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < i; j++)
            if (memcmp(c[i].trace_id, c[j].trace_id, 16) == 0 || memcmp(c[i].span_id, c[j].span_id, 8) == 0)
                return 4;
    puts("probe 2 children, ids differ");
    fflush(stdout);
    _exit(0);
}
