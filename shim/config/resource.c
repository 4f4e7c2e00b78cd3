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

/* So much of a slot's room for it is left for what each process has of its own. */
enum { RESOURCE_LASTING = 7680 };

/* KeyValue is field 9 of a Span and field 1 of a Resource: the same bytes behind another tag. */
static void put(struct wire *w, const struct config *config, const char *key, const char *value, size_t len)
{
    for (size_t i = 0; i < config->n_resource; i++)
        if (strcmp(config->resource[i].key, key) == 0)
            return; /* the user's own word */
    uint8_t *start = w->p;
    wire_key_string(w, key, strlen(key), (const uint8_t *)value, len);
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
    wire_key_string(w, WIRE_KEY("service.name"), (const uint8_t *)given, strlen(given));
    if (!w->over)
        *start = 0x0a;
}

static void instance(struct wire *w, const struct config *config)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t r[16];
    char id[37], *p = id;
    if (getrandom(r, sizeof r, 0) != sizeof r)
        return;
    r[6] = (r[6] & 0x0f) | 0x40;
    r[8] = (r[8] & 0x3f) | 0x80;
    for (size_t i = 0; i < sizeof r; i++) {
        if (i >= 4 && i <= 10 && i % 2 == 0)
            *p++ = '-';
        *p++ = digits[r[i] >> 4];
        *p++ = digits[r[i] & 15];
    }
    *p = '\0';
    put_text(w, config, "service.instance.id", id);
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

/* Milliseconds since 1970 as RFC 3339 has them. libc's gmtime_r reads /etc/localtime, with malloc, and this
 * may be in a signal handler. Years begin in March here, so that a leap day is the last of its year. */
static void utc(char *out, size_t size, unsigned long long ms)
{
    enum { MS_A_DAY = 86400000, DAYS_TO_1970 = 719468, DAYS_400_YEARS = 146097 };
    unsigned ms_of_day = (unsigned)(ms % MS_A_DAY), days = (unsigned)(ms / MS_A_DAY) + DAYS_TO_1970;
    unsigned day = days % DAYS_400_YEARS;
    unsigned year = (day - day / 1460 + day / 36524 - day / (DAYS_400_YEARS - 1)) / 365;
    day -= 365 * year + year / 4 - year / 100;
    unsigned month = (5 * day + 2) / 153; /* 0 is March */
    day -= (153 * month + 2) / 5;
    month = month < 10 ? month + 3 : month - 9;
    year += days / DAYS_400_YEARS * 400 + (month <= 2);
    snprintf(out, size, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year, month, day + 1, ms_of_day / 3600000,
             ms_of_day / 60000 % 60, ms_of_day / 1000 % 60, ms_of_day % 1000);
}

static void program(struct wire *w, const struct config *config, const char *path, const char *executable)
{
    put_text(w, config, "process.executable.name", executable);
    put_text(w, config, "process.executable.path", path);
    static char text[200];
    read_line("/proc/self/cmdline", text, sizeof text);
    put_text(w, config, "process.command", text);
}

static void created(struct wire *w, const struct config *config, uint64_t ticks)
{
    /* ticks count from boot; now minus the time since boot is when that was */
    struct timespec now, up;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    long long ms = ((long long)now.tv_sec - up.tv_sec) * 1000 + (now.tv_nsec - up.tv_nsec) / 1000000 +
                   (long long)(ticks * 1000 / (unsigned long)sysconf(_SC_CLK_TCK));
    if (ms <= 0)
        return;
    char text[40];
    utc(text, sizeof text, (unsigned long long)ms);
    put_text(w, config, "process.creation.time", text);
}

static void host_name(struct wire *w, const struct config *config)
{
    struct utsname u; /* 390 bytes; a static one's page is copied in each worker */
    if (uname(&u) == 0)
        put_text(w, config, "host.name", u.nodename);
}

static void host(struct wire *w, const struct config *config)
{
    static struct utsname u;
    char text[80];
    if (uname(&u) == 0)
        put_text(w, config, "host.arch",
                 strcmp(u.machine, "x86_64") == 0    ? "amd64"
                 : strcmp(u.machine, "aarch64") == 0 ? "arm64"
                                                     : u.machine);
    char id[CONTAINER_ID + 1];
    if (container_id(id)) /* whose host a container runs on is not its to know */
        put_text(w, config, "container.id", id);
    else if (read_line("/etc/machine-id", text, sizeof text) ||
             read_line("/var/lib/dbus/machine-id", text, sizeof text))
        put_text(w, config, "host.id", text);
    put_text(w, config, "os.type", "linux");
}

/* What is the same for a process and those forked from it. */
static struct {
    const struct config *config; /* whose it is; NULL: not made */
    size_t len;
    uint8_t bytes[RESOURCE_LASTING];
} lasting;

void resource_prepare(const struct config *config)
{
    if (lasting.config == config)
        return;
    struct wire w = {.p = lasting.bytes, .end = lasting.bytes + sizeof lasting.bytes};
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
    program(&w, config, path, executable);
    host(&w, config);
    for (size_t i = 0; i < config->n_resource; i++) {
        if (strcmp(config->resource[i].key, "service.name") == 0)
            continue;
        uint8_t *start = w.p;
        wire_key_string(&w, config->resource[i].key, strlen(config->resource[i].key),
                        (const uint8_t *)config->resource[i].value, strlen(config->resource[i].value));
        if (!w.over)
            *start = 0x0a;
    }
    lasting.len = w.over ? 0 : (size_t)(w.p - lasting.bytes);
    lasting.config = config;
}

size_t resource_encode(const struct config *config, uint8_t *out, size_t room)
{
    resource_prepare(config);
    if (lasting.len == 0 || lasting.len > room)
        return 0;
    memcpy(out, lasting.bytes, lasting.len);
    struct wire w = {.p = out + lasting.len, .end = out + room};
    instance(&w, config);
    uint8_t *start = w.p;
    wire_key_int(&w, WIRE_KEY("process.pid"), getpid());
    if (!w.over)
        *start = 0x0a;
    host_name(&w, config);
    return w.over ? 0 : (size_t)(w.p - out);
}

size_t resource_complete(const struct config *config, uint8_t *out, size_t len, size_t room, uint64_t ticks)
{
    struct wire w = {.p = out + len, .end = out + room};
    if (len == 0)
        return 0;
    owner(&w, config);
    if (ticks)
        created(&w, config, ticks);
    return w.over ? len : (size_t)(w.p - out);
}
