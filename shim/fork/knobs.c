/* SPDX-License-Identifier: Apache-2.0
 * knobs.c - only in builds with -Dtest_knobs=true.
 */
#include "fork/knobs.h"

#include <stdint.h>
#include <string.h>

#define KNOB_NAME(name) #name,
static const char *const names[KNOB_COUNT] = {KNOBS(KNOB_NAME)};

static uint64_t off;

void knobs_init(char **environ_now)
{
    static const char variable[] = "FORKSPAN_TEST_OFF=";
    for (char **e = environ_now; e && *e; e++) {
        if (strncmp(*e, variable, sizeof variable - 1) != 0)
            continue;
        for (const char *list = *e + sizeof variable - 1; *list;) {
            size_t n = strcspn(list, ",");
            for (unsigned i = 0; i < KNOB_COUNT; i++)
                if (strlen(names[i]) == n && strncmp(list, names[i], n) == 0)
                    off |= UINT64_C(1) << i;
            list += n + (list[n] == ',');
        }
    }
}

bool knob_off(enum knob k)
{
    return off >> k & 1;
}
