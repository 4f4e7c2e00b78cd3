/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

struct clock_anchor clock_anchor;
