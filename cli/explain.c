/* SPDX-License-Identifier: Apache-2.0
 * explain.c - forkspan explain PID: what forkspan does in a process, or why it does nothing there.
 */
#include "cli.h"
#include "config/config.h"
#include "config/program.h"
#include "look.h"
#include "proc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void explain_help(FILE *to)
{
    fputs("usage: forkspan explain PID\n\n"
          "Says what forkspan does in a process: whether the library is in it, which arena it has,\n"
          "what it counts, who sends its spans, and which variables it was started with; or why it\n"
          "is not traced. Of another user's process only root can tell.\n\n"
          "Exit status: 0; 1 with a message where the process cannot be read; 2: wrong usage.\n",
          to);
}

/* A line of the answer. */
static void begin(const char *what)
{
    printf("  %-10s ", what);
}

static void say(const char *what, const char *text)
{
    begin(what);
    show_text(stdout, text);
    putchar('\n');
}

/* ---- the library */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* An entry of LD_PRELOAD that is ours, in *entry; false: there is none. */
static bool preload_entry(const struct proc *proc, char entry[PATH_MAX])
{
    const char *value = proc_variable(proc, "LD_PRELOAD");
    while (value && *(value += strspn(value, " :"))) {
        size_t n = strcspn(value, " :");
        if (n < PATH_MAX) {
            memcpy(entry, value, n);
            entry[n] = '\0';
            if (!strcmp(base_name(entry), LIBRARY_NAME))
                return true;
        }
        value += n;
    }
    return false;
}

static void why_not_preloaded(const struct proc *proc)
{
    char entry[PATH_MAX], exe[64], line[512] = "";
    bool named = preload_entry(proc, entry);
    say("library", "is not in it");
    if (!*proc->executable) {
        say("because", "it is a thread of the kernel, or has ended");
        return;
    }
    if (named && proc->secure) {
        say("because", "it was started with other rights than its caller had (setuid, setgid, capabilities): "
                       "for such a program the system ignores LD_PRELOAD");
        return;
    }
    struct stat its, named_so;
    snprintf(exe, sizeof exe, "/proc/%d/exe", (int)proc->pid); /* whatever root it has */
    bool here = !stat(exe, &its) && !stat(proc->executable, &named_so) && its.st_dev == named_so.st_dev &&
                its.st_ino == named_so.st_ino;
    char *library = named && proc_sees(proc, entry) ? strdup(entry) : find_library();
    complain_into(line, sizeof line);
    int refused = library ? refuse_command(here ? proc->executable : exe, library) : 0;
    complain_into(NULL, 0);
    free(library);
    if (refused)
        say("because", line);
    else if (!proc->variables || !*proc->variables)
        say("because",
            "it was started without the library; with which variables can not be known, for it has "
            "none, or has written over them");
    else if (!named)
        say("because", "LD_PRELOAD did not name it when the process was started");
    else if (strchr(entry, '/') && !proc_sees(proc, entry))
        printf("  %-10s LD_PRELOAD names %s, which is not there for it\n", "because", entry);
    else
        say("because", "not known: LD_PRELOAD names it, and the program should have taken it");
}

/* ---- the arena */

/* Of the segments that it has, the one that can be looked into; else why not. */
static bool find_arena(const struct proc *proc, struct look *look)
{
    const char *why = NULL;
    const char *file = proc_variable(proc, "FORKSPAN_ARENA");
    bool in_file = file && *file == '/';
    for (size_t i = 0; i < proc->n_segments + in_file; i++) {
        const struct arena_place place = {.id = i < proc->n_segments ? proc->segments[i] : -1,
                                          .path = i < proc->n_segments ? NULL : file};
        const char *refused = look_at(look, &place);
        if (!refused)
            return true;
        if (!why ||
            strstr(refused, "made by")) /* one of another version is more to the point than no arena */
            why = refused;
    }
    say("arena", why && strstr(why, "made by") ? why : "none");
    return false;
}

static const struct look_process *place_in(const struct look *look, const struct proc *proc)
{
    for (size_t i = 0; i < look->n_processes; i++) {
        const struct look_process *p = &look->processes[i];
        if (p->state != LOOK_DEAD && p->pid == (p->here ? proc->pid : proc->pid_inside))
            return p;
    }
    return NULL;
}

static void explain_place(const struct look *look, const struct look_process *p)
{
    char age[AGE_ROOM];
    begin("place");
    printf("slot %u, of %u for workers: %llu spans started, %llu exported, %llu dropped, %llu failed, %u "
           "unsent; %zu requests in "
           "progress\n",
           p->slot, look->slots, (unsigned long long)p->counters[COUNT_STARTED],
           (unsigned long long)p->counters[COUNT_EXPORTED], (unsigned long long)p->counters[COUNT_DROPPED],
           (unsigned long long)p->counters[COUNT_FAILED], p->queued, p->n_requests);
    begin("sender");
    if (p->sends)
        printf("its own, thread %d", p->thread);
    else if (look->sender.is == SENDER_PROCESS && (!p->emptied_by || p->emptied_by == look->sender.pid))
        printf("process %d, which sends for the whole server (%s)", look->sender.pid,
               why_process[look->sender.why]);
    else if (p->emptied_by && p->emptied_by != p->pid)
        printf("process %d", p->emptied_by);
    else
        printf("none of its own; whoever sends next takes what it has");
    if (p->delivered_s >= 0)
        printf(", last delivered %s ago", show_age(p->delivered_s, age));
    if (p->failures)
        printf(", %u exports failed in a row", p->failures);
    putchar('\n');
    if (p->said_s >= 0) {
        begin("it said");
        printf("%s ago: ", show_age(p->said_s, age));
        show_text(stdout, p->said);
        putchar('\n');
    }
}

/* A process of ours has no library in it. */
static bool explain_consumer(const struct proc *proc)
{
    struct look look;
    if (!strstr(proc->executable, "forkspan") || !find_arena(proc, &look))
        return false;
    char room[16], age[AGE_ROOM];
    const struct look_process *p = place_in(&look, proc);
    bool is = p && p->consumer;
    if (is) {
        say("library", "is not in it: it is forkspan's own");
        begin("arena");
        show_text(stdout, place_name(&look.place, room));
        putchar('\n');
        begin("sends");
        if (look.sender.is == SENDER_PROCESS && look.sender.pid == p->pid)
            printf("for the whole server, as long as that lives (%s)", why_process[look.sender.why]);
        else
            printf("what nobody of the server sends, and leaves");
        if (p->delivered_s >= 0)
            printf("; last delivered %s ago", show_age(p->delivered_s, age));
        putchar('\n');
    }
    look_free(&look);
    return is;
}

static void explain_tracing(const struct look *look)
{
    begin("tracing");
    printf("%s in this server (forkspan status), sampling ", look->sampling.off ? "turned off" : "on");
    if (look->sampling.by_ratio)
        printf("set to a ratio of %.6g\n", look->sampling.ratio);
    else
        printf("as configured\n");
}

/* ---- what it was started with */

static void warn(const char *line)
{
    say("warning", line);
}

/* Without user and password, and whatever else may be a secret. */
static void show_variable(const char *variable)
{
    size_t name = strcspn(variable, "=");
    const char *value = variable + name + 1;
    printf("  %-10s %.*s=", "variable", (int)name, variable);
    const char *host = strstr(value, "://"), *at = host ? strchr(host, '@') : NULL;
    if (memmem(variable, name, "HEADERS", strlen("HEADERS"))) {
        fputs("***", stdout);
    } else if (at) {
        printf("%.*s***", (int)(host + 3 - value), value);
        show_text(stdout, at);
    } else {
        show_text(stdout, value);
    }
    putchar('\n');
}

static void show_variables(const struct proc *proc)
{
    if (!proc->variables || !*proc->variables) {
        say("variables", "can not be known: the process has none, or has written over them");
        return;
    }
    for (char **v = proc->variables; *v; v++)
        if (!strncmp(*v, "OTEL_", strlen("OTEL_")) || !strncmp(*v, "FORKSPAN_", strlen("FORKSPAN_")))
            show_variable(*v);
}

/* Why a process with the library in it has no arena or no place in one. */
static void why_nothing(const struct proc *proc, const struct config *c, bool arena)
{
    if (c->disabled)
        say("because", "OTEL_SDK_DISABLED is true");
    else if (c->exporter.kind == EXPORTER_NONE)
        say("because", "OTEL_TRACES_EXPORTER is none");
    else if (c->only &&
             !program_named(c->only, proc->name, base_name(proc->executable), base_name(proc->executable)))
        say("because", "FORKSPAN_ONLY names other programs");
    else if (!arena)
        say("because",
            "it has neither listened, nor served a request, nor made a span; or it has memory that no other "
            "program can attach");
    else
        say("because",
            "it has served no request and made no span: one that only listens never takes a place");
}

static void explain(const struct proc *proc)
{
    printf("process %d (", (int)proc->pid);
    show_text(stdout, proc->name);
    printf("), child of %d, user %u, %u thread%s\n", (int)proc->parent, proc->uid, proc->threads,
           proc->threads == 1 ? "" : "s");
    if (!*proc->library) {
        if (!explain_consumer(proc))
            why_not_preloaded(proc);
        return;
    }
    begin("library");
    show_text(stdout, proc->library);
    puts(proc->library_deleted
             ? ", which is another file or none by now: the server has not been started again since"
             : "");
    static char *nothing[1];
    const struct config *c = config_parse(proc->variables ? proc->variables : nothing, warn);
    struct look look;
    bool arena = find_arena(proc, &look);
    const struct look_process *p = arena ? place_in(&look, proc) : NULL;
    if (arena) {
        char room[16];
        begin("arena");
        show_text(stdout, place_name(&look.place, room));
        if (look.maker_pid)
            printf(", made by process %d", look.maker_pid);
        printf(", forkspan %s\n", look.version);
        explain_tracing(&look);
    }
    if (p)
        explain_place(&look, p);
    else
        why_nothing(proc, c, arena);
    if (arena)
        look_free(&look);
    show_variables(proc);
}

int explain_main(int argc, char **argv)
{
    char *end = NULL;
    errno = 0;
    long pid = argc == 2 ? strtol(argv[1], &end, 10) : 0;
    if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        explain_help(stdout);
        return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    if (errno || !end || *end || pid <= 0 || pid > INT_MAX) {
        complain("usage: forkspan explain PID");
        return EXIT_REFUSED;
    }
    struct proc proc;
    const char *why = proc_read(&proc, (pid_t)pid);
    if (why)
        complain("process %ld: %s", pid, why);
    else
        explain(&proc);
    proc_free(&proc);
    if (fflush(stdout) || ferror(stdout)) {
        complain("cannot write to standard output");
        return EXIT_FAILURE;
    }
    return why ? EXIT_FAILURE : EXIT_SUCCESS;
}
