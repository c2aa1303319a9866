// SPDX-License-Identifier: Apache-2.0
// Memory for secrets.
#pragma once

#include "base/error.h"

#include <stddef.h>

// Pages of their own for values and placeholders: locked, left out of core dumps, empty in a forked
// child, wiped before they are given back. Filled from the front.
struct vault {
    char *data;
    size_t used;
    size_t capacity;
};

int vault_init(struct vault *v, size_t size, struct error *err);
void vault_done(struct vault *v); // accepts a zeroed vault
