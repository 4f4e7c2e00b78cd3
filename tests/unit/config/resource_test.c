/* SPDX-License-Identifier: Apache-2.0 */
#include "config/container.h"
#include "config/resource.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static bool cgroup(const char *text, char id[CONTAINER_ID + 1])
{
    return container_in_cgroup(text, strlen(text), id);
}

static bool mounts(const char *text, char id[CONTAINER_ID + 1])
{
    return container_in_mountinfo(text, strlen(text), id);
}

Test(container, cgroup_v1)
{
    char id[CONTAINER_ID + 1];
    cr_assert(cgroup("12:pids:/docker/" ID "\n", id));
    cr_assert_str_eq(id, ID);
    cr_assert(cgroup("1:name=systemd:/kubepods.slice/kubepods-pod1.slice/cri-containerd-" ID ".scope", id));
    cr_assert_str_eq(id, ID);
    cr_assert(cgroup("3:cpu:/\n2:memory:/system.slice/docker-" ID ".scope\n", id));
    cr_assert_not(cgroup("0::/\n", id));
    cr_assert_not(cgroup("1:cpu:/user.slice/session-1.scope\n", id));
    cr_assert_not(cgroup("1:cpu:/docker/" ID "0\n", id), "65 digits are something else");
    cr_assert_not(cgroup("1:cpu:/" ID "/init.scope\n", id), "not the last part of the path");
}

Test(container, cgroup_v2_by_its_mounts)
{
    char id[CONTAINER_ID + 1];
    cr_assert(mounts("1 2 0:1 / / rw - overlay overlay rw\n3 4 8:1 /var/lib/docker/containers/" ID
                     "/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n",
                     id));
    cr_assert_str_eq(id, ID);
    cr_assert(mounts("3 4 8:1 /var/lib/containers/storage/overlay-containers/" ID
                     "/userdata/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n",
                     id));
    cr_assert_not(mounts("3 4 8:1 /var/lib/docker/containers/short/hostname /etc/hostname rw\n", id));
    cr_assert_not(mounts("1 2 8:1 / / rw\n", id));
}

static void ignore(const char *line)
{
    (void)line;
}

/* The value of a string attribute, from its bytes; NULL if there is none. */
static const char *attribute(const uint8_t *p, size_t len, const char *key, char out[256])
{
    char wanted[64];
    int n = snprintf(wanted, sizeof wanted, "\n%c%s\x12", (char)strlen(key), key);
    const uint8_t *at = memmem(p, len, wanted, (size_t)n);
    if (!at)
        return NULL;
    at += n; /* length of the AnyValue, maybe padded; then 0x0a, length, bytes */
    while (*at & 0x80)
        at++;
    at++;
    if (*at++ != 0x0a)
        return NULL;
    size_t size = 0;
    for (unsigned shift = 0;; shift += 7) {
        size |= (size_t)(*at & 0x7f) << shift;
        if (!(*at++ & 0x80))
            break;
    }
    snprintf(out, 256, "%.*s", (int)size, (const char *)at);
    return out;
}

static uint8_t bytes[8192];

/* Field 22 of its stat. */
static uint64_t born(void)
{
    unsigned long long ticks = 0;
    FILE *f = fopen("/proc/self/stat", "re");
    cr_assert(f &&
              fscanf(f,
                     "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                     "%*d %llu",
                     &ticks) == 1);
    fclose(f);
    return ticks;
}

static size_t encode(char **env)
{
    const struct config *config = config_parse(env, ignore);
    size_t len = resource_encode(config, bytes, sizeof bytes);
    return resource_complete(config, bytes, len, sizeof bytes, born());
}

Test(resource, what_it_holds)
{
    char *env[] = {(char *)"OTEL_SERVICE_NAME=shop",
                   (char *)"OTEL_RESOURCE_ATTRIBUTES=service.name=other,deployment.environment.name=x", NULL};
    size_t len = encode(env);
    char v[256];
    cr_assert_gt(len, 0);
    cr_assert_str_eq(attribute(bytes, len, "service.name", v), "shop");
    cr_assert_str_eq(attribute(bytes, len, "deployment.environment.name", v), "x");
    cr_assert_str_eq(attribute(bytes, len, "telemetry.sdk.name", v), "forkspan");
    cr_assert_str_eq(attribute(bytes, len, "telemetry.sdk.language", v), "c");
    cr_assert_str_eq(attribute(bytes, len, "telemetry.sdk.version", v), FORKSPAN_VERSION);
    cr_assert_str_eq(attribute(bytes, len, "telemetry.distro.name", v), "forkspan");
    cr_assert_str_eq(attribute(bytes, len, "os.type", v), "linux");
    cr_assert_not_null(attribute(bytes, len, "host.name", v));
    cr_assert_not_null(attribute(bytes, len, "process.creation.time", v));
    struct tm tm = {0};
    char again[64] = "";
    const char *rest = strptime(v, "%Y-%m-%dT%H:%M:%S", &tm);
    cr_assert_not_null(rest, "%s", v);
    time_t born = timegm(&tm), now = time(NULL);
    cr_assert(born <= now && born > now - 600, "%s is not when this process began", v);
    strftime(again, sizeof again, "%Y-%m-%dT%H:%M:%S", gmtime(&born)); /* libc's, of the same second */
    cr_assert_eq(strncmp(again, v, strlen(again)), 0, "%s is %s", v, again);
    cr_assert(rest[0] == '.' && strlen(rest) == 5 && rest[4] == 'Z', "%s", v);
    cr_assert_not_null(attribute(bytes, len, "process.executable.path", v));
    cr_assert_null(attribute(bytes, len, "process.command_line", v), "it may hold secrets");
    cr_assert_null(attribute(bytes, len, "process.command_args", v));
    if (geteuid() == 0)
        cr_assert_str_eq(attribute(bytes, len, "process.owner", v), "root");
    cr_assert_eq(
        attribute(bytes, len, "host.id", v) != NULL && attribute(bytes, len, "container.id", v) != NULL, 0);
}

Test(resource, a_service_without_a_name)
{
    char *env[] = {NULL};
    size_t len = encode(env);
    char v[256];
    cr_assert_str_eq(attribute(bytes, len, "service.name", v), "unknown_service:test-config");
}

/* edge case 14 */
Test(resource, a_process_has_an_id_of_its_own)
{
    char *env[] = {NULL}, *fixed[] = {(char *)"OTEL_RESOURCE_ATTRIBUTES=service.instance.id=mine", NULL};
    char first[256], v[256];
    size_t len = encode(env);
    cr_assert_eq(strlen(attribute(bytes, len, "service.instance.id", first)), 36);
    cr_assert_eq(first[14], '4');
    int p[2];
    cr_assert_eq(pipe(p), 0);
    pid_t child = fork();
    if (child == 0) {
        len = encode(env);
        attribute(bytes, len, "service.instance.id", v);
        _exit(write(p[1], v, 37) == 37 ? 0 : 1);
    }
    cr_assert_eq(read(p[0], v, 37), 37);
    waitpid(child, NULL, 0);
    cr_assert_str_neq(first, v);
    len = encode(fixed);
    cr_assert_str_eq(attribute(bytes, len, "service.instance.id", v), "mine", "what the user fixed stays");
}

Test(resource, after_a_drop_of_rights_it_has_another_owner)
{
    if (geteuid() != 0)
        cr_skip("needs root");
    char *env[] = {NULL};
    pid_t child = fork();
    if (child == 0) {
        char v[256];
        if (setgid(65534) || setuid(65534))
            _exit(2);
        size_t len = encode(env);
        const char *owner = attribute(bytes, len, "process.owner", v);
        _exit(owner && strcmp(owner, "nobody") == 0 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
}
