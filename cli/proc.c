/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"
#include "cli.h"

#include <elf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *open_of(const struct proc *proc, const char *file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)proc->pid, file);
    return fopen(path, "re");
}

static const char *read_status(struct proc *proc)
{
    char line[512];
    FILE *f = open_of(proc, "status");
    if (!f)
        return errno == ENOENT ? "there is no such process" : strerror(errno);
    while (fgets(line, sizeof line, f)) {
        unsigned a, b;
        int n;
        if (sscanf(line, "Name:\t%63[^\n]", proc->name) == 1)
            continue;
        if (sscanf(line, "PPid: %d", &n) == 1)
            proc->parent = n;
        else if (sscanf(line, "Uid: %u %u", &a, &b) == 2)
            proc->uid = b;
        else if (sscanf(line, "Threads: %u", &a) == 1)
            proc->threads = a;
        else if (!strncmp(line, "NSpid:", strlen("NSpid:"))) /* the last is its own */
            proc->pid_inside = atoi(strrchr(line, '\t') ? strrchr(line, '\t') : line + strlen("NSpid:"));
    }
    fclose(f);
    return NULL;
}

static void read_executable(struct proc *proc)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)proc->pid);
    ssize_t n = readlink(path, proc->executable, sizeof proc->executable - 1);
    proc->executable[n > 0 ? n : 0] = '\0';
}

/* START-END PERMS OFFSET DEV INODE   NAME; the inode of a System V segment is its id. */
static void read_mapping(struct proc *proc, char *line)
{
    static const char segment[] = "/SYSV", deleted[] = " (deleted)";
    unsigned long inode;
    int at = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%*s %*s %*s %*s %lu %n", &inode, &at) < 1 || at == 0)
        return;
    char *name = line + at, *slash = strrchr(name, '/');
    if (!strncmp(name, segment, strlen(segment))) {
        bool known = false;
        for (size_t i = 0; i < proc->n_segments; i++)
            known |= proc->segments[i] == (int)inode;
        if (!known && inode <= INT_MAX && proc->n_segments < SEGMENTS_MAX)
            proc->segments[proc->n_segments++] = (int)inode;
        return;
    }
    if (!slash || *proc->library || strncmp(slash + 1, LIBRARY_NAME, strlen(LIBRARY_NAME)) != 0)
        return;
    char *end = slash + 1 + strlen(LIBRARY_NAME);
    proc->library_deleted = !strcmp(end, deleted);
    if (*end && !proc->library_deleted)
        return;
    *end = '\0';
    snprintf(proc->library, sizeof proc->library, "%s", name);
}

static const char *read_maps(struct proc *proc)
{
    char line[PATH_MAX + 128];
    FILE *f = open_of(proc, "maps");
    if (!f)
        return errno == EACCES || errno == EPERM ? "it is another user's" : strerror(errno);
    while (fgets(line, sizeof line, f))
        read_mapping(proc, line);
    int error = ferror(f);
    fclose(f);
    return error ? "it has ended, or is another user's" : NULL;
}

static void read_auxiliary(struct proc *proc)
{
    struct {
        unsigned long type, value;
    } entry; /* of a process of our word size; of another one nothing is found */
    FILE *f = open_of(proc, "auxv");
    while (f && fread(&entry, sizeof entry, 1, f) == 1)
        if (entry.type == AT_SECURE)
            proc->secure = entry.value != 0;
    if (f)
        fclose(f);
}

static void read_environment(struct proc *proc)
{
    size_t size = 0, used = 0, n = 0;
    FILE *f = open_of(proc, "environ");
    for (size_t got = 1; f && got; used += got) {
        if (used + 1 >= size) {
            char *more = realloc(proc->environment, size = size ? size * 2 : 16384);
            if (!more)
                break;
            proc->environment = more;
        }
        got = fread(proc->environment + used, 1, size - used - 1, f);
    }
    if (f)
        fclose(f);
    if (!proc->environment)
        return;
    proc->environment[used] = '\0';
    for (size_t i = 0; i < used; i += strlen(proc->environment + i) + 1)
        n++;
    proc->variables = calloc(n + 1, sizeof *proc->variables);
    n = 0;
    for (char *s = proc->environment; proc->variables && s < proc->environment + used; s += strlen(s) + 1)
        if (strchr(s, '=') && *s != '=')
            proc->variables[n++] = s;
}

const char *proc_read(struct proc *proc, pid_t pid)
{
    *proc = (struct proc){.pid = pid, .pid_inside = pid};
    const char *why = read_status(proc);
    if (!why)
        why = read_maps(proc);
    if (why)
        return why;
    read_executable(proc);
    read_auxiliary(proc);
    read_environment(proc);
    return NULL;
}

const char *proc_variable(const struct proc *proc, const char *name)
{
    size_t n = strlen(name);
    for (char **v = proc->variables; v && *v; v++)
        if (!strncmp(*v, name, n) && (*v)[n] == '=')
            return *v + n + 1;
    return NULL;
}

bool proc_sees(const struct proc *proc, const char *path)
{
    char *full = NULL;
    bool sees = asprintf(&full, "/proc/%d/%s%s", (int)proc->pid, *path == '/' ? "root" : "cwd/", path) >= 0 &&
                !access(full, R_OK);
    free(full);
    return sees;
}

void proc_free(struct proc *proc)
{
    free(proc->environment);
    free(proc->variables);
    proc->environment = NULL;
    proc->variables = NULL;
}
