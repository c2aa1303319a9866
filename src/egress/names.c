// SPDX-License-Identifier: Apache-2.0
// A table of slots. The slot's number is the address, so that an address is looked up without a
// hash; names are found over a hash with a random key, for the sandbox chooses them. Every used
// slot is in one list in the order of last use, oldest first, of which eviction takes the head.
#include "egress/names.h"

#include "base/ident.h"
#include "base/mem.h"
#include "policy/address.h"
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    NONE = UINT32_MAX,
    BUCKETS = NAMES_MAX,
    V4_BASE = 198u << 24 | 18u << 16,
    V4_HOSTS = 254, // of each /24: .0 and .255 are broadcast addresses to some
};

// "fd", then 40 bits chosen once by chance (RFC 4193 3.2), subnet 0; the low half holds slot + 2.
static const uint8_t v6_prefix[8] = {0xfd, 0xca, 0x5e, 0x3a, 0x7e, 0x19, 0x00, 0x00};

struct slot {
    char *name;
    uint8_t size;
    uint32_t next_in_bucket;
    uint32_t older;
    uint32_t newer;
    int64_t used_ms;
};

struct names {
    uint64_t key[2];
    uint32_t used;
    uint32_t oldest;
    uint32_t newest;
    uint32_t buckets[BUCKETS];
    struct slot slots[NAMES_MAX];
};

void
names_new(struct names **ret)
{
    struct names *n = xcalloc(1, sizeof *n);
    ident_random_bytes(n->key, sizeof n->key);
    n->oldest = n->newest = NONE;
    for (size_t i = 0; i < BUCKETS; i++)
        n->buckets[i] = NONE;
    *ret = n;
}

void
names_begin_anywhere(struct names *n)
{
    uint16_t at;
    ident_random_bytes(&at, sizeof at);
    n->used = at % (NAMES_MAX / 2); // the slots before it stay empty
}

void
names_free(struct names *n)
{
    if (n == NULL)
        return;
    for (uint32_t i = 0; i < n->used; i++)
        free(n->slots[i].name);
    free(n);
}

static uint64_t
rotate(uint64_t v, int by)
{
    return v << by | v >> (64 - by);
}

static void
sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

// SipHash-1-3 (Aumasson, Bernstein): no one without the key can choose names that collide.
static uint64_t
hash_name(const struct names *n, const char *name, size_t size)
{
    uint64_t v[4] = {n->key[0] ^ 0x736f6d6570736575, n->key[1] ^ 0x646f72616e646f6d,
                     n->key[0] ^ 0x6c7967656e657261, n->key[1] ^ 0x7465646279746573};
    for (size_t at = 0; at <= size; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t left = size - at;
        memcpy(&word, name + at, left < sizeof word ? left : sizeof word);
        if (left < sizeof word)
            word |= (uint64_t)size << 56;
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint32_t *
bucket_of(struct names *n, const char *name, size_t size)
{
    return &n->buckets[hash_name(n, name, size) % BUCKETS];
}

static void
unlink_slot(struct names *n, uint32_t i)
{
    struct slot *s = &n->slots[i];
    *(s->older == NONE ? &n->oldest : &n->slots[s->older].newer) = s->newer;
    *(s->newer == NONE ? &n->newest : &n->slots[s->newer].older) = s->older;
}

static void
append_slot(struct names *n, uint32_t i)
{
    struct slot *s = &n->slots[i];
    s->older = n->newest;
    s->newer = NONE;
    *(n->newest == NONE ? &n->oldest : &n->slots[n->newest].newer) = i;
    n->newest = i;
}

static void
touch(struct names *n, uint32_t i, int64_t now_ms)
{
    n->slots[i].used_ms = now_ms;
    unlink_slot(n, i);
    append_slot(n, i);
}

static uint32_t
evict(struct names *n, int64_t now_ms)
{
    uint32_t at = n->oldest;
    struct slot *s = &n->slots[at];
    if (now_ms - s->used_ms < NAMES_KEEP_MS)
        return NONE;
    uint32_t *link = bucket_of(n, s->name, s->size);
    while (*link != at)
        link = &n->slots[*link].next_in_bucket;
    *link = s->next_in_bucket;
    unlink_slot(n, at);
    free(s->name);
    *s = (struct slot){0};
    return at;
}

static uint32_t
add(struct names *n, const char *name, size_t size, int64_t now_ms)
{
    uint32_t i = n->used < NAMES_MAX ? n->used++ : evict(n, now_ms);
    if (i == NONE)
        return NONE;
    struct slot *s = &n->slots[i];
    uint32_t *bucket = bucket_of(n, name, size);
    *s = (struct slot){.size = (uint8_t)size, .next_in_bucket = *bucket};
    s->name = xmalloc(size);
    memcpy(s->name, name, size);
    *bucket = i;
    append_slot(n, i);
    return i;
}

static uint32_t
find(struct names *n, const char *name, size_t size)
{
    uint32_t i = *bucket_of(n, name, size);
    while (i != NONE && (n->slots[i].size != size || memcmp(n->slots[i].name, name, size) != 0))
        i = n->slots[i].next_in_bucket;
    return i;
}

// Slot 0 is 198.18.0.2: the services are .1, and in IPv6 likewise.
static struct in_addr
service_v4(void)
{
    return (struct in_addr){.s_addr = htonl((uint32_t)V4_BASE + 1)};
}

static struct in6_addr
service_v6(void)
{
    struct in6_addr a = {.s6_addr = {[15] = 1}};
    memcpy(a.s6_addr, v6_prefix, sizeof v6_prefix);
    return a;
}

bool
names_is_service(const struct in6_addr *addr)
{
    struct in6_addr v4 = address_map_v4(service_v4());
    struct in6_addr v6 = service_v6();
    return memcmp(addr, &v4, sizeof v4) == 0 || memcmp(addr, &v6, sizeof v6) == 0;
}

static struct in_addr
v4_of(uint32_t slot)
{
    uint32_t at = slot + 1;
    uint32_t host = V4_BASE + at / V4_HOSTS * 256 + at % V4_HOSTS + 1;
    return (struct in_addr){.s_addr = htonl(host)};
}

static struct in6_addr
v6_of(uint32_t slot)
{
    uint32_t low = htonl(slot + 2);
    struct in6_addr a = {0};
    memcpy(a.s6_addr, v6_prefix, sizeof v6_prefix);
    memcpy(a.s6_addr + 12, &low, sizeof low);
    return a;
}

bool
names_holds_placeholder(const char *text, size_t size)
{
    for (size_t i = 0; i + POLICY_PLACEHOLDER_PREFIX_SIZE <= size; i++)
        if (strncasecmp(text + i, POLICY_PLACEHOLDER_PREFIX, POLICY_PLACEHOLDER_PREFIX_SIZE) == 0)
            return true;
    return false;
}

bool
names_is_synthetic(const struct in6_addr *addr)
{
    return address_classify(addr) == ADDRESS_SYNTHETIC ||
           memcmp(addr->s6_addr, v6_prefix, sizeof v6_prefix) == 0;
}

static uint32_t
slot_of(const struct names *n, const struct in6_addr *addr)
{
    uint32_t low;
    memcpy(&low, addr->s6_addr + 12, sizeof low);
    low = ntohl(low);
    uint32_t slot = low - 2;
    if (address_is_v4(addr)) {
        uint32_t offset = low - V4_BASE;
        slot = offset / 256 * V4_HOSTS + offset % 256 - 2;
    }
    if (slot >= n->used || n->slots[slot].name == NULL)
        return NONE;
    // Both ways: what is no exact image of a slot stands for nothing.
    struct in6_addr image = address_is_v4(addr) ? address_map_v4(v4_of(slot)) : v6_of(slot);
    return memcmp(&image, addr, sizeof image) == 0 ? slot : NONE;
}

bool
names_assign(struct names *n, const char *name, size_t size, int64_t now_ms, struct in_addr *ret_v4,
             struct in6_addr *ret_v6)
{
    if (size == sizeof NAMES_SERVICE - 1 && memcmp(name, NAMES_SERVICE, size) == 0) {
        *ret_v4 = service_v4();
        *ret_v6 = service_v6();
        return true;
    }
    uint32_t slot = find(n, name, size);
    if (slot == NONE)
        slot = add(n, name, size, now_ms);
    if (slot == NONE)
        return false;
    touch(n, slot, now_ms);
    *ret_v4 = v4_of(slot);
    *ret_v6 = v6_of(slot);
    return true;
}

bool
names_lookup(const struct names *n, const struct in6_addr *addr, char out[HOSTNAME_MAX + 1],
             size_t *ret_size)
{
    uint32_t slot = slot_of(n, addr);
    if (slot == NONE)
        return false;
    const struct slot *s = &n->slots[slot];
    memcpy(out, s->name, s->size);
    out[s->size] = '\0';
    *ret_size = s->size;
    return true;
}

void
names_touch(struct names *n, const struct in6_addr *addr, int64_t now_ms)
{
    uint32_t slot = slot_of(n, addr);
    if (slot != NONE)
        touch(n, slot, now_ms);
}
