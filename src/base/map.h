// SPDX-License-Identifier: Apache-2.0
// A hash map from a 64-bit number to a pointer, with a mandatory cap on its entries. Keys are
// scattered with a secret of the process, so that no peer can choose colliding ones.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct map_entry {
    uint64_t key;
    void *value; // NULL: free
};

struct map {
    struct map_entry *entries;
    size_t capacity; // a power of two, or 0
    size_t count;
    size_t cap;
    size_t hint; // where map_any found something last
};

void map_init(struct map *m, size_t cap);
void map_done(struct map *m); // the values are the caller's

void *map_get(const struct map *m, uint64_t key); // NULL if absent
// value is not NULL. Replaces what stood under key. 0, or -1 when the cap would be passed.
int map_put(struct map *m, uint64_t key, void *value);
void *map_remove(struct map *m, uint64_t key); // what stood there, or NULL

// Any value, or NULL when the map is empty: for taking a map apart.
void *map_any(struct map *m);

// Goes through all entries in no order: start with *at = 0; NULL at the end. The map must not
// change meanwhile.
void *map_next(const struct map *m, size_t *at, uint64_t *ret_key);
