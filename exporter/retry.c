/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter_internal.h"

bool retry_status(long status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

uint32_t retry_pause_ms(unsigned attempt, uint32_t random)
{
    uint64_t base = 1000;
    for (unsigned i = 1; i < attempt && base < 5000; i++)
        base = base * 3 / 2;
    if (base > 5000)
        base = 5000;
    /* +-20 %: workers that failed together do not come back together */
    return (uint32_t)(base * 4 / 5 + base * 2 / 5 * (random >> 16) / 65536);
}

uint64_t retry_after_ms(int64_t seconds)
{
    /* curl before 8.12 gives a negative number for a date that is over */
    return seconds <= 0                 ? 0
           : seconds > RETRY_AFTER_MOST ? RETRY_AFTER_MOST * UINT64_C(1000)
                                        : (uint64_t)seconds * 1000u;
}
