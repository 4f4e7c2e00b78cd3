/* SPDX-License-Identifier: Apache-2.0
 * loader.h - finding and opening forkspan-exporter.so.
 */
#ifndef FORKSPAN_BATCH_LOADER_H
#define FORKSPAN_BATCH_LOADER_H

#include "config/config.h"

/* Opens the exporter once a process tree: at listen(), while nothing else of ours runs, else by the batch
 * thread where a fork waits for it. Logged and NULL when it can not be opened, and then not tried again. */
const struct exporter_ops *loader_open(const struct config *config, const struct exporter_host *host,
                                       struct exporter **exporter);
/* The .log of each host: a line of the exporter's into our log. */
void loader_log(void *ctx, int level, const char *line);
/* For a program that is not libforkspan.so: where the exporter is. Before loader_open. */
void loader_at(const char *exporter);
/* In a child: closes its copies of the parent's connection, forgets the rest. At the fork where it is seen,
 * and again before the first use. Handler-safe. */
void loader_after_fork_child(void);

#endif
