/* SPDX-License-Identifier: Apache-2.0
 * nest.h - a request's own span takes the place of its caller's in the traceparent that the application is
 * about to read, so that what the application traces becomes a child of it.
 */
#ifndef FORKSPAN_IO_NEST_H
#define FORKSPAN_IO_NEST_H

#include "span/context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `head` is a whole request head of n bytes, its empty line included; the value of its only traceparent
 * begins at `value`, within it. Writes the span id and the flags of `own` over those of a version 00
 * traceparent, 18 bytes in place. False, and nothing written, where another reader of these bytes may see
 * another head in them: a line end that is not CR LF, a folded line, a NUL, a name with blanks in it or none.
 */
bool nest_replace(const uint8_t *head, size_t n, uint8_t *value, const struct span_context *own);

/* As above, of a head that cannot be read in two ways. */
bool nest_write(uint8_t *value, const struct span_context *own);

#endif
