/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/loader.h"
#include "log.h"

#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static const struct exporter_ops *ops;
static struct exporter *opened;
static bool tried;
static const char *given;

/* Where the exporter lies, seen from the preload: installed, and in a build tree. */
static const char *const places[] = {"/forkspan/forkspan-exporter.so", "/../exporter/forkspan-exporter.so",
                                     "/../../exporter/forkspan-exporter.so"};

/* A page of its own: too large for the small frames of this room. */
static char path[PATH_MAX];

static void *open_at(const char *name)
{
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        log_error("the exporter can not be opened: %s", dlerror());
    return library;
}

void loader_at(const char *exporter)
{
    given = exporter;
}

static void *open_library(void)
{
    if (given)
        return open_at(given);
    Dl_info self;
    if (!dladdr((void *)loader_open, &self) || !self.dli_fname)
        return NULL;
    const char *slash = strrchr(self.dli_fname, '/');
    size_t dir = slash ? (size_t)(slash - self.dli_fname) : 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (dir + strlen(places[i]) + 1 > sizeof path)
            continue;
        memcpy(path, self.dli_fname, dir);
        strcpy(path + dir, places[i]);
        if (access(path, R_OK) != 0)
            continue;
        return open_at(path);
    }
    log_error("forkspan-exporter.so is not beside libforkspan.so: no span is exported");
    return NULL;
}

const struct exporter_ops *loader_open(const struct config *config, const struct exporter_host *host,
                                       struct exporter **exporter)
{
    if (!tried) {
        tried = true;
        void *library = open_library();
        const struct exporter_ops *found = library ? dlsym(library, "forkspan_exporter_ops") : NULL;
        if (found && (found->abi != EXPORTER_ABI || strcmp(found->version, FORKSPAN_VERSION) != 0))
            log_error(
                "forkspan-exporter.so is of another version than libforkspan.so (%s): no span is exported",
                FORKSPAN_VERSION);
        else if (found && (opened = found->open(&config->exporter, host)))
            ops = found;
    } else if (ops && host->wait) {
        /* a host that can not wait is for opening: one that listens later must not take the batch thread's */
        ops->set_host(opened, host);
    }
    *exporter = opened;
    return ops;
}

void loader_after_fork_child(void)
{
    if (ops)
        ops->after_fork_child(opened);
}
