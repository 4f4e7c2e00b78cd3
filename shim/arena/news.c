/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/news.h"
#include "arena/slot.h"
#include "clock.h"
#include "decimal.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

enum { CHILDREN = 1024, PROBES = 16 };

/* Found by pid, a few places from where it belongs. A child that nobody reaps through us leaves its entry
 * behind: the next one that wants the place takes it. */
static struct {
    _Atomic uint32_t pid;
    _Atomic uint64_t ticket;
} children[CHILDREN];

uint64_t news_ticket(const struct arena *a)
{
    return a->header ? atomic_fetch_add(&a->header->tickets, 1) + 1 : 0;
}

void news_born(pid_t pid, uint64_t ticket)
{
    if (ticket == 0 || pid <= 0)
        return;
    unsigned at = (unsigned)pid % CHILDREN;
    for (unsigned k = 0; k < PROBES; k++) {
        unsigned i = ((unsigned)pid + k) % CHILDREN;
        uint32_t now = atomic_load(&children[i].pid);
        if (now == 0 || now == (uint32_t)pid) {
            at = i;
            break;
        }
    }
    atomic_store(&children[at].ticket, ticket);
    atomic_store(&children[at].pid, (uint32_t)pid);
}

static uint64_t ticket_of(pid_t pid)
{
    for (unsigned k = 0; k < PROBES; k++) {
        unsigned i = ((unsigned)pid + k) % CHILDREN;
        uint64_t ticket = atomic_load(&children[i].ticket);
        uint32_t mine = (uint32_t)pid;
        if (atomic_compare_exchange_strong(&children[i].pid, &mine, 0))
            return ticket;
    }
    return 0;
}

bool news_reaped(const struct arena *a, pid_t pid, int status)
{
    uint64_t ticket = ticket_of(pid), own_namespace = 0;
    bool told = false;
    for (uint32_t i = 0; i < a->slots; i++) {
        if (!arena_slot_live(a, i))
            continue;
        struct slot *s = arena_slot(a, i);
        uint32_t epoch =
            atomic_load(&s->epoch); /* before what is compared: that is of this claim, or older */
        uint64_t its = atomic_load(&s->ticket);
        bool by_ticket = its != 0 && ticket != 0;
        if (by_ticket ? its != ticket : arena_slot_pid(a, i) != pid)
            continue;
        /* Born where no wrapper was, or another's child, or reaped before its ticket was put down: only its
         * pid tells, in its own namespace. */
        if (!by_ticket && own_namespace == 0)
            own_namespace = own_pid_namespace();
        if (!by_ticket && atomic_load(&s->pid_namespace) != own_namespace)
            continue;
        uint64_t none = news_word(epoch, 0);
        atomic_store(&s->news_ns, clock_ns(CLOCK_MONOTONIC));
        atomic_compare_exchange_strong(&s->news, &none,
                                       news_word(epoch, NEWS_SET | ((uint32_t)status & NEWS_STATUS)));
        told = true;
    }
    return told;
}

/* libc's own names cost it a look into a table of translated text. */
static const char *signal_name(int n)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
                 {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
                 {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"}, {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
                 {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"}, {SIGXCPU, "SIGXCPU"},
                 {SIGXFSZ, "SIGXFSZ"}, {SIGSYS, "SIGSYS"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == n)
            return names[i].name;
    return NULL;
}

static void numbered(char type[NEWS_TYPE_MAX], const char *word, unsigned n)
{
    size_t len = strlen(word);
    memcpy(type, word, len);
    type[len + decimal(type + len, n)] = '\0';
}

void news_type(uint32_t news, char type[NEWS_TYPE_MAX])
{
    int status = (int)(news & NEWS_STATUS);
    if (news & NEWS_EXEC)
        strcpy(type, "exec");
    else if (news & NEWS_SET && WIFEXITED(status))
        numbered(type, "exit ", (unsigned)WEXITSTATUS(status));
    else if (news & NEWS_SET && WIFSIGNALED(status) && signal_name(WTERMSIG(status)))
        strcpy(type, signal_name(WTERMSIG(status)));
    else if (news & NEWS_SET && WIFSIGNALED(status))
        numbered(type, "SIG", (unsigned)WTERMSIG(status));
    else
        strcpy(type, "_OTHER");
}
