// SPDX-License-Identifier: Apache-2.0
// What the secrets of a policy look like in a response: the values, and the forms in which encoders
// write them. Made once a worker, in memory like the policy's, and shared by all its connections.
#pragma once

#include "egress/policy.h"

enum {
    PATTERN_VALUE_MIN = 8,                   // shorter values would be found in ordinary text
    PATTERN_FORM_MAX = 6 * POLICY_VALUE_MAX, // bytes of the longest form
};

struct pattern {
    const char *text;
    size_t size;
    const char *replacement; // the placeholder in the same form
    size_t replacement_size;
    size_t number;    // of the secret
    unsigned in_turn; // 1 + the next pattern whose search block is the same; 0: none
};

static inline uint64_t
pattern_bit(const struct pattern *p)
{
    return UINT64_C(1) << p->number;
}

struct patterns;

int patterns_new(const struct policy *policy, struct patterns **ret, struct error *err);
void patterns_free(struct patterns *p); // accepts NULL

size_t patterns_count(const struct patterns *p);
const struct pattern *patterns_at(const struct patterns *p, size_t i);

// The first pattern of these secrets (bit i: secret i) that stands whole in text, at or after from;
// of two in one place the longer. NULL: none.
const struct pattern *patterns_find(const struct patterns *p, uint64_t secrets, const char *text,
                                    size_t size, size_t from, size_t *ret_at);
