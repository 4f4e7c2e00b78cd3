/* SPDX-License-Identifier: Apache-2.0
 * counts.c - what becomes of spans while the receiver is at fault: reads commands from standard input, a line
 * each.
 *
 *   make N    starts and ends N spans, and prints "counts started S queued Q exported E dropped D failed F
 * rss KIB" counts    prints that flush MS  flushes, at most so long, and prints "flushed 0|1"
 */
#include "process.h"
#include "span/span.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long rss_kib(void)
{
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

static void show(void)
{
    printf("counts started %lu queued %lu exported %lu dropped %lu failed %lu rss %lu\n",
           (unsigned long)process_counted(COUNT_STARTED), (unsigned long)process_counted(COUNT_QUEUED),
           (unsigned long)process_counted(COUNT_EXPORTED), (unsigned long)process_counted(COUNT_DROPPED),
           (unsigned long)process_counted(COUNT_FAILED), rss_kib());
}

int main(void)
{
    if (!process_serves(false))
        return 3;
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        unsigned long n = strtoul(line + strcspn(line, " \n"), NULL, 10);
        if (strncmp(line, "make ", 5) == 0) {
            for (unsigned long i = 0; i < n; i++) {
                struct span *s = span_start("chaos", SPAN_SERVER, NULL);
                span_set_string(s, "text", "................................................", 48);
                span_end(s);
                if (i % 64 == 63)
                    usleep(500);
            }
            show();
        } else if (strncmp(line, "flush ", 6) == 0) {
            printf("flushed %d\n", process_flush((uint32_t)n));
        } else {
            show();
        }
        fflush(stdout);
    }
    return 0;
}
