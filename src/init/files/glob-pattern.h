// SPDX-License-Identifier: Apache-2.0
// Glob patterns, as the language of PCRE2.
//
// * ? [abc] [!a] [[:alpha:]] {a,b} \x and, if extended, ?(…) @(…) *(…) +(…) !(…). A segment that
// is no pattern by these rules (an open bracket) stands for itself.
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

struct glob_options {
    bool extended;
    bool globstar;
};

// True if this segment stands for itself and has no escapes.
bool glob_is_fixed(const char *segment, size_t size);
bool glob_is_star(const char *segment, size_t size, const struct glob_options *o); // **

// The pattern for a name. 0, or -1 when out is full.
int glob_translate_segment(struct buf *out, const char *segment, size_t size,
                           const struct glob_options *o);
// The pattern for a whole path beneath root, which is taken literally.
int glob_translate_path(struct buf *out, const char *root, const char *pattern,
                        const struct glob_options *o);
