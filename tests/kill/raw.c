/* SPDX-License-Identifier: Apache-2.0
 * raw.c - a server that answers itself, and by children that nobody sees born.
 *
 * Prints its port and pid. GET /own is answered by the server; /child by the child of a raw clone, which
 * leaves by _exit; /die is read by such a child, which then kills itself. The body is the pid of who answers.
 * The server waits for each child. SIGTERM ends it.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t stopping;

static void on_term(int signal_number)
{
    (void)signal_number;
    stopping = 1;
}

/* The first byte is looked at only, so that whoever answers reads all of it. */
static char which(int fd)
{
    char head[8] = "";
    return recv(fd, head, sizeof head - 1, MSG_PEEK | MSG_WAITALL) == sizeof head - 1 ? head[5] : 'o';
}

static void answer(int fd, int die)
{
    char head[4096], text[200], body[16];
    size_t used = 0;
    while (used + 1 < sizeof head) {
        ssize_t n = read(fd, head + used, sizeof head - 1 - used);
        if (n <= 0)
            return;
        used += (size_t)n;
        head[used] = '\0';
        if (strstr(head, "\r\n\r\n"))
            break;
    }
    if (die)
        raise(SIGKILL);
    int length = snprintf(body, sizeof body, "%d", (int)syscall(SYS_getpid));
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length, body);
    if (write(fd, text, (size_t)n) == n)
        close(fd);
}

int main(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    struct sigaction action = {.sa_handler = on_term};
    sigaction(SIGTERM, &action, NULL);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&at, len) || listen(listener, 128) ||
        getsockname(listener, (struct sockaddr *)&at, &len))
        return 98;
    printf("%d %d\n", ntohs(at.sin_port), (int)getpid());
    fflush(stdout);
    while (!stopping) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        char path = which(fd);
        if (path == 'o') {
            answer(fd, 0);
            continue;
        }
        pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0L);
        if (pid == 0) {
            answer(fd, path == 'd');
            _exit(0);
        }
        close(fd);
        waitpid(pid, NULL, 0);
    }
    return 0;
}
