/* SPDX-License-Identifier: Apache-2.0
 * status.c - forkspan status: what goes on in traced servers, and the switch that turns tracing off and on.
 */
#include "cli.h"
#include "config/values.h"
#include "look.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

struct status_options {
    bool json, once, help;
    double interval; /* s */
    struct set set;
    struct arena_place place;
    bool one; /* place is the only one */
};

void status_help(FILE *to)
{
    fputs("usage: forkspan status [--json] [--once] [--interval SECONDS] [ARENA]\n"
          "       forkspan status --set tracing=off|on|--set ratio=NUMBER|default ... [ARENA]\n\n"
          "Shows what goes on in a traced server: its processes, the requests in progress, what is\n"
          "queued, sent and lost. ARENA is its System V segment, or the path of a file; without it,\n"
          "all servers of this user. On a terminal it goes on until it is interrupted.\n\n"
          "  --json              for programs: docs/status.md describes it\n"
          "  --once              show it once on a terminal, too\n"
          "  --interval SECONDS  between two looks (1); what is shown a second is from two of them,\n"
          "                      so with 0 there is none of that\n"
          "  --set tracing=off   no new span in the running server; requests in progress end as\n"
          "                      spans. tracing=on: as before\n"
          "  --set ratio=NUMBER  from 0 to 1: this part of the traces that begin in the server is\n"
          "                      kept, whatever sampler it was started with. ratio=default: as it\n"
          "                      was started\n"
          "  --help              this text\n\n"
          "Exit status: 0; 1 with a message where an arena can not be read or set; 2: wrong usage.\n",
          to);
}

/* NAME=VALUE of --set. */
static bool parse_set(const char *text, struct set *set)
{
    if (!strcmp(text, "tracing=off") || !strcmp(text, "tracing=on")) {
        set->tracing = strcmp(text, "tracing=on") ? SET_OFF : SET_ON;
        return true;
    }
    if (!strcmp(text, "ratio=default")) {
        set->ratio_is = SET_DEFAULT;
        return true;
    }
    if (!strncmp(text, "ratio=", strlen("ratio=")) && parse_ratio(text + strlen("ratio="), &set->ratio)) {
        set->ratio_is = SET_RATIO;
        return true;
    }
    complain("--set wants tracing=off, tracing=on, ratio= and a number from 0 to 1, or ratio=default; not %s",
             text);
    return false;
}

static bool parse_interval(const char *text, double *seconds)
{
    char *end;
    errno = 0;
    double s = strtod(text, &end);
    if (!errno && end != text && !*end && s >= 0 && s <= 86400 && (s == 0 || s >= 0.05)) {
        *seconds = s;
        return true;
    }
    complain("--interval wants seconds, from 0.05 on, or 0; not %s", text);
    return false;
}

/* Returns false after a complaint. */
static bool parse_options(int argc, char **argv, struct status_options *options)
{
    enum { OPT_JSON = 256, OPT_ONCE, OPT_INTERVAL, OPT_SET, OPT_HELP };
    static const struct option known[] = {
        {"json", no_argument, NULL, OPT_JSON},
        {"once", no_argument, NULL, OPT_ONCE},
        {"interval", required_argument, NULL, OPT_INTERVAL},
        {"set", required_argument, NULL, OPT_SET},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
    };
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", known, NULL)) != -1;) {
        switch (c) {
        case OPT_JSON:
            options->json = true;
            break;
        case OPT_ONCE:
            options->once = true;
            break;
        case OPT_INTERVAL:
            if (!parse_interval(optarg, &options->interval))
                return false;
            break;
        case OPT_SET:
            if (!parse_set(optarg, &options->set))
                return false;
            break;
        case OPT_HELP:
        case 'h':
            options->help = true;
            return true;
        default:
            complain("%s %s: see forkspan help status",
                     c == ':' ? "a value is missing after" : "unknown option", argv[optind - 1]);
            return false;
        }
    }
    if (optind + 1 < argc) {
        complain("one arena, or none for all of them: see forkspan help status");
        return false;
    }
    options->one = optind < argc;
    return !options->one || place_read(argv[optind], &options->place);
}

/* ---- one round over all arenas */

struct round {
    struct look *looks;
    size_t n;
    struct refused {
        struct arena_place place;
        char why[128];
    } * refused;
    size_t n_refused;
};

static void complain_of(const struct arena_place *place, const char *why)
{
    char room[16];
    complain("arena %s: %s", place_name(place, room), why);
}

static size_t all_places(const struct status_options *options, struct arena_place **places)
{
    if (!options->one)
        return places_find(places);
    *places = malloc(sizeof **places);
    if (*places)
        **places = options->place;
    return *places ? 1 : 0;
}

static struct round look_at_all(const struct status_options *options)
{
    struct arena_place *places;
    size_t n = all_places(options, &places);
    struct round round = {.looks = calloc(n + 1, sizeof *round.looks),
                          .refused = calloc(n + 1, sizeof *round.refused)};
    for (size_t i = 0; i < n && round.looks && round.refused; i++) {
        const char *why = look_at(&round.looks[round.n], &places[i]);
        if (!why) {
            round.n++;
        } else if (options->one || why != image_gone) {
            struct refused *r = &round.refused[round.n_refused++];
            r->place = places[i];
            snprintf(r->why, sizeof r->why, "%s", why);
        }
    }
    free(places);
    return round;
}

static void complain_of_all(const struct round *round)
{
    for (size_t i = 0; i < round->n_refused; i++)
        complain_of(&round->refused[i].place, round->refused[i].why);
}

static void round_free(struct round *round)
{
    for (size_t i = 0; i < round->n; i++)
        look_free(&round->looks[i]);
    free(round->looks);
    free(round->refused);
    *round = (struct round){0};
}

static bool same_place(const struct arena_place *a, const struct arena_place *b)
{
    return a->path || b->path ? a->path && b->path && !strcmp(a->path, b->path) : a->id == b->id;
}

static const struct look *in_round(const struct round *round, const struct look *look)
{
    for (size_t i = 0; i < round->n; i++)
        if (same_place(&round->looks[i].place, &look->place))
            return &round->looks[i];
    return NULL;
}

static void show_round(FILE *to, const struct status_options *options, const struct round *now,
                       const struct round *before)
{
    if (options->json)
        fputs("{\"forkspan\":\"" FORKSPAN_VERSION "\",\"arenas\":[", to);
    else if (now->n == 0 && now->n_refused == 0)
        fputs("no server of this user is traced here\n", to);
    for (size_t i = 0; i < now->n; i++) {
        const struct look *then = in_round(before, &now->looks[i]);
        if (i)
            fputs(options->json ? "," : "\n", to);
        if (options->json)
            show_json(to, &now->looks[i], then);
        else
            show(to, &now->looks[i], then);
    }
    if (options->json) {
        fputs("],\"refused\":[", to);
        for (size_t i = 0; i < now->n_refused; i++)
            show_json_refused(to, &now->refused[i].place, now->refused[i].why, i + 1 < now->n_refused);
        fputs("]}\n", to);
    }
}

static void pause_for(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

/* ---- a terminal */

/* As much of a text as the screen holds. A character is one column wide: some are two, and then a line is cut
 * by the terminal. */
static void show_screen(const char *text)
{
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    unsigned lines = size.ws_row ? size.ws_row : 24, columns = size.ws_col ? size.ws_col : 80;
    fputs("\033[H\033[J", stdout);
    for (unsigned line = 1; *text && line < lines; line++) {
        size_t whole = strcspn(text, "\n"), used = 0;
        for (unsigned column = 0; used < whole; used++)
            if (((unsigned char)text[used] & 0xc0) != 0x80 && ++column > columns)
                break;
        fwrite(text, 1, used, stdout);
        text += whole;
        if (*text) {
            fputc('\n', stdout);
            text++;
        }
    }
    fflush(stdout);
}

static bool show_page(const struct status_options *options, const struct round *now,
                      const struct round *before)
{
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    if (!to)
        return false;
    show_round(to, options, now, before);
    fclose(to);
    if (text)
        show_screen(text);
    free(text);
    return !ferror(stdout);
}

/* Until a signal ends it, or its only server: what is on the screen then stays there. */
static int watch(const struct status_options *options)
{
    struct round before = {0};
    for (bool good = true; good;) {
        struct round now = look_at_all(options);
        if (!before.looks || options->one)
            complain_of_all(&now);
        good = (!options->one || now.n) && show_page(options, &now, &before);
        round_free(&before);
        before = now;
        if (good)
            pause_for(options->interval);
    }
    round_free(&before);
    return EXIT_FAILURE;
}

/* ---- */

static int show_once(const struct status_options *options)
{
    struct round before = {0};
    if (options->interval > 0) {
        before = look_at_all(options);
        if (before.n)
            pause_for(options->interval);
    }
    struct round now = look_at_all(options);
    complain_of_all(&now);
    show_round(stdout, options, &now, &before);
    /* Of all, one that another version made is no failure: a package may be upgraded under a server. */
    bool failed = now.n == 0 && now.n_refused;
    round_free(&before);
    round_free(&now);
    if (fflush(stdout) || ferror(stdout)) {
        complain("cannot write to standard output");
        failed = true;
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int set_all(const struct status_options *options)
{
    struct arena_place *places;
    size_t n = all_places(options, &places), done = 0;
    for (size_t i = 0; i < n; i++) {
        struct sampling s;
        const char *why = arena_set(&places[i], &options->set, &s);
        if (why) {
            complain_of(&places[i], why);
            continue;
        }
        done++;
        if (options->json)
            continue;
        char room[16];
        printf("arena %s: tracing is %s, ", place_name(&places[i], room), s.off ? "off" : "on");
        if (s.by_ratio)
            printf("sampling by a ratio of %.6g\n", s.ratio);
        else
            printf("sampling as configured\n");
    }
    free(places);
    if (n == 0)
        complain("no server of this user is traced here");
    return n && done == n ? EXIT_SUCCESS : EXIT_FAILURE;
}

int status_main(int argc, char **argv)
{
    struct status_options options = {.interval = 1};
    if (!parse_options(argc, argv, &options))
        return EXIT_REFUSED;
    if (options.help) {
        status_help(stdout);
        return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    if (options.set.tracing != SET_NOTHING || options.set.ratio_is != SET_NO_RATIO) {
        int status = set_all(&options);
        options.interval = 0;
        if (status || !options.json)
            return fflush(stdout) && !status ? EXIT_FAILURE : status;
    }
    bool live = isatty(STDOUT_FILENO) && !options.json && !options.once && options.interval > 0;
    return live ? watch(&options) : show_once(&options);
}
