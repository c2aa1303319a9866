// SPDX-License-Identifier: Apache-2.0
// What the secrets of a policy look like in a response: the values, and the forms in which encoders
// write them (forms.h). Made once a worker, in memory like the policy's, and shared by all its
// connections.
#pragma once

#include "mask/forms.h"
#include "policy/policy.h"

enum {
    PATTERN_VALUE_MIN = 8, // shorter values would be found in ordinary text
    PATTERN_FORM_MAX = FORMS_CHARACTER_MAX * POLICY_VALUE_MAX, // bytes of the longest form
    // Characters beyond the public prefix that must have come before a beginning is held back:
    // more than can be guessed.
    PATTERN_HOLD = 16,
    // Sets of secrets, as hosts have them, that are indexed. Hosts beyond are searched for all
    // secrets of the sandbox.
    PATTERN_SETS_MAX = 64,
};

struct pattern {
    const char *text;
    size_t size;
    const char *replacement; // the placeholder in the same form
    size_t replacement_size;
    size_t number; // of the secret
    // A beginning of this many bytes may be held back; where it is not below size, none may.
    size_t hold;
};

struct patterns;
struct match;

int patterns_new(const struct policy *policy, struct patterns **ret, struct error *err);
void patterns_free(struct patterns *p); // accepts NULL

size_t patterns_count(const struct patterns *p);
const struct pattern *patterns_at(const struct patterns *p, size_t i);

// A beginning was held back and turned out to be none: somebody tries which guesses are right
// (redact.c). From then on the ends of blocks are held whatever they are.
void patterns_be_wary(struct patterns *p, bool wary);
bool patterns_are_wary(const struct patterns *p);

// An index (match.h) of the patterns of these secrets (bit i: secret i), or of more when there are
// too many sets. It is p's. NULL: none of these is to be redacted.
const struct match *patterns_match(struct patterns *p, uint64_t secrets);
