// SPDX-License-Identifier: Apache-2.0
// Regular expressions of clients, which are ECMAScript's, run by PCRE2: the source is parsed and
// written anew, so that only what means the same to both is let through.
//
// What differs: text is matched by code points with or without the flag u; \w and ignoring case
// know Unicode's simple case folding; a group's captures are kept from one round of a loop to the
// next. Refused by name: lookbehind of variable length, lone surrogates, sets of the flag v,
// modifiers.
#pragma once

#include "base/buf.h"

#include <jansson.h>

enum {
    REGEX_SOURCE_MAX = 16 * 1024,
    REGEX_GROUPS_MAX = 256,
    // Steps of one match, a fraction of a second: stops a pattern that backtracks without end from
    // holding up all clients.
    REGEX_STEPS_MAX = 200 * 1000,
    REGEX_HEAP_MAX = 4 * 1024, // KiB
};

// The parts of flags that matter here.
struct regex_flags {
    bool ignore_case, multiline, dot_all, unicode, sticky;
};

// Translates to PCRE2's language. NULL, or what is wrong in static text, which begins with "!" if
// it is only not supported.
const char *regex_translate(struct buf *out, const char *source, size_t size,
                            const struct regex_flags *flags);

struct regex;

// NULL: *ret_error is an error object.
struct regex *regex_new(const char *source, size_t size, const char *flags, json_t **ret_error);
// From PCRE2's own language. NULL if it does not compile.
struct regex *regex_new_raw(const struct buf *pattern, bool ignore_case);
void regex_free(struct regex *r); // accepts NULL

// 1 or 0; -1: it takes too long.
int regex_matches(const struct regex *r, const char *text, size_t size);
