// SPDX-License-Identifier: Apache-2.0
// One table a family, first match decides. Whatever is not listed as public is refused: for IPv6
// that is everything outside 2000::/3, for IPv4 the special-purpose registry of IANA (RFC 6890).
// Documentation networks count as public: nothing answers there, and examples use them.
#include "policy/address.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

static const char *const class_texts[] = {
    [ADDRESS_PUBLIC] = "public address",
    [ADDRESS_UNSPECIFIED] = "unspecified address",
    [ADDRESS_LOOPBACK] = "loopback address",
    [ADDRESS_PRIVATE] = "private address",
    [ADDRESS_SHARED] = "shared address",
    [ADDRESS_LINK_LOCAL] = "link-local address",
    [ADDRESS_METADATA] = "metadata address",
    [ADDRESS_SYNTHETIC] = "synthetic address that stands for no name",
    [ADDRESS_MULTICAST] = "multicast address",
    [ADDRESS_RESERVED] = "reserved address",
};
static_assert(ARRAY_SIZE(class_texts) == ADDRESS_CLASS_MAX, "a text for every class");

const char *address_class_text(enum address_class class)
{
    return class_texts[class];
}

struct v4_range {
    uint8_t base[4];
    uint8_t bits;
    uint8_t class;
};

static const struct v4_range v4_ranges[] = {
    {{0, 0, 0, 0}, 8, ADDRESS_UNSPECIFIED},
    {{10, 0, 0, 0}, 8, ADDRESS_PRIVATE},
    {{100, 100, 100, 200}, 32, ADDRESS_METADATA}, // within the next
    {{100, 64, 0, 0}, 10, ADDRESS_SHARED},
    {{127, 0, 0, 0}, 8, ADDRESS_LOOPBACK},
    {{168, 63, 129, 16}, 32, ADDRESS_METADATA}, // a public address, but answered by the host
    {{169, 254, 0, 0}, 16, ADDRESS_LINK_LOCAL},
    {{172, 16, 0, 0}, 12, ADDRESS_PRIVATE},
    {{192, 0, 0, 0}, 24, ADDRESS_RESERVED},
    {{192, 88, 99, 0}, 24, ADDRESS_RESERVED}, // 6to4 relays, RFC 7526
    {{192, 168, 0, 0}, 16, ADDRESS_PRIVATE},
    {{198, 18, 0, 0}, 15, ADDRESS_SYNTHETIC},
    {{224, 0, 0, 0}, 4, ADDRESS_MULTICAST},
    {{240, 0, 0, 0}, 4, ADDRESS_RESERVED},
};

struct v6_range {
    uint8_t base[16];
    uint8_t bits;
    uint8_t class;
    uint8_t embedded_at; // where an IPv4 address begins that decides instead; 0: none
};

static const struct v6_range v6_ranges[] = {
    {{0}, 128, ADDRESS_UNSPECIFIED, 0},
    {{[15] = 1}, 128, ADDRESS_LOOPBACK, 0},
    {{[10] = 0xff, 0xff}, 96, ADDRESS_RESERVED, 12},      // v4-mapped
    {{0x00, 0x64, 0xff, 0x9b}, 96, ADDRESS_RESERVED, 12}, // NAT64, RFC 6052
    {{0x20, 0x02}, 16, ADDRESS_RESERVED, 2},              // 6to4, RFC 3056
    {{0x20, 0x01, 0x00}, 23, ADDRESS_RESERVED, 0},        // protocol assignments, Teredo in it
    {{0x20}, 3, ADDRESS_PUBLIC, 0},
    {{0xfd, 0x00, 0x0e, 0xc2}, 32, ADDRESS_METADATA, 0},                     // fd00:ec2::/32
    {{0xfd, 0x20, 0x00, 0xce, [14] = 0x02, 0x54}, 128, ADDRESS_METADATA, 0}, // fd20:ce::254
    {{0xfc}, 7, ADDRESS_PRIVATE, 0},
    {{0xfe, 0x80}, 10, ADDRESS_LINK_LOCAL, 0},
    {{0xff}, 8, ADDRESS_MULTICAST, 0},
    {{0}, 0, ADDRESS_RESERVED, 0},
};

static bool
same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    size_t whole = bits / 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    unsigned rest = bits % 8;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static enum address_class
classify_v4(const uint8_t *a)
{
    for (size_t i = 0; i < ARRAY_SIZE(v4_ranges); i++)
        if (same_bits(a, v4_ranges[i].base, v4_ranges[i].bits))
            return v4_ranges[i].class;
    return ADDRESS_PUBLIC;
}

enum address_class
address_classify(const struct in6_addr *a)
{
    for (size_t i = 0; i < ARRAY_SIZE(v6_ranges); i++) {
        const struct v6_range *r = &v6_ranges[i];
        if (!same_bits(a->s6_addr, r->base, r->bits))
            continue;
        return r->embedded_at > 0 ? classify_v4(a->s6_addr + r->embedded_at) : r->class;
    }
    return ADDRESS_RESERVED;
}

bool
address_is_v4(const struct in6_addr *a)
{
    return IN6_IS_ADDR_V4MAPPED(a);
}

struct in6_addr
address_map_v4(struct in_addr v4)
{
    struct in6_addr a = {.s6_addr = {[10] = 0xff, 0xff}};
    memcpy(a.s6_addr + 12, &v4, sizeof v4);
    return a;
}

bool
address_from_sockaddr(const struct sockaddr *sa, struct in6_addr *ret, in_port_t *ret_port)
{
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        *ret = address_map_v4(in.sin_addr);
        *ret_port = ntohs(in.sin_port);
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        *ret = in6.sin6_addr;
        *ret_port = ntohs(in6.sin6_port);
        return true;
    }
    return false;
}

void
address_to_sockaddr(const struct in6_addr *a, in_port_t port, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof *ret);
    if (address_is_v4(a)) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&in.sin_addr, a->s6_addr + 12, sizeof in.sin_addr);
        memcpy(ret, &in, sizeof in);
        return;
    }
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = *a};
    memcpy(ret, &in6, sizeof in6);
}

void
address_format(const struct in6_addr *a, char out[ADDRESS_TEXT_MAX])
{
    if (address_is_v4(a))
        (void)inet_ntop(AF_INET, a->s6_addr + 12, out, ADDRESS_TEXT_MAX);
    else
        (void)inet_ntop(AF_INET6, a, out, ADDRESS_TEXT_MAX);
}

bool
address_parse(const char *text, size_t size, struct in6_addr *ret)
{
    char copy[ADDRESS_TEXT_MAX];
    if (size == 0 || size >= sizeof copy || memchr(text, '\0', size) != NULL)
        return false;
    memcpy(copy, text, size);
    copy[size] = '\0';
    struct in_addr v4;
    if (inet_pton(AF_INET, copy, &v4) == 1) {
        *ret = address_map_v4(v4);
        return true;
    }
    return inet_pton(AF_INET6, copy, ret) == 1;
}

bool
address_in_prefix(const struct in6_addr *a, const struct in6_addr *prefix, unsigned bits)
{
    return same_bits(a->s6_addr, prefix->s6_addr, bits);
}
