/* SPDX-License-Identifier: Apache-2.0
 *
 * forkspan status, from an arena's bytes to what is shown. The arenas are made here.
 */
#include "../../../cli/look.h"
#include "../../random64.h"
#include "arena/requests.h"
#include "arena/ring.h"
#include "arena/slot.h"
#include "clock.h"
#include "span/encode.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static char complaint[200];
void complain(const char *format, ...);
void complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(complaint, sizeof complaint, format, args);
    va_end(args);
}

static const struct config small = {.workers = 2, .max_queue = 64, .max_batch = 16};
static struct arena arena;

static void make(void)
{
    cr_assert(arena_make(&arena, &small));
    cr_assert_geq(arena.id, 0, "no System V shared memory here");
}

static struct slot *claim(bool consumer)
{
    int i = slot_claim(&arena, consumer);
    cr_assert_geq(i, 0);
    return arena_slot(&arena, (uint32_t)i);
}

static void put(struct slot *s, const char *name, uint64_t end_ns)
{
    struct span_head head = {.ctx = {.trace_id = {1}, .span_id = {2}, .valid = true},
                             .kind = 2,
                             .start_ns = 1,
                             .end_ns = end_ns,
                             .name = name,
                             .name_len = strlen(name)};
    struct ring_place place;
    cr_assert(ring_reserve(slot_ring(&arena, s), (uint32_t)span_room(&head), &place));
    struct wire w = {.p = place.p, .end = place.p + place.room};
    uint8_t *start = span_open(&w, &head);
    ring_commit(&place, (uint32_t)span_close(&w, start), RING_SCOPE_API);
}

static struct request *begin(struct slot *s, const char *method, const char *target, uint64_t start_ns,
                             uint32_t phase)
{
    struct request *r = request_claim(slot_requests(&arena, s));
    REQUEST_APPEND(r, method, method, strlen(method));
    REQUEST_APPEND(r, target, target, strlen(target));
    r->start_monotonic_ns = start_ns;
    r->flags |= REQUEST_TARGET_DONE;
    atomic_store(&r->phase, phase);
    return r;
}

static struct look look_now(void)
{
    struct look look;
    const char *why = look_at(&look, &(struct arena_place){.id = arena.id});
    cr_assert_null(why, "%s", why);
    return look;
}

static char *shown(const struct look *look, const struct look *before, bool json)
{
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    json ? show_json(to, look, before) : show(to, look, before);
    fclose(to);
    return text;
}

TestSuite(look, .init = make);

static void is_shown(const char *text, const char *json)
{
    struct look look = look_now();
    char *people = shown(&look, NULL, false), *program = shown(&look, NULL, true);
    cr_assert(strstr(people, text), "%s\n%s", text, people);
    cr_assert(strstr(program, json), "%s\n%s", json, program);
    free(people);
    free(program);
    look_free(&look);
}

Test(look, who_sends_is_said)
{
    char text[100], json[100];
    is_shown("sender    a thread in each process that serves\n",
             "\"sender\":{\"is\":\"threads\",\"why\":null,\"pid\":0}");
    int i = slot_claim(&arena, true);
    struct slot *s = arena_slot(&arena, (uint32_t)i);
    atomic_store(&arena.header->liveness[i], (uint32_t)getpid());
    atomic_store(&arena.header->permanent, consumer_word((uint32_t)i, s->epoch));
    atomic_store(&arena.header->permanent_why, PERMANENT_AGAIN);
    snprintf(text, sizeof text, "sender    process %d for all (its processes come and go)\n", getpid());
    snprintf(json, sizeof json, "\"sender\":{\"is\":\"process\",\"why\":\"again\",\"pid\":%d}", getpid());
    is_shown(text, json);
    atomic_store(&arena.header->permanent_why, 4711); /* written over */
    atomic_store(&arena.header->liveness[i], FUTEX_OWNER_DIED);
    is_shown("a process for all (FORKSPAN_EXPORT=process), which is gone",
             "\"sender\":{\"is\":\"killed\",\"why\":\"asked\",\"pid\":0}");
    atomic_store(&arena.header->permanent, UINT64_MAX);
    is_shown("sender    a thread in each", "\"is\":\"threads\"");
    atomic_store(&arena.header->permanent_ns, UINT64_MAX);
    is_shown("can open the exporter\n", "\"sender\":{\"is\":\"in_vain\",\"why\":null,\"pid\":0}");
}

Test(look, what_is_there_is_seen)
{
    struct slot *s = claim(false), *sender = claim(true);
    uint64_t now = clock_ns(CLOCK_MONOTONIC), unix_now = clock_ns(CLOCK_REALTIME);
    put(s, "oldest", unix_now - UINT64_C(30000000000));
    put(s, "newer", unix_now);
    atomic_store(&s->counters[COUNT_STARTED], 7);
    atomic_store(&arena.header->former[COUNT_STARTED], 100);
    begin(s, "GET", "/young", now - UINT64_C(2000000000), REQUEST_OPEN);
    atomic_store(&begin(s, "POST", "/old?token=secret", now - UINT64_C(9000000000), REQUEST_OPEN)->status,
                 200);
    begin(s, "PUT", "/left", now - UINT64_C(5000000000), REQUEST_UNRECORDED);
    begin(s, "GET", "/finished", now, REQUEST_FINISHED);
    begin(s, "GET", "/a-child-has-it", now, REQUEST_OPEN)->claim = REQUEST_TAKEN;
    sender->report.failures = 3;
    sender->report.said_ns = now;
    sender->report.said_len = 4;
    memcpy(sender->report.said, "nope", 4);

    struct look look = look_now();
    cr_assert(look.n_processes == 2 && look.slots == 2 && look.max_queued == 64);
    cr_assert(look.maker_pid == getpid() && look.maker_uid == geteuid() && !look.sampling.off);
    cr_assert_eq(look.totals[COUNT_STARTED], 107);
    const struct look_process *p = &look.processes[0], *q = &look.processes[1];
    cr_assert(p->pid == getpid() && p->here && p->state == LOOK_ALIVE && !p->consumer && q->consumer);
    cr_assert(p->queued == 2 && !strcmp(p->oldest, "oldest") && p->oldest_s >= 30 && p->oldest_s < 60);
    cr_assert(q->failures == 3 && !strcmp(q->said, "nope") && p->said_s < 0);
    cr_assert_eq(p->n_requests, 3);
    cr_assert(!strcmp(p->requests[0].path, "/old") && p->requests[0].status == 200 &&
              p->requests[0].age_s >= 9 && p->requests[0].age_s < 39);
    cr_assert(!strcmp(p->requests[1].method, "PUT") && p->requests[1].phase == REQUEST_UNRECORDED);
    cr_assert_str_eq(p->requests[2].path, "/young");

    char *text = shown(&look, NULL, false), *json = shown(&look, NULL, true);
    cr_assert(strstr(text, "POST /old 200\n") && strstr(text, "PUT /left (not recorded)\n"), "%s", text);
    cr_assert(strstr(text, "107 started") && strstr(text, "2 unsent") && strstr(text, ": oldest"), "%s",
              text);
    cr_assert(strstr(text, " said 0 ms ago: nope") || strstr(text, " ms ago: nope"), "%s", text);
    cr_assert(strstr(json, "\"started\":107,") && strstr(json, "\"path\":\"/old\",\"status\":200,"), "%s",
              json);
    cr_assert(!strstr(text, "secret") && !strstr(json, "secret") && !strstr(text, "finished"));
    free(text);
    free(json);
    look_free(&look);
}

Test(look, no_mapping_is_left)
{
    unsigned before = arena_mappings(&arena);
    struct look look = look_now();
    struct sampling s;
    cr_assert_null(arena_set(&look.place, &(struct set){.tracing = SET_OFF}, &s));
    struct arena_place *places;
    places_find(&places);
    cr_assert_eq(arena_mappings(&arena), before);
    free(places);
    look_free(&look);
}

Test(look, the_dead_and_how_they_died)
{
    struct slot *s = claim(false);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    atomic_store(arena_state(&arena, 0), (uint64_t)(uint32_t)pid << 32 | SLOT_LIVE);
    atomic_store(&s->news, news_word(atomic_load(&s->epoch), NEWS_SET | SIGKILL));
    struct look look = look_now();
    cr_assert(look.processes[0].state == LOOK_DEAD && !strcmp(look.processes[0].end, "SIGKILL"));
    look_free(&look);
    atomic_store(&arena.header->liveness[0], (uint32_t)getpid()); /* the kernel's word counts for more */
    atomic_store(&s->leaving, 1);
    look = look_now();
    cr_assert_eq(look.processes[0].state, LOOK_LEAVING);
    look_free(&look);
}

Test(look, counters_of_a_freed_slot_stay)
{
    struct slot *s = claim(false);
    atomic_store(&s->counters[COUNT_EXPORTED], 5);
    slot_release(&arena, 0);
    struct look look = look_now();
    cr_assert(look.n_processes == 0 && look.totals[COUNT_EXPORTED] == 5);
    look_free(&look);
    slot_vacate(&arena, (uint32_t)slot_claim(&arena, false));
    look = look_now();
    cr_assert_eq(look.totals[COUNT_EXPORTED], 5);
    look_free(&look);
}

Test(look, rates_are_of_two_looks)
{
    struct slot *s = claim(false);
    atomic_store(&s->counters[COUNT_STARTED], 10);
    struct look before = look_now();
    atomic_store(&s->counters[COUNT_STARTED], 40);
    struct look now = look_now();
    now.at = before.at + 2;
    cr_assert_float_eq(look_rate(&before, &now, COUNT_STARTED), 15, 1e-9);
    cr_assert_eq(look_rate(NULL, &now, COUNT_STARTED), -1);
    cr_assert_lt(look_rate(&now, &before, COUNT_STARTED), 0);
    cr_assert_not_null(look_same(&before, &now.processes[0]));
    now.processes[0].epoch++; /* another process in the same place */
    cr_assert_null(look_same(&before, &now.processes[0]));
    look_free(&before);
    look_free(&now);
}

/* ---- the switch */

Test(look, the_switch)
{
    const struct arena_place place = {.id = arena.id};
    struct sampling s;
    cr_assert_null(arena_set(&place, &(struct set){.tracing = SET_OFF}, &s));
    cr_assert(s.off && !s.by_ratio && sampling_off(arena.header->sampling));
    cr_assert_null(arena_set(&place, &(struct set){.ratio_is = SET_RATIO, .ratio = 0.25}, &s));
    cr_assert(s.off && s.by_ratio && s.ratio == 0.25); /* each leaves the other as it is */
    cr_assert_null(arena_set(&place, &(struct set){.tracing = SET_ON}, &s));
    cr_assert(!s.off && s.by_ratio);
    struct look look = look_now();
    cr_assert(!look.sampling.off && look.sampling.ratio == 0.25);
    look_free(&look);
    cr_assert_null(arena_set(&place, &(struct set){.ratio_is = SET_DEFAULT}, &s));
    cr_assert(!s.off && !s.by_ratio && arena.header->sampling == 0);
    arena.header->sampling = UINT64_MAX;
    look = look_now();
    cr_assert(look.sampling_spoilt && !look.sampling.off);
    look_free(&look);
    cr_assert_null(arena_set(&place, &(struct set){.tracing = SET_OFF}, &s));
    cr_assert(s.off && !s.by_ratio && sampling_off(arena.header->sampling));
}

/* ---- what is refused */

static const char *refused(const struct arena_place *place)
{
    struct look look;
    struct sampling s;
    const char *why = look_at(&look, place);
    cr_assert_not_null(why);
    static char kept[200];
    snprintf(kept, sizeof kept, "%s", why);
    cr_assert_str_eq(arena_set(place, &(struct set){.tracing = SET_OFF}, &s), kept);
    return kept;
}

Test(look, another_layout_is_refused_with_its_version)
{
    const struct arena_place place = {.id = arena.id};
    uint64_t sampling = arena.header->sampling;
    arena.header->layout++;
    memcpy(arena.header->version, "0.0.9\033[31m", 11);
    char wanted[64];
    snprintf(wanted, sizeof wanted, "forkspan 0.0.9 (layout %u), this is", ARENA_LAYOUT + 1);
    cr_assert(strstr(refused(&place), wanted), "%s", refused(&place));
    cr_assert_null(strchr(refused(&place), '\033'));
    memset(arena.header->version, 'x', sizeof arena.header->version);
    cr_assert_not_null(strstr(refused(&place), "forkspan xxx"));
    arena.header->layout--;
    cr_assert_not_null(strstr(refused(&place), "forkspan xxx"));
    arena.header->magic++;
    cr_assert_str_eq(refused(&place), "it is not an arena of forkspan");
    cr_assert_eq(arena.header->sampling, sampling);
}

Test(look, no_arena_at_all)
{
    int id = shmget(IPC_PRIVATE, 4096, 0600);
    cr_assert_str_eq(refused(&(struct arena_place){.id = id}), "it is not an arena of forkspan");
    shmctl(id, IPC_RMID, NULL);
    cr_assert_eq(refused(&(struct arena_place){.id = id})[0], 'i');
    struct look look;
    cr_assert_eq(look_at(&look, &(struct arena_place){.id = id}), image_gone);
}

static bool found(int id)
{
    struct arena_place *places;
    size_t n = places_find(&places);
    bool is = false;
    for (size_t i = 0; i < n; i++)
        is |= places[i].id == id;
    free(places);
    return is;
}

Test(look, finding_it)
{
    cr_assert(found(arena.id));
    /* One with our word in it that is not kept as ours are is not even attached. */
    int id = shmget(IPC_PRIVATE, arena.size, 0600);
    *(uint64_t *)shmat(id, NULL, 0) = ARENA_MAGIC;
    cr_assert(!found(id));
    struct shmid_ds about;
    shmctl(id, IPC_STAT, &about);
    cr_assert_eq(about.shm_lpid, getpid());
    shmctl(id, IPC_RMID, NULL);
    cr_assert(found(id)); /* the control: marked for removal it is taken for one, and refused at the look */
    cr_assert_not_null(refused(&(struct arena_place){.id = id}));
}

Test(look, which_arena)
{
    struct arena_place p;
    cr_assert(place_read("123", &p) && p.id == 123 && !p.path);
    cr_assert(place_read("shm:7", &p) && p.id == 7);
    cr_assert(place_read("./123", &p) && !strcmp(p.path, "./123"));
    const char *const bad[] = {"", "x", "12x", "-1", "99999999999", "shm:", "arena"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert(!place_read(bad[i], &p) && strstr(complaint, bad[i]), "%s", bad[i]);
}

/* ---- in a file */

static char path[64];

static struct arena_place in_file(void)
{
    snprintf(path, sizeof path, "/tmp/look-test-%d", (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && write(fd, arena.header, arena.size) == (ssize_t)arena.size);
    close(fd);
    return (struct arena_place){.path = path};
}

Test(look, in_a_file_that_is_cut_short)
{
    struct slot *s = claim(false);
    put(s, "in the file", 1);
    begin(s, "GET", "/f", clock_ns(CLOCK_MONOTONIC), REQUEST_OPEN);
    const struct arena_place place = in_file();
    struct look look;
    struct sampling set;
    cr_assert_null(look_at(&look, &place));
    cr_assert(look.n_processes == 1 && look.processes[0].n_requests == 1 && look.maker_pid == 0);
    cr_assert_str_eq(look.processes[0].oldest, "in the file");
    look_free(&look);
    cr_assert_null(arena_set(&place, &(struct set){.tracing = SET_OFF}, &set));
    cr_assert_null(look_at(&look, &place));
    cr_assert(look.sampling.off && arena.header->sampling == 0);
    look_free(&look);

    /* Between the opening and the look. */
    struct image image;
    cr_assert_null(image_open(&image, &place));
    cr_assert_eq(truncate(path, 100), 0);
    look_into(&look, &image, 1, 1);
    cr_assert_eq(look.n_processes, 0);
    look_free(&look);
    image_close(&image);
    cr_assert_str_eq(refused(&place), "it is not an arena of forkspan");
    char link[sizeof path + 2];
    snprintf(link, sizeof link, "%s-l", path);
    cr_assert_eq(symlink(path, link), 0);
    refused(&(struct arena_place){.path = link});
    unlink(link);
    unlink(path);
    refused(&place);
}

/* ---- nothing in it is trusted */

/* One of its parts, so that the small ones get their share. */
static void spoil(char *all)
{
    static const uint64_t odd[] = {0,
                                   1,
                                   0x7f,
                                   0xffff,
                                   0x7fffffff,
                                   0x80000000,
                                   0xffffffff,
                                   UINT64_MAX,
                                   0x0000ffffffffffff,
                                   0x5a30030080000000};
    size_t slot = arena.slots_off + random64() % arena.slots * arena.slot_size, from = 0,
           size = sizeof(struct arena_header);
    switch (random64() % 5) {
    case 0:
        from = slot, size = arena.requests_off;
        break;
    case 1:
        from = slot + arena.requests_off, size = request_table_head() + 3 * sizeof(struct request);
        break;
    case 2:
        from = slot + arena.ring_off, size = sizeof(struct ring) + 64 * sizeof(struct ring_cell);
        break;
    case 3:
        from = slot + arena.ring_off, size = arena.slot_size - arena.ring_off;
        break;
    }
    uint64_t value = random64() % 2 ? random64() : odd[random64() % (sizeof odd / sizeof *odd)];
    memcpy(all + from + random64() % (size - 8) / 4 * 4, &value, random64() % 2 ? 8 : 4);
}

/* What the random words below would hit too seldom. */
Test(look, lengths_and_numbers_that_can_not_be_true)
{
    struct slot *s = claim(false);
    put(s, "a span", 1);
    struct request *good = begin(s, "GET", "/good", clock_ns(CLOCK_MONOTONIC), REQUEST_OPEN);
    struct request *bad = begin(s, "GET", "/bad", clock_ns(CLOCK_MONOTONIC), REQUEST_OPEN);
    bad->target_len = sizeof bad->target + 1;
    begin(s, "GET", "/bad", clock_ns(CLOCK_MONOTONIC), 77);
    s->report.state = 9;
    s->report.said_ns = UINT64_MAX; /* of a time to come */
    s->report.said_len = UINT32_MAX;
    memset(s->report.said, 'x', sizeof s->report.said);
    s->consumer = UINT64_MAX;
    struct look look = look_now();
    const struct look_process *p = &look.processes[0];
    cr_assert(p->n_requests == 1 && !strcmp(p->requests[0].path, "/good"));
    cr_assert(p->exporter == EXPORTER_UNOPENED && p->said_s == 0 && strlen(p->said) == sizeof s->report.said);
    cr_assert(p->queued == 1 && !p->spoilt && p->emptied_by == 0);
    look_free(&look);

    struct ring *r = slot_ring(&arena, s);
    struct ring_cell *cells = (struct ring_cell *)(r + 1);
    cells[at_number(r->tail) & (arena.shape.cells - 1)].len = UINT32_MAX;
    good->method_len = sizeof good->method + 1;
    look = look_now();
    cr_assert(look.processes[0].n_requests == 0 && look.processes[0].queued == 1 &&
              look.processes[0].oldest_s < 0);
    look_free(&look);
    r->head = at_make(at_number(r->tail) + arena.shape.cells + 1, 0);
    look = look_now();
    cr_assert(look.processes[0].spoilt && look.processes[0].queued == 0);
    look_free(&look);
}

Test(look, written_over, .timeout = 120)
{
    for (int i = 0; i < 2; i++) {
        struct slot *s = claim(false);
        for (int n = 0; n < 20; n++)
            put(s, "span", 1);
        for (int n = 0; n < 3; n++)
            begin(s, "GET", "/x?y", clock_ns(CLOCK_MONOTONIC), REQUEST_OPEN);
        s->report.said_ns = 1;
    }
    /* At the end of what may be read: one byte too far is the end of us. */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, arena.size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_eq(mprotect(memory + arena.size, page, PROT_NONE), 0);
    unsigned looked = 0, refused_ones = 0;
    struct look before = look_now();
    for (int round = 0; round < 60; round++) {
        memcpy(memory, arena.header, arena.size);
        for (int n = 0; n < 60; n++) {
            for (uint64_t k = random64() % 4; k < 4; k++)
                spoil(memory);
            if (random64() % 4)
                memcpy(memory, arena.header,
                       offsetof(struct arena_header, user)); /* so that it is not refused each time */
            struct image image;
            if (image_over(&image, memory, arena.size)) {
                refused_ones++;
                continue;
            }
            struct look look;
            look_into(&look, &image, random64(), random64());
            char *text = shown(&look, &before, false), *json = shown(&look, &before, true);
            cr_assert(text && json && json[strlen(json) - 1] == '}');
            for (const char *p = text; *p; p++)
                cr_assert(*p == '\n' || (unsigned char)*p >= 0x20);
            free(text);
            free(json);
            look_free(&look);
            image_close(&image);
            looked++;
        }
    }
    cr_assert(looked > 1000 && refused_ones > 0, "%u looked into, %u refused", looked, refused_ones);
    look_free(&before);
}

/* ---- texts */

static const char *written(void (*how)(FILE *, const char *), const char *text)
{
    static char out[200];
    FILE *to = fmemopen(out, sizeof out, "w");
    how(to, text);
    fclose(to);
    return out;
}

Test(show, nothing_reaches_a_terminal_but_text)
{
    cr_assert_str_eq(written(show_text, "/a b\xc3\xa4"), "/a b\xc3\xa4");
    cr_assert_str_eq(written(show_text, "\033[2J\r\n\t\x7f"), "?[2J????");
    cr_assert_str_eq(written(show_text, "\xc2\x9b\xff\xc3"),
                     "???"); /* CSI of ISO 6429, and what is no UTF-8 */
}

Test(show, json_strings)
{
    cr_assert_str_eq(written(show_json_text, "a\"b\\c\n\xc3\xa4\x7f"),
                     "\"a\\\"b\\\\c\\u000a\xc3\xa4\\u007f\"");
    cr_assert_str_eq(written(show_json_text, "\xff\xed\xa0\x80."), "\"\\ufffd\\ufffd\\ufffd\\ufffd.\"");
}

Test(show, ages)
{
    static const struct {
        double s;
        const char *text;
    } table[] = {{-1, "-"},          {0, "0 ms"},       {0.0124, "12 ms"}, {0.999, "999 ms"},
                 {0.9996, "999 ms"}, {12.34, "12.3 s"}, {59.99, "59.9 s"}, {60, "1 min"},
                 {3599, "59 min"},   {3600, "1 h"},     {86399, "23 h"},   {86400, "1 d"},
                 {1e7, "115 d"}};
    char room[AGE_ROOM];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_assert_str_eq(show_age(table[i].s, room), table[i].text, "%f: %s", table[i].s, room);
    cr_assert_lt(strlen(show_age(1e300, room)), sizeof room);
    cr_assert_lt(strlen(show_age(1.8446744073709552e10, room)), sizeof room);
}

Test(show, every_counter_has_a_name)
{
    for (int c = 0; c < COUNTERS; c++)
        cr_assert(counter_names[c] && *counter_names[c], "%d", c);
}
