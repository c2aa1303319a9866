// SPDX-License-Identifier: Apache-2.0
// One pattern of an allow list: a host name, all names below one, or addresses; with or without a
// port.
#pragma once

#include "base/error.h"
#include "policy/hostname.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { RULE_TEXT_MAX = HOSTNAME_MAX + sizeof "*." + sizeof ":65535" };

enum rule_kind { RULE_NAME, RULE_BELOW, RULE_ADDRESS };

struct rule {
    enum rule_kind kind;
    uint16_t port;    // 0: any
    uint16_t name_at; // RULE_NAME, RULE_BELOW: where in text the canonical name stands
    uint16_t name_size;
    struct in6_addr addr;         // RULE_ADDRESS: IPv4 in mapped form
    unsigned bits;                // RULE_ADDRESS: of addr, 96 and more for IPv4
    char text[RULE_TEXT_MAX + 1]; // canonical: in lower case, without a trailing dot
};

// `name`, `*.name`, `1.2.3.4`, `1.2.3.0/24`, `[v6]`, `[v6]/64`, each with an optional `:port`.
// ERR_INVALID_CONFIG quotes the text and says what is wrong with it.
int rule_parse(const char *text, size_t size, struct rule *ret, struct error *err);

static inline const char *
rule_name(const struct rule *r)
{
    return r->text + r->name_at;
}

// Both take port 0 for "whatever the port".
bool rule_matches_name(const struct rule *r, const char *name, size_t size, uint16_t port);
bool rule_matches_address(const struct rule *r, const struct in6_addr *addr, uint16_t port);
// Whether every name that inner stands for (RULE_NAME, RULE_BELOW) passes outer on some common
// port.
bool rule_covers(const struct rule *outer, const struct rule *inner);
