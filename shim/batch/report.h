/* SPDX-License-Identifier: Apache-2.0
 * report.h - what a consumer says of its exporter in its slot, for `forkspan status`.
 *
 * All but report_to() and report_forget(): the consumer's thread. Nothing here waits or allocates. The reader
 * is another program, which takes it as it finds it.
 */
#ifndef FORKSPAN_BATCH_REPORT_H
#define FORKSPAN_BATCH_REPORT_H

#include "arena/arena.h"
#include "exporter.h"

/* Before the exporter is opened: from here on `slot` is told. The endpoint's name never gets there. */
void report_to(struct slot *slot, const struct config *config);
/* In a child: the slot is the parent's. */
void report_forget(void);
void report_opened(bool opened);
void report_begun(void);
void report_ended(enum export_result result);
/* A line for the user's log, of severity `level` (exporter.h): errors and warnings are kept, the last one. */
void report_said(int level, const char *line);

#endif
