// SPDX-License-Identifier: Apache-2.0
// The text is sampled: every stride bytes a block of a few bytes is hashed and looked up in a set.
// In the set are the blocks that stand in each pattern at each of its first stride places, and
// stride is such that the shortest pattern still holds a block at the last of these; so wherever a
// pattern begins, the one sample that falls into its first stride places hits. Samples do not
// depend on one another, so that the processor has many under way, and with values of usual length
// most bytes are never looked at, however many patterns there are.
//
// A hit leads to a chain of (pattern, place) pairs, each compared in full. Long blocks make hits
// rare also in texts that use the characters of a form; a set with a short pattern has to do with
// short ones.
//
// Hashes tell of values, so all stands in memory like the policy's.
#include "mask/match.h"
#include "policy/vault.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    LONG_BLOCK = 8,
    SHORT_BLOCK = 4,
    LONG_FROM = 24,  // bytes of the shortest pattern from which on long blocks leave a good stride
    STRIDE_MAX = 64, // more gains nothing, and each place is an entry for each pattern
    BITS_MIN = 16,   // of a hash: a set of 8 kB
    BITS_MAX = 21,   // 256 kB, which second-level caches hold
    BITS_ROOM = 7,   // so many more bits than entries need: one sample of 128 hits by chance
    CHAIN_BITS = 4,  // so many fewer bits for the chains' heads
    NO_ENTRY = 0,
};

struct entry {
    uint32_t next; // 1 + its number
    uint32_t pattern;
    uint32_t place;
};

struct match {
    struct vault vault;
    struct pattern *list;
    size_t count;
    size_t longest;
    size_t block;
    size_t stride;
    unsigned bits;
    uint64_t *set;
    uint32_t *heads; // 1 + the number of an entry
    struct entry *entries;
    uint32_t *same_first; // of each pattern: 1 + the next with the same first byte
    uint32_t by_first[256];
};

// --- making it ---

static inline uint64_t
hash(const char *text, size_t block, unsigned bits)
{
    uint64_t x = 0;
    memcpy(&x, text, block);
    return x * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits); // Fibonacci's
}

static void *
take_room(struct match *m, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (size > m->vault.capacity - m->vault.used)
        abort(); // match_new() has counted
    char *at = m->vault.data + m->vault.used;
    m->vault.used += size;
    return at;
}

static void
measure(struct match *m, const struct pattern *list, size_t count)
{
    size_t shortest = list[0].size;
    for (size_t i = 0; i < count; i++) {
        shortest = list[i].size < shortest ? list[i].size : shortest;
        m->longest = list[i].size > m->longest ? list[i].size : m->longest;
    }
    m->count = count;
    m->block = shortest >= LONG_FROM ? LONG_BLOCK : SHORT_BLOCK;
    m->stride = shortest - m->block + 1;
    if (m->stride > STRIDE_MAX)
        m->stride = STRIDE_MAX;
    m->bits = BITS_MIN;
    while (m->bits < BITS_MAX && (size_t)1 << (m->bits - BITS_ROOM) < count * m->stride)
        m->bits++;
}

static void
add(struct match *m, uint32_t number, uint32_t pattern, uint32_t place)
{
    uint64_t h = hash(m->list[pattern].text + place, m->block, m->bits);
    uint32_t *head = &m->heads[h >> CHAIN_BITS];
    m->set[h / 64] |= UINT64_C(1) << h % 64;
    m->entries[number] = (struct entry){.next = *head, .pattern = pattern, .place = place};
    *head = number + 1;
}

static void
fill(struct match *m)
{
    uint32_t number = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        uint32_t *first = &m->by_first[(uint8_t)m->list[i].text[0]];
        m->same_first[i] = *first;
        *first = i + 1;
        for (uint32_t place = 0; place < m->stride; place++)
            add(m, number++, i, place);
    }
}

int
match_new(const struct pattern *list, size_t count, struct match **ret, struct error *err)
{
    enum { ROUNDING = 16 * 8 };
    struct match *m = xcalloc(1, sizeof *m);
    measure(m, list, count);
    size_t set_size = ((size_t)1 << m->bits) / 8;
    size_t heads_size = ((size_t)1 << (m->bits - CHAIN_BITS)) * sizeof *m->heads;
    size_t entries_size = count * m->stride * sizeof *m->entries;
    size_t list_size = count * sizeof *list;
    size_t total = set_size + heads_size + entries_size + list_size + count * sizeof(uint32_t);
    if (vault_init(&m->vault, total + ROUNDING, err) != 0) {
        free(m);
        return -1;
    }
    m->set = take_room(m, set_size);
    m->heads = take_room(m, heads_size);
    m->entries = take_room(m, entries_size);
    m->list = take_room(m, list_size);
    m->same_first = take_room(m, count * sizeof(uint32_t));
    memcpy(m->list, list, list_size);
    fill(m);
    *ret = m;
    return 0;
}

void
match_free(struct match *m)
{
    if (m == NULL)
        return;
    vault_done(&m->vault);
    free(m);
}

size_t
match_count(const struct match *m)
{
    return m->count;
}

const struct pattern *
match_at(const struct match *m, size_t i)
{
    return &m->list[i];
}

size_t
match_longest(const struct match *m)
{
    return m->longest;
}

// --- whole patterns ---

// The first place, and there the longest pattern, of what the sample at this place may be of.
static const struct pattern *
verify(const struct match *m, uint64_t h, const char *text, size_t size, size_t sample,
       size_t *ret_at)
{
    const struct pattern *found = NULL;
    for (uint32_t i = m->heads[h >> CHAIN_BITS]; i != NO_ENTRY; i = m->entries[i - 1].next) {
        const struct entry *e = &m->entries[i - 1];
        const struct pattern *p = &m->list[e->pattern];
        size_t at = sample - e->place;
        if (found != NULL && (at > *ret_at || (at == *ret_at && p->size <= found->size)))
            continue;
        if (p->size <= size - at && memcmp(p->text, text + at, p->size) == 0) {
            found = p;
            *ret_at = at;
        }
    }
    return found;
}

static inline __attribute__((always_inline)) const struct pattern *
find(const struct match *m, const char *text, size_t size, size_t from, size_t block,
     size_t *ret_at)
{
    const size_t stride = m->stride;
    const unsigned bits = m->bits;
    const uint64_t *set = m->set;
    for (size_t at = from + stride - 1; at + block <= size; at += stride) {
        uint64_t h = hash(text + at, block, bits);
        if (__builtin_expect((set[h / 64] >> h % 64 & 1) == 0, 1))
            continue;
        const struct pattern *found = verify(m, h, text, size, at, ret_at);
        if (found != NULL)
            return found;
    }
    return NULL;
}

const struct pattern *
match_find(const struct match *m, const char *text, size_t size, size_t from, size_t *ret_at)
{
    if (m->block == LONG_BLOCK)
        return find(m, text, size, from, LONG_BLOCK, ret_at);
    return find(m, text, size, from, SHORT_BLOCK, ret_at);
}

// --- beginnings ---

static void
note_beginning(const struct pattern *p, const char *text, size_t size, size_t at,
               struct match_tail *tail)
{
    size_t n = size - at;
    if (n >= p->size || (n <= tail->begun && (n < p->hold || n <= tail->held)) ||
        memcmp(p->text, text + at, n) != 0)
        return;
    if (n > tail->begun)
        tail->begun = n;
    if (n >= p->hold && n > tail->held)
        tail->held = n;
}

struct match_tail
match_tail(const struct match *m, const char *text, size_t size, size_t from)
{
    struct match_tail tail = {0};
    // A whole pattern is not a beginning.
    size_t start = size - from < m->longest ? from : size - (m->longest - 1);
    size_t sample = start + m->stride - 1;
    for (; sample + m->block <= size; sample += m->stride) {
        uint64_t h = hash(text + sample, m->block, m->bits);
        if ((m->set[h / 64] >> h % 64 & 1) == 0)
            continue;
        for (uint32_t i = m->heads[h >> CHAIN_BITS]; i != NO_ENTRY; i = m->entries[i - 1].next) {
            const struct entry *e = &m->entries[i - 1];
            note_beginning(&m->list[e->pattern], text, size, sample - e->place, &tail);
        }
    }
    // Those that begin behind the last sample, one by one: shorter than the shortest pattern.
    for (size_t at = sample - (m->stride - 1); at < size; at++)
        for (uint32_t i = m->by_first[(uint8_t)text[at]]; i != NO_ENTRY; i = m->same_first[i - 1])
            note_beginning(&m->list[i - 1], text, size, at, &tail);
    return tail;
}
