// SPDX-License-Identifier: Apache-2.0
#include "init/idmap.h"

#include "base/ident.h"
#include "base/mem.h"

#include <stdlib.h>

enum { IDMAP_BUCKETS_MIN = 16 };

void
idmap_init(struct idmap *m)
{
    *m = (struct idmap){0};
    ident_random_bytes(&m->key, sizeof m->key);
}

void
idmap_done(struct idmap *m)
{
    free(m->buckets);
    m->buckets = NULL;
    m->bucket_count = m->count = 0;
}

// The finaliser of SplitMix64 over the keyed number.
static struct idmap_node **
bucket_of(const struct idmap *m, uint64_t id)
{
    uint64_t h = id ^ m->key;
    h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
    h ^= h >> 31;
    return &m->buckets[h & (m->bucket_count - 1)];
}

struct idmap_node *
idmap_get(const struct idmap *m, uint64_t id)
{
    if (m->count == 0)
        return NULL;
    struct idmap_node *n = *bucket_of(m, id);
    while (n != NULL && n->id != id)
        n = n->next;
    return n;
}

static void
grow(struct idmap *m)
{
    struct idmap old = *m;
    m->bucket_count = old.bucket_count > 0 ? old.bucket_count * 2 : IDMAP_BUCKETS_MIN;
    m->buckets = xcalloc(m->bucket_count, sizeof(struct idmap_node *));
    for (size_t i = 0; i < old.bucket_count; i++) {
        struct idmap_node *next;
        for (struct idmap_node *n = old.buckets[i]; n != NULL; n = next) {
            next = n->next;
            struct idmap_node **b = bucket_of(m, n->id);
            n->next = *b;
            *b = n;
        }
    }
    free(old.buckets);
}

void
idmap_put(struct idmap *m, struct idmap_node *node)
{
    if (m->count >= m->bucket_count)
        grow(m);
    struct idmap_node **b = bucket_of(m, node->id);
    node->next = *b;
    *b = node;
    m->count++;
}

void
idmap_remove(struct idmap *m, struct idmap_node *node)
{
    struct idmap_node **p = bucket_of(m, node->id);
    while (*p != node)
        p = &(*p)->next;
    *p = node->next;
    m->count--;
}

struct idmap_node *
idmap_any(const struct idmap *m)
{
    for (size_t i = 0; m->count > 0 && i < m->bucket_count; i++)
        if (m->buckets[i] != NULL)
            return m->buckets[i];
    return NULL;
}
