/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/loader.h"
#include "batch/beside.h"
#include "batch/report.h"
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
    if (beside(places, sizeof places / sizeof *places, R_OK, path))
        return open_at(path);
    log_error("forkspan-exporter.so is not beside libforkspan.so: no span is exported");
    return NULL;
}

void loader_log(void *ctx, int level, const char *line)
{
    (void)ctx;
    log_line((enum log_level)(level + 1), "%s", line);
    report_said(level, line);
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
