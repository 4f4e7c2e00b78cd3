/* SPDX-License-Identifier: Apache-2.0
 * terminal.c - a terminal with a shell of one job, to see what job control makes of a command.
 *
 *   terminal STEP... -- CMD [ARG...]
 *
 * CMD is the foreground job of a session of its own. Steps, in order: "wait:TEXT" reads until the terminal
 * shows TEXT, "key:C" types control-C, "close" hangs up. The shell says on the terminal what it sees of its
 * job: [stopped N], [killed N], [exited N]; a stopped job it puts into the foreground again. All that is
 * shown goes to standard output.
 */
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIME_LIMIT = 20 };

static char shown[65536];
static size_t shown_length, read_up_to;

static int shell(char **command)
{
    signal(SIGTTOU, SIG_IGN);
    pid_t job = fork();
    if (job < 0)
        return 1;
    if (!job) {
        setpgid(0, 0);
        tcsetpgrp(STDIN_FILENO, getpgrp());
        signal(SIGTTOU, SIG_DFL);
        execv(command[0], command);
        _exit(127);
    }
    setpgid(job, job);
    for (int status; waitpid(job, &status, WUNTRACED) == job;) {
        tcsetpgrp(STDIN_FILENO, getpgrp());
        if (WIFSTOPPED(status)) {
            /* said last: a key typed on hearing it is for the job */
            tcsetpgrp(STDIN_FILENO, job);
            kill(-job, SIGCONT);
            printf("[stopped %d]\n", WSTOPSIG(status));
            fflush(stdout);
        } else {
            if (WIFSIGNALED(status))
                printf("[killed %d]\n", WTERMSIG(status));
            else
                printf("[exited %d]\n", WEXITSTATUS(status));
            fflush(stdout);
            return 0;
        }
    }
    return 1;
}

static int read_more(int terminal)
{
    ssize_t got = read(terminal, shown + shown_length, sizeof shown - 1 - shown_length);
    if (got <= 0)
        return 0;
    shown_length += (size_t)got;
    shown[shown_length] = 0;
    return 1;
}

static void wait_for(int terminal, const char *text)
{
    char *found;
    while (!(found = strstr(shown + read_up_to, text)))
        if (!read_more(terminal)) {
            printf("%s\nterminal: never saw \"%s\"\n", shown, text);
            exit(1);
        }
    read_up_to = (size_t)(found - shown) + strlen(text);
}

int main(int argc, char **argv)
{
    int split = 1, terminal;
    while (split < argc && strcmp(argv[split], "--"))
        split++;
    if (split + 1 >= argc)
        return 2;
    alarm(TIME_LIMIT); /* kills us, which hangs up the terminal */
    pid_t leader = forkpty(&terminal, NULL, NULL, NULL);
    if (leader < 0)
        return 2;
    if (!leader)
        return shell(argv + split + 1);
    for (int i = 1; i < split; i++) {
        if (!strncmp(argv[i], "wait:", 5)) {
            wait_for(terminal, argv[i] + 5);
        } else if (!strncmp(argv[i], "key:", 4)) {
            char key = (char)(argv[i][4] & 0x1f);
            if (write(terminal, &key, 1) != 1)
                return 2;
        } else if (!strcmp(argv[i], "close")) {
            close(terminal);
            terminal = -1;
        } else {
            return 2;
        }
    }
    while (terminal >= 0 && read_more(terminal))
        ;
    fputs(shown, stdout);
    waitpid(leader, NULL, 0);
    return 0;
}
