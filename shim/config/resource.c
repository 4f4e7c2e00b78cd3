/* SPDX-License-Identifier: Apache-2.0 */
#include "config/resource.h"
#include "config/container.h"
#include "next.h"
#include "span/encode.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* KeyValue is field 9 of a Span and field 1 of a Resource: the same bytes behind another tag. */
static void put(struct wire *w, const struct config *config, const char *key, const char *value, size_t len)
{
    for (size_t i = 0; i < config->n_resource; i++)
        if (strcmp(config->resource[i].key, key) == 0)
            return; /* the user's own word */
    uint8_t *start = w->p;
    wire_key_string(w, key, (const uint8_t *)value, len);
    if (!w->over)
        *start = 0x0a;
}

static void put_text(struct wire *w, const struct config *config, const char *key, const char *value)
{
    if (value[0])
        put(w, config, key, value, strlen(value));
}

/* The first line of a small file. */
static size_t read_line(const char *path, char *out, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = __read(fd, out, room - 1);
    __close(fd);
    out[n > 0 ? n : 0] = '\0';
    size_t len = strcspn(out, "\n");
    out[len] = '\0';
    return len;
}

static void service(struct wire *w, const struct config *config, const char *executable)
{
    char name[80];
    const char *given = config->service_name;
    for (size_t i = 0; !given && i < config->n_resource; i++)
        if (strcmp(config->resource[i].key, "service.name") == 0)
            given = config->resource[i].value;
    if (!given) {
        snprintf(name, sizeof name, "unknown_service%s%.60s", executable[0] ? ":" : "", executable);
        given = name;
    }
    uint8_t *start = w->p; /* OTEL_SERVICE_NAME is above the attribute of the same name */
    wire_key_string(w, "service.name", (const uint8_t *)given, strlen(given));
    if (!w->over)
        *start = 0x0a;
    uint8_t r[16];
    if (getrandom(r, sizeof r, 0) == sizeof r) {
        r[6] = (r[6] & 0x0f) | 0x40;
        r[8] = (r[8] & 0x3f) | 0x80;
        char id[37];
        snprintf(id, sizeof id, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0],
                 r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
                 r[15]);
        put_text(w, config, "service.instance.id", id);
    }
}

/* The user's name by /etc/passwd, without the libraries that getpwuid() loads. Looked up for each process: a
 * worker that dropped its rights is another's. */
static void owner(struct wire *w, const struct config *config)
{
    static char text[4096];
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    char wanted[16];
    snprintf(wanted, sizeof wanted, "%u", (unsigned)geteuid());
    size_t have = 0;
    for (ssize_t n; (n = __read(fd, text + have, sizeof text - 1 - have)) > 0;) {
        have += (size_t)n;
        text[have] = '\0';
        char *line = text;
        for (char *end; (end = strchr(line, '\n')); line = end + 1) {
            *end = '\0';
            char *password = strchr(line, ':'), *id = password ? strchr(password + 1, ':') : NULL;
            if (id && strncmp(id + 1, wanted, strlen(wanted)) == 0 && id[1 + strlen(wanted)] == ':') {
                *password = '\0';
                put_text(w, config, "process.owner", line);
                __close(fd);
                return;
            }
        }
        have = strlen(line);
        memmove(text, line, have);
        if (have == sizeof text - 1)
            have = 0; /* no such line is longer than that */
    }
    __close(fd);
}

/* As gmtime_r and strftime would: but those take the lock of the time zone, which in the child of a raw fork
 * may have been held by a thread that is not here. `ms` since 1970. */
static void utc_text(char text[32], long long ms)
{
    unsigned seconds = (unsigned)(ms / 1000 % 86400), days = (unsigned)(ms / 86400000) + 719468;
    /* years from March, in eras of 400 */
    unsigned era = days / 146097, of_era = days % 146097;
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    unsigned day = of_year - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    year += era * 400 + (month <= 2);
    snprintf(text, 32, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year % 10000, month, day, seconds / 3600 % 24,
             seconds / 60 % 60, seconds % 60, (unsigned)(ms % 1000));
}

static void process(struct wire *w, const struct config *config, const char *path, const char *executable)
{
    put_text(w, config, "process.executable.name", executable);
    put_text(w, config, "process.executable.path", path);
    static char text[200]; /* the caller holds the claim: one thread */
    read_line("/proc/self/cmdline", text, sizeof text);
    put_text(w, config, "process.command", text);
    uint8_t *start = w->p;
    wire_key_int(w, "process.pid", getpid());
    if (!w->over)
        *start = 0x0a;
    /* field 22 of stat counts from boot; now minus the time since boot is when that was */
    static char stat[400];
    read_line("/proc/self/stat", stat, sizeof stat);
    const char *s = strrchr(stat, ')');
    for (int field = 2; s && field < 22; field++)
        s = strchr(s + 1, ' ');
    unsigned long long ticks = 0;
    if (s && (ticks = strtoull(s, NULL, 10)) != 0) {
        struct timespec now, up;
        clock_gettime(CLOCK_REALTIME, &now);
        clock_gettime(CLOCK_BOOTTIME, &up);
        long long ms = ((long long)now.tv_sec - up.tv_sec) * 1000 + (now.tv_nsec - up.tv_nsec) / 1000000 +
                       (long long)(ticks * 1000 / (unsigned long)sysconf(_SC_CLK_TCK));
        if (ms >= 0) {
            utc_text(text, ms);
            put_text(w, config, "process.creation.time", text);
        }
    }
}

static void host(struct wire *w, const struct config *config)
{
    static struct utsname u;
    char text[80];
    if (uname(&u) == 0) {
        put_text(w, config, "host.name", u.nodename);
        put_text(w, config, "host.arch",
                 strcmp(u.machine, "x86_64") == 0    ? "amd64"
                 : strcmp(u.machine, "aarch64") == 0 ? "arm64"
                                                     : u.machine);
    }
    char id[CONTAINER_ID + 1];
    if (container_id(id)) /* whose host a container runs on is not its to know */
        put_text(w, config, "container.id", id);
    else if (read_line("/etc/machine-id", text, sizeof text) ||
             read_line("/var/lib/dbus/machine-id", text, sizeof text))
        put_text(w, config, "host.id", text);
    put_text(w, config, "os.type", "linux");
}

size_t resource_encode(const struct config *config, uint8_t *out, size_t room)
{
    struct wire w = {.p = out, .end = out + room};
    static char path[200];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *slash = strrchr(path, '/'), *executable = slash ? slash + 1 : path;

    service(&w, config, executable);
    put_text(&w, config, "telemetry.sdk.name", "forkspan");
    put_text(&w, config, "telemetry.sdk.language", "c");
    put_text(&w, config, "telemetry.sdk.version", FORKSPAN_VERSION);
    put_text(&w, config, "telemetry.distro.name", "forkspan");
    put_text(&w, config, "telemetry.distro.version", FORKSPAN_VERSION);
    process(&w, config, path, executable);
    owner(&w, config);
    host(&w, config);
    for (size_t i = 0; i < config->n_resource; i++) {
        if (strcmp(config->resource[i].key, "service.name") == 0)
            continue;
        uint8_t *start = w.p;
        wire_key_string(&w, config->resource[i].key, (const uint8_t *)config->resource[i].value,
                        strlen(config->resource[i].value));
        if (!w.over)
            *start = 0x0a;
    }
    return w.over ? 0 : (size_t)(w.p - out);
}
