/* SPDX-License-Identifier: Apache-2.0
 * export.c - forkspan export: sends what is in an arena, as long as a process of its server lives, or
 * (--once) what is left in it. libforkspan.so starts it by itself: the first with FORKSPAN_EXPORT=process,
 * the second where no process of a server is left to send.
 */
#include "batch/process.h"
#include "cli.h"
#include "config/config.h"
#include "log.h"
#include "look.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void export_help(FILE *to)
{
    fputs("usage: forkspan export [--quiet] [--once [--linger] [--within MS]] ID\n"
          "       forkspan export [--quiet] [--once] [--linger] [--within MS] FILE\n"
          "       forkspan export --tree ID FILE\n\n"
          "Sends the finished spans that lie in the arena of a server and that no process of it\n"
          "sends, until the server has gone. ID is an arena's System V segment (ipcs -m); FILE is\n"
          "the one that FORKSPAN_ARENA names: that is emptied once. A traced server starts this by\n"
          "itself; by hand, the environment must be the server's (OTEL_*).\n\n"
          "  --once        leave when all is sent: with a FILE and no --tree that is so without it\n"
          "  --linger      and a second later, while new ones keep coming\n"
          "  --within MS   leave after so many milliseconds at most\n"
          "  --quiet       a server that has gone meanwhile, with all it had, is no error\n"
          "  --tree ID     the segment by which the server knows that it lives, with a FILE\n"
          "  --help        this text\n\n"
          "Exit status: 0; 1 with a message where the arena cannot be attached, or something had to\n"
          "stay in FILE; 2: wrong usage.\n",
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

/* The path from / on: the code it is for follows none that depends on a folder of the moment. malloc'd. */
static char *from_root(const char *path)
{
    char *here = *path == '/' ? NULL : getcwd(NULL, 0), *full = NULL;
    if (*path == '/')
        return strdup(path);
    if (!here || asprintf(&full, "%s/%s", here, path) < 0)
        full = NULL;
    free(here);
    return full;
}

/* What is asked for besides what consume() is told. */
struct asked {
    bool help, quiet;
};

/* Returns false after a complaint. */
static bool parse_options(int argc, char **argv, struct consume_options *options, struct asked *asked)
{
    enum { OPT_ONCE = 256, OPT_LINGER, OPT_WITHIN, OPT_QUIET, OPT_TREE, OPT_HELP };
    static const struct option known[] = {
        {"once", no_argument, NULL, OPT_ONCE},
        {"linger", no_argument, NULL, OPT_LINGER},
        {"within", required_argument, NULL, OPT_WITHIN},
        {"tree", required_argument, NULL, OPT_TREE},
        {"help", no_argument, NULL, OPT_HELP},
        {"quiet", no_argument, NULL, OPT_QUIET},
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
        case OPT_QUIET:
            asked->quiet = true;
            break;
        case OPT_TREE:
            if ((n = number(optarg)) < 0) {
                complain("--tree wants a segment's id, not %s", optarg);
                return false;
            }
            options->life = (int)n;
            break;
        case OPT_HELP:
        case 'h':
            asked->help = true;
            return true;
        default:
            complain("%s %s: see forkspan help export",
                     c == ':' ? "a value is missing after" : "unknown option", argv[optind - 1]);
            return false;
        }
    }
    const char *which = optind + 1 == argc ? argv[optind] : "";
    long id = number(which);
    bool file = *which && id < 0, by_hand = file && options->life < 0;
    if ((only_once && !once && !by_hand) || (!file && id < 0)) {
        complain("usage: forkspan export [--once [--linger] [--within MS]] ID, or FILE");
        return false;
    }
    if (file && !(options->file = from_root(which))) {
        complain("no memory for the path %s", which);
        return false;
    }
    options->id = (int)id;
    options->stay = !once && !by_hand;
    return true;
}

int export_main(int argc, char **argv)
{
    struct consume_options options = {.life = -1};
    struct asked asked = {false};
    if (!parse_options(argc, argv, &options, &asked))
        return EXIT_REFUSED;
    if (asked.help) {
        export_help(stdout);
        return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    char *exporter = find_exporter();
    options.exporter = exporter;
    config_capture(environ);
    log_init();
    const char *why = consume(&options);
    if (why && asked.quiet && !options.file && strcmp(why, image_gone) == 0)
        why = NULL;
    if (why && why != consume_said && options.file)
        complain("arena %s: %s", options.file, why);
    else if (why && why != consume_said)
        complain("arena %d: %s", options.id, why);
    free(exporter);
    return why ? EXIT_FAILURE : EXIT_SUCCESS;
}
