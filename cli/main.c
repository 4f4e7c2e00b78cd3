/* SPDX-License-Identifier: Apache-2.0
 * main.c - the command: picks the subcommand, answers --help and --version.
 */
#include "cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct subcommand {
    const char *name;
    int (*main)(int argc, char **argv);
    void (*help)(FILE *to);
    const char *line;
} subcommands[] = {
    {"run", run_main, run_help, "run a program and trace the requests it serves"},
    {"status", status_main, status_help, "show what goes on in traced servers, turn tracing off and on"},
    {"explain", explain_main, explain_help, "say what forkspan does in a process, or why not"},
    {"export", export_main, export_help, "send what a server left unsent"},
};
enum { SUBCOMMANDS = sizeof subcommands / sizeof *subcommands };

static char *into;
static size_t into_room;

void complain_into(char *line, size_t room)
{
    into = line;
    into_room = room;
}

void complain(const char *format, ...)
{
    /* One write: workers and servers share this stderr. */
    char line[4096];
    int used = snprintf(line, sizeof line, "forkspan: ");
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, sizeof line - (size_t)used, format, args);
    va_end(args);
    if (into)
        snprintf(into, into_room, "%s", line + used);
    else
        fprintf(stderr, "%s\n", line);
}

static void general_help(FILE *to)
{
    fputs("usage: forkspan COMMAND [OPTION...]\n\n", to);
    for (int i = 0; i < SUBCOMMANDS; i++)
        fprintf(to, "  %-12s %s\n", subcommands[i].name, subcommands[i].line);
    fputs("  help [NAME]  explain a command\n\n"
          "  --help       this text\n"
          "  --version    the version\n",
          to);
}

static const struct subcommand *subcommand_named(const char *name)
{
    for (int i = 0; i < SUBCOMMANDS; i++)
        if (!strcmp(subcommands[i].name, name))
            return &subcommands[i];
    complain("there is no command \"%s\": see forkspan --help", name);
    return NULL;
}

/* An answer that could not be written (a full disk) is a failure. */
static int answered(void)
{
    if (fflush(stdout) || ferror(stdout)) {
        complain("cannot write to standard output");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        general_help(stderr);
        return EXIT_REFUSED;
    }
    if (!strcmp(name, "--version")) {
        puts("forkspan " FORKSPAN_VERSION);
        return answered();
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || (!strcmp(name, "help") && argc == 2)) {
        general_help(stdout);
        return answered();
    }
    if (!strcmp(name, "help")) {
        const struct subcommand *topic = subcommand_named(argv[2]);
        if (!topic)
            return EXIT_REFUSED;
        topic->help(stdout);
        return answered();
    }
    const struct subcommand *chosen = subcommand_named(name);
    return chosen ? chosen->main(argc - 1, argv + 1) : EXIT_REFUSED;
}
