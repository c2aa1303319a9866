// SPDX-License-Identifier: Apache-2.0
// Synthetic addresses: each name that the sandbox asked for stands behind an IPv4 address of
// 198.18.0.0/15 and an IPv6 address of one /64, and keeps them for as long as it is in use.
#pragma once

#include "policy/hostname.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    NAMES_MAX = 65536,          // bounds the memory that questions can take: about 20 MB
    NAMES_KEEP_MS = 120 * 1000, // an answer is valid for NAMES_TTL_S; twice that, for slow clients
    NAMES_TTL_S = 60,
};

// The address of the sandbox's own services: the resolver's, and by this name the proxy's
// (proxy.h). No other name ever has it.
#define NAMES_SERVICE "proxy.casemate.internal"

struct names;

void names_new(struct names **ret);
// Addresses begin anywhere: where another worker has given some of them out before, none of those
// shall stand for another name now, for programs may still hold them.
void names_begin_anywhere(struct names *n);
void names_free(struct names *n); // accepts NULL

// Finds or assigns the addresses of a canonical name. When the table is full, the name that was
// unused for longest gives way if that is NAMES_KEEP_MS ago; else false.
bool names_assign(struct names *n, const char *name, size_t size, int64_t now_ms,
                  struct in_addr *ret_v4, struct in6_addr *ret_v6);

// What an address stands for (IPv4 in mapped form): writes the name, terminated, and returns true.
bool names_lookup(const struct names *n, const struct in6_addr *addr, char out[HOSTNAME_MAX + 1],
                  size_t *ret_size);
// Whether the address is of the synthetic ranges, in use or not.
bool names_is_synthetic(const struct in6_addr *addr);

// Whether the address is that of the services.
bool names_is_service(const struct in6_addr *addr);

// Whether text that is given for a name holds what placeholders begin with, in any case: such a
// name is refused everywhere and never shown.
bool names_holds_placeholder(const char *text, size_t size);

// A connection to this address began: counts as a use of the name. The connection keeps its own
// copy.
void names_touch(struct names *n, const struct in6_addr *addr, int64_t now_ms);
