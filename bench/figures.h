/* SPDX-License-Identifier: Apache-2.0
 * figures.h - how the programs here say what they have measured.
 */
#ifndef FORKSPAN_BENCH_FIGURES_H
#define FORKSPAN_BENCH_FIGURES_H

#include <stdio.h>
#include <stdlib.h>

static inline int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts v. */
static inline void print_quantiles(const char *name, double *v, unsigned n, const char *unit)
{
    qsort(v, n, sizeof *v, ascending);
    printf("%s_median %.2f %s\n%s_p90 %.2f %s\n", name, v[n / 2], unit, name, v[n * 9 / 10], unit);
}

#endif
