// SPDX-License-Identifier: Apache-2.0
// JSON from clients, made fit for jansson, which is stricter than they are.
#pragma once

#include "base/buf.h"

#include <jansson.h>

enum {
    // All that documents may take at a time: stops text that is small but expands, such as
    // [[],[],...
    JSON_INPUT_MEMORY_MAX = 512 * 1024 * 1024,
};

// Sets the bound; once, before any other use of jansson.
void json_input_init(void);

// Turns each escape of a lone surrogate into that of U+FFFD, in place: JavaScript strings may hold
// such, UTF-8 may not. Nothing else changes, and no length.
void json_input_replace_surrogates(char *text, size_t size);

// Parses a whole text, changing it in place; NULL if it is not JSON, has a member twice, or is too
// big. Numbers are all reals, as for the clients: an integer of any size is a number.
json_t *json_input_parse(struct buf *text);
