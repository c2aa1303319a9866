// SPDX-License-Identifier: Apache-2.0
#include "base/map.h"

#include "base/ident.h"
#include "base/mem.h"

#include <stdlib.h>

enum { MAP_MIN_CAPACITY = 16 };

static uint64_t
scatter(uint64_t key)
{
    static uint64_t secret;
    if (secret == 0) {
        ident_random_bytes(&secret, sizeof secret);
        secret |= 1;
    }
    uint64_t h = (key ^ secret) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32) * secret;
    return h ^ h >> 29;
}

void
map_init(struct map *m, size_t cap)
{
    *m = (struct map){.cap = cap};
}

void
map_done(struct map *m)
{
    free(m->entries);
    *m = (struct map){.cap = m->cap};
}

// Where key stands, or the free place where it would.
static struct map_entry *
place(const struct map *m, uint64_t key)
{
    size_t i = scatter(key) & (m->capacity - 1);
    while (m->entries[i].value != NULL && m->entries[i].key != key)
        i = (i + 1) & (m->capacity - 1);
    return &m->entries[i];
}

void *
map_get(const struct map *m, uint64_t key)
{
    return m->count > 0 ? place(m, key)->value : NULL;
}

static void
grow(struct map *m)
{
    struct map old = *m;
    m->capacity = old.capacity > 0 ? 2 * old.capacity : MAP_MIN_CAPACITY;
    m->entries = xcalloc(m->capacity, sizeof *m->entries);
    for (size_t i = 0; i < old.capacity; i++)
        if (old.entries[i].value != NULL)
            *place(m, old.entries[i].key) = old.entries[i];
    free(old.entries);
}

int
map_put(struct map *m, uint64_t key, void *value)
{
    if (m->capacity > 0) {
        struct map_entry *e = place(m, key);
        if (e->value != NULL) {
            e->value = value;
            return 0;
        }
    }
    if (m->count >= m->cap)
        return -1;
    if (2 * (m->count + 1) > m->capacity)
        grow(m);
    *place(m, key) = (struct map_entry){.key = key, .value = value};
    m->count++;
    return 0;
}

void *
map_remove(struct map *m, uint64_t key)
{
    struct map_entry *e = m->count > 0 ? place(m, key) : NULL;
    if (e == NULL || e->value == NULL)
        return NULL;
    void *value = e->value;
    e->value = NULL;
    m->count--;
    // Linear probing: what follows without a gap is put in place again.
    size_t i = (size_t)(e - m->entries);
    for (i = (i + 1) & (m->capacity - 1); m->entries[i].value != NULL;
         i = (i + 1) & (m->capacity - 1)) {
        struct map_entry moved = m->entries[i];
        m->entries[i].value = NULL;
        *place(m, moved.key) = moved;
    }
    return value;
}

void *
map_next(const struct map *m, size_t *at, uint64_t *ret_key)
{
    for (size_t i = *at; i < m->capacity; i++) {
        if (m->entries[i].value == NULL)
            continue;
        *at = i + 1;
        if (ret_key != NULL)
            *ret_key = m->entries[i].key;
        return m->entries[i].value;
    }
    return NULL;
}

void *
map_any(struct map *m)
{
    for (size_t i = 0; i < m->capacity; i++) {
        size_t at = (m->hint + i) & (m->capacity - 1);
        if (m->entries[at].value != NULL) {
            m->hint = at;
            return m->entries[at].value;
        }
    }
    return NULL;
}
