// SPDX-License-Identifier: Apache-2.0
// Wall clock and monotonic clock, in milliseconds, told apart by name.
#pragma once

#include <stdint.h>
#include <time.h>

static inline int64_t
clock_wall_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline int64_t
clock_monotonic_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
