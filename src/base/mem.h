// SPDX-License-Identifier: Apache-2.0
// Allocation of sizes that we choose ourselves: these never return NULL, the process ends instead.
// Sizes that a peer chooses go through struct buf, which has a cap and reports failure.
#pragma once

#include <stddef.h>

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...)
    __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));
