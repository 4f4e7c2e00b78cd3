/* SPDX-License-Identifier: Apache-2.0 */
#include "next.h"

#include <dlfcn.h>
#include <errno.h>

#define NEXT_NAME(name, ret, args) #name,
static const char *const names[NEXT_COUNT] = {NEXT_LIST(NEXT_NAME)};
#undef NEXT_NAME

void *_Atomic next_table[NEXT_COUNT];

void *next_resolve(enum next_id id)
{
    int keep = errno;
    void *found = dlsym(RTLD_NEXT, names[id]);
    next_table[id] = found;
    errno = keep;
    return found;
}

void next_resolve_all(void)
{
    for (int id = 0; id < NEXT_COUNT; id++)
        if (!next_table[id])
            next_resolve((enum next_id)id);
}
