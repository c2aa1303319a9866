// SPDX-License-Identifier: Apache-2.0
// A token bucket: so many a second, and a burst on top after a pause.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ratelimit {
    int64_t rate; // tokens a second
    int64_t burst;
    int64_t thousandths; // of tokens there are
    int64_t at_ms;
};

static inline void
ratelimit_init(struct ratelimit *r, int64_t rate, int64_t burst, int64_t now_ms)
{
    *r = (struct ratelimit){
        .rate = rate, .burst = burst, .thousandths = burst * 1000, .at_ms = now_ms};
}

static inline bool
ratelimit_take(struct ratelimit *r, int64_t now_ms)
{
    int64_t elapsed = now_ms - r->at_ms;
    r->at_ms = now_ms;
    // A token comes within a second at the least; capping the pause keeps the product small.
    if (elapsed > 0)
        r->thousandths += (elapsed < 1000000 ? elapsed : 1000000) * r->rate;
    if (r->thousandths > r->burst * 1000)
        r->thousandths = r->burst * 1000;
    if (r->thousandths < 1000)
        return false;
    r->thousandths -= 1000;
    return true;
}
