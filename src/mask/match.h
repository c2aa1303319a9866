// SPDX-License-Identifier: Apache-2.0
// Finds any of a set of patterns in a text, at the speed of memory as long as there is none.
#pragma once

#include "mask/patterns.h"

struct match;

// list is copied; the texts must outlive the index. Each pattern has PATTERN_VALUE_MIN bytes at
// least, and there is one at least.
int match_new(const struct pattern *list, size_t count, struct match **ret, struct error *err);
void match_free(struct match *m); // accepts NULL

size_t match_count(const struct match *m);
const struct pattern *match_at(const struct match *m, size_t i);
size_t match_longest(const struct match *m); // bytes of the longest pattern

// The first pattern that stands whole in text, at or after from; of two in one place the longer.
// NULL: none.
const struct pattern *match_find(const struct match *m, const char *text, size_t size, size_t from,
                                 size_t *ret_at);

// What a text ends with (at or after from).
struct match_tail {
    size_t begun; // bytes of the longest beginning of a pattern
    size_t held;  // of the longest that has reached its pattern's hold
};
struct match_tail match_tail(const struct match *m, const char *text, size_t size, size_t from);
