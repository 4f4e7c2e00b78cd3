/* SPDX-License-Identifier: Apache-2.0
 * run.c - forkspan run: the environment a traced program needs, then the program.
 */
#include "cli.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run_options {
    const char *service;
    const char *endpoint;
    bool exec;
    bool python;
    bool help;
    enum summary summary;
};

void run_help(FILE *to)
{
    fputs("usage: forkspan run [--service NAME] [--endpoint URL] [--python] [--summary|--no-summary]\n"
          "                    [--exec] -- CMD [ARG...]\n\n"
          "Runs CMD with libforkspan.so preloaded: every HTTP request it serves becomes a span.\n\n"
          "  --service NAME   what the service is called (OTEL_SERVICE_NAME)\n"
          "  --endpoint URL   where a collector takes OTLP (OTEL_EXPORTER_OTLP_ENDPOINT),\n"
          "                   such as http://localhost:4318\n"
          "  --python         repair the OpenTelemetry SDK of a Python application that builds its\n"
          "                   exporter before its server forks (adds to PYTHONPATH)\n"
          "  --summary        say at the end, on standard error, what was served and sent; without\n"
          "                   this that is done where standard error is a terminal\n"
          "  --no-summary     never do\n"
          "  --exec           become CMD instead of staying as its parent\n"
          "  --help           this text\n\n"
          "Where no endpoint is set, here or in the environment, each request is a line on\n"
          "standard error. The library is the one FORKSPAN_LIBRARY names, else the one beside\n"
          "this command or where it was installed.\n\n"
          "Exit status: CMD's own; if a signal killed CMD, the same signal kills forkspan (as\n"
          "pid 1: 128 + its number). 2: forkspan refuses, and says why; 126: CMD cannot be\n"
          "executed; 127: CMD was not found.\n",
          to);
}

/* Returns false after a complaint. The command is at argv[optind]. */
static bool parse_options(int argc, char **argv, struct run_options *options)
{
    enum { OPT_SERVICE = 256, OPT_ENDPOINT, OPT_EXEC, OPT_PYTHON, OPT_SUMMARY, OPT_NO_SUMMARY, OPT_HELP };
    static const struct option known[] = {
        {"service", required_argument, NULL, OPT_SERVICE},
        {"endpoint", required_argument, NULL, OPT_ENDPOINT},
        {"exec", no_argument, NULL, OPT_EXEC},
        {"python", no_argument, NULL, OPT_PYTHON},
        {"summary", no_argument, NULL, OPT_SUMMARY},
        {"no-summary", no_argument, NULL, OPT_NO_SUMMARY},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
    };
    opterr = 0;
    /* '+': the first word that is no option begins the command, whose own options are its own. */
    for (int c; (c = getopt_long(argc, argv, "+:h", known, NULL)) != -1;) {
        switch (c) {
        case OPT_SERVICE:
            options->service = optarg;
            break;
        case OPT_ENDPOINT:
            options->endpoint = optarg;
            break;
        case OPT_EXEC:
            options->exec = true;
            break;
        case OPT_PYTHON:
            options->python = true;
            break;
        case OPT_SUMMARY:
            options->summary = SUMMARY_ALWAYS;
            break;
        case OPT_NO_SUMMARY:
            options->summary = SUMMARY_NEVER;
            break;
        case OPT_HELP:
        case 'h':
            options->help = true;
            return true;
        case ':':
            complain("option %s needs a value: see forkspan help run", argv[optind - 1]);
            return false;
        default:
            complain("unknown option %s: see forkspan help run", argv[optind - 1]);
            return false;
        }
    }
    if ((options->service && !*options->service) || (options->endpoint && !*options->endpoint)) {
        complain("--service and --endpoint need a value that is not empty");
        return false;
    }
    if (optind >= argc) {
        complain("which command? usage: forkspan run [OPTION...] -- CMD [ARG...]");
        return false;
    }
    return true;
}

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value && *value; /* OpenTelemetry: an empty variable is one that is not set */
}

static bool set(const char *name, const char *value)
{
    if (!setenv(name, value, 1))
        return true;
    complain("no memory for the environment");
    return false;
}

/* Our sitecustomize is found first, and goes on to the one that would have been. */
static bool set_python_path(const char *library)
{
    char *folder = find_python(library);
    if (!folder) {
        complain("--python: the folder forkspan/python is not beside " LIBRARY_NAME);
        return false;
    }
    const char *old = getenv("PYTHONPATH");
    char *path = NULL;
    bool done = asprintf(&path, "%s%s%s", folder, old && *old ? ":" : "", old ? old : "") >= 0 &&
                set("PYTHONPATH", path);
    free(path);
    free(folder);
    return done;
}

static bool set_environment(const struct run_options *options, const char *library)
{
    if (options->service && !set("OTEL_SERVICE_NAME", options->service))
        return false;
    if (options->endpoint) {
        if (!set("OTEL_EXPORTER_OTLP_ENDPOINT", options->endpoint))
            return false;
        /* It would win over the general one; what was said on the command line was said last. */
        unsetenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    }
    if (!is_set("OTEL_EXPORTER_OTLP_ENDPOINT") && !is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") &&
        !is_set("OTEL_TRACES_EXPORTER") &&
        (!set("OTEL_TRACES_EXPORTER", "console") || !set("FORKSPAN_CONSOLE_STDERR", "true")))
        return false;
    if (options->python && !set_python_path(library))
        return false;
    char *preload = preload_with(library, getenv("LD_PRELOAD"));
    bool done = preload && set("LD_PRELOAD", preload);
    free(preload);
    return done;
}

/* Inside a program that is traced (forkspan run -- sh, then forkspan run again) this process was started with
 * the library in it. It starts again without: it forks and waits, and must not be traced. set_environment
 * puts the library back for the command. */
static void shed_preload(char **argv)
{
    const char *old = getenv("LD_PRELOAD");
    char *without = old ? preload_with(NULL, old) : NULL;
    if (without && strlen(without) != strlen(old)) {
        if (*without ? !setenv("LD_PRELOAD", without, 1) : !unsetenv("LD_PRELOAD"))
            execv("/proc/self/exe", argv);
        setenv("LD_PRELOAD", old, 1); /* no /proc: goes on as it is */
    }
    free(without);
}

static int start_tree(const char *path, char **command, enum summary summary)
{
    tree_make(summary);
    return parent_command(path, command);
}

int run_main(int argc, char **argv)
{
    shed_preload(argv - 1); /* main() gave the words from "run" on */
    struct run_options options = {0};
    if (!parse_options(argc, argv, &options))
        return EXIT_REFUSED;
    if (options.help) {
        run_help(stdout);
        return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    char **command = argv + optind;
    int status = 0;
    char *path = find_command(*command, &status);
    if (!path) {
        complain("%s: %s", *command,
                 status == EXIT_NOT_FOUND ? "command not found"
                                          : "cannot be executed: permission denied or a directory");
        return status;
    }
    char *library = find_library();
    status = library ? refuse_command(path, library) : EXIT_REFUSED;
    if (!status)
        status = !set_environment(&options, library) ? EXIT_FAILURE
                 : options.exec                      ? become_command(path, command)
                                                     : start_tree(path, command, options.summary);
    free(library);
    free(path);
    return status;
}
