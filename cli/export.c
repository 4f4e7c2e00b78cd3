/* SPDX-License-Identifier: Apache-2.0
 * export.c - forkspan export: sends what is in an arena, as long as a process of its server lives, or
 * (--once) what is left in it. libforkspan.so starts it by itself: the first with FORKSPAN_EXPORT=process,
 * the second where no process of a server is left to send.
 */
#include "batch/process.h"
#include "cli.h"
#include "config/config.h"
#include "log.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void export_help(FILE *to)
{
    fputs("usage: forkspan export [--once [--linger] [--within MS]] ID\n\n"
          "Sends the finished spans that lie in the arena of a server and that no process of it\n"
          "sends, until the server has gone. ID is the arena's System V segment (ipcs -m). A traced\n"
          "server starts this by itself; by hand, the environment must be the server's (OTEL_*).\n\n"
          "  --once        leave when all is sent\n"
          "  --linger      and a second later, while new ones keep coming\n"
          "  --within MS   leave after so many milliseconds at most\n"
          "  --help        this text\n\n"
          "Exit status: 0; 1 with a message where the arena cannot be attached; 2: wrong usage.\n",
          to);
}

/* Returns -1 where |text| is not a whole number from 0 to INT_MAX. */
static long number(const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    return errno || end == text || *end || n < 0 || n > INT_MAX ? -1 : n;
}

/* Returns false after a complaint. */
static bool parse_options(int argc, char **argv, struct consume_options *options, bool *help)
{
    enum { OPT_ONCE = 256, OPT_LINGER, OPT_WITHIN, OPT_HELP };
    static const struct option known[] = {
        {"once", no_argument, NULL, OPT_ONCE},
        {"linger", no_argument, NULL, OPT_LINGER},
        {"within", required_argument, NULL, OPT_WITHIN},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
    };
    bool once = false, only_once = false;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", known, NULL)) != -1;) {
        long n;
        switch (c) {
        case OPT_ONCE:
            once = true;
            break;
        case OPT_LINGER:
            options->linger = only_once = true;
            break;
        case OPT_WITHIN:
            if ((n = number(optarg)) < 0) {
                complain("--within wants milliseconds, not %s", optarg);
                return false;
            }
            options->within_ms = n ? (uint32_t)n : 1;
            only_once = true;
            break;
        case OPT_HELP:
        case 'h':
            *help = true;
            return true;
        default:
            complain("%s %s: see forkspan help export",
                     c == ':' ? "a value is missing after" : "unknown option", argv[optind - 1]);
            return false;
        }
    }
    long id = optind + 1 == argc ? number(argv[optind]) : -1;
    if ((only_once && !once) || id < 0) {
        complain("usage: forkspan export [--once [--linger] [--within MS]] ID");
        return false;
    }
    options->id = (int)id;
    options->stay = !once;
    return true;
}

int export_main(int argc, char **argv)
{
    struct consume_options options = {0};
    bool help = false;
    if (!parse_options(argc, argv, &options, &help))
        return EXIT_REFUSED;
    if (help) {
        export_help(stdout);
        return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    char *exporter = find_exporter();
    options.exporter = exporter;
    config_capture(environ);
    log_init();
    const char *why = exporter ? consume(&options) : "forkspan-exporter.so is not there";
    if (why)
        complain("arena %d: %s", options.id, why);
    free(exporter);
    return why ? EXIT_FAILURE : EXIT_SUCCESS;
}
