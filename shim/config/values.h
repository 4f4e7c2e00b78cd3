/* SPDX-License-Identifier: Apache-2.0
 * values.h - the value types of the specification (sdk-environment-variables, type-specific guidance), and
 * the memory that parsed values live in.
 */
#ifndef FORKSPAN_CONFIG_VALUES_H
#define FORKSPAN_CONFIG_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One parse: its variables, who hears of bad ones, and where results are put. */
struct parse {
    char **env;
    void (*warn)(const char *line);
    char *memory, *memory_end; /* a mapping: the host's malloc is not ours to use */
};

void *parse_alloc(struct parse *p, size_t size);
char *parse_copy(struct parse *p, const char *s, size_t len);
void parse_warn(struct parse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The variable's value with blanks trimmed off both ends, NULL when unset or empty. */
const char *parse_text(struct parse *p, const char *name);
bool parse_bool(struct parse *p, const char *name, bool otherwise);
/* Digits only; out of range or anything else: one warning and the default. */
uint32_t parse_integer(struct parse *p, const char *name, uint32_t least, uint32_t otherwise);
/* A ratio in [0,1] by the C locale's rules, whatever LC_NUMERIC says. */
bool parse_ratio(const char *s, double *out);
/* The index of the value among the names (compared without case), or -1: warned of. */
int parse_choice(struct parse *p, const char *name, const char *const *choices, int otherwise);
/* Splits at commas, trims, leaves out empty items; NULL-terminated, or NULL when unset. */
const char **parse_list(struct parse *p, const char *name);
/* Decodes %XX in place; false at a bad one. */
bool percent_decode(char *s, size_t *len);

#endif
