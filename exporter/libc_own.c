/* SPDX-License-Identifier: Apache-2.0
 * libc_own.c - functions of libc that allocate, or take a lock that an allocation happens under, in a form of
 * our own (hidden, as memory.c): what they return is freed by our free(), and they wait for nobody.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

char *strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *p = malloc(size);
    return p ? memcpy(p, s, size) : NULL;
}

int asprintf(char **out, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    *out = n < 0 ? NULL : malloc((size_t)n + 1);
    if (!*out)
        return -1;
    va_start(ap, format);
    n = vsnprintf(*out, (size_t)n + 1, format, ap);
    va_end(ap);
    return n;
}

/* glibc's sorts more than a kilobyte in memory from malloc. A heap sort needs none. */
static void sift(char *base, size_t root, size_t n, size_t size, int (*compare)(const void *, const void *))
{
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && compare(base + child * size, base + (child + 1) * size) < 0)
            child++;
        char *a = base + root * size, *b = base + child * size;
        if (compare(a, b) >= 0)
            return;
        for (size_t i = 0; i < size; i++) {
            char keep = a[i];
            a[i] = b[i];
            b[i] = keep;
        }
    }
}

void qsort(void *array, size_t n, size_t size, int (*compare)(const void *, const void *))
{
    char *base = array;
    for (size_t root = n / 2; root-- > 0;)
        sift(base, root, n, size, compare);
    for (size_t end = n; end-- > 1;) {
        for (size_t i = 0; i < size; i++) {
            char keep = base[i];
            base[i] = base[end * size + i];
            base[end * size + i] = keep;
        }
        sift(base, 0, end, size, compare);
    }
}

/* glibc's may read the time zone, under a lock, into memory from malloc; certificates want no zone. */
struct tm *gmtime_r(const time_t *when, struct tm *out)
{
    long long days = *when / 86400, left = *when % 86400;
    if (left < 0) {
        left += 86400;
        days--;
    }
    *out = (struct tm){
        .tm_hour = (int)(left / 3600), .tm_min = (int)(left / 60 % 60), .tm_sec = (int)(left % 60)};
    out->tm_wday = (int)(((days + 4) % 7 + 7) % 7);
    /* years from March, in eras of 400 */
    days += 719468;
    long long era = (days >= 0 ? days : days - 146096) / 146097;
    int of_era = (int)(days - era * 146097);
    int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (5 * of_year + 2) / 153;
    out->tm_mday = of_year - (153 * month + 2) / 5 + 1;
    out->tm_mon = month < 10 ? month + 2 : month - 10;
    long long full = year + era * 400 + (out->tm_mon <= 1);
    out->tm_year = (int)(full - 1900);
    static const short before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int leap = (full % 4 == 0 && full % 100 != 0) || full % 400 == 0;
    out->tm_yday = before[out->tm_mon] + out->tm_mday - 1 + (out->tm_mon > 1 && leap);
    return out;
}

/* glibc's looks for a translation. */
int __xpg_strerror_r(int number, char *out, size_t room);
int __xpg_strerror_r(int number, char *out, size_t room)
{
    static const struct {
        int number;
        const char *text;
    } known[] = {{EBADF, "closed by this process"}, {EPIPE, "closed by the peer"},
                 {ECONNRESET, "reset by the peer"}, {ECONNREFUSED, "refused"},
                 {ETIMEDOUT, "timed out"},          {EHOSTUNREACH, "no route to the host"},
                 {ENETUNREACH, "no such network"},  {EACCES, "not permitted"},
                 {EPERM, "not permitted"},          {ENOENT, "no such file"},
                 {EMFILE, "too many open files"},   {EADDRNOTAVAIL, "no address to send from"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].number == number) {
            snprintf(out, room, "%s", known[i].text);
            return 0;
        }
    snprintf(out, room, "error %d", number);
    return 0;
}
