// SPDX-License-Identifier: Apache-2.0
// An intrusive hash map from 64-bit numbers, which a peer may choose: the hash is keyed at random,
// so that no choice of numbers makes long chains.
#pragma once

#include "init/list.h"

#include <stdint.h>

struct idmap_node {
    uint64_t id;
    struct idmap_node *next;
};

struct idmap {
    struct idmap_node **buckets;
    size_t bucket_count; // a power of two, or 0
    size_t count;
    uint64_t key;
};

void idmap_init(struct idmap *m);
void idmap_done(struct idmap *m); // must be empty

struct idmap_node *idmap_get(const struct idmap *m, uint64_t id);
void idmap_put(struct idmap *m, struct idmap_node *node); // node->id is set and not in the map
void idmap_remove(struct idmap *m, struct idmap_node *node);
// Any node, or NULL when the map is empty: for taking a map apart.
struct idmap_node *idmap_any(const struct idmap *m);
