// SPDX-License-Identifier: Apache-2.0
#include "policy/rule.h"

#include "policy/address.h"

#include <stdio.h>
#include <string.h>

struct text {
    const char *data;
    size_t size;
};

static int
refuse(struct text all, struct error *err, const char *why)
{
    enum { QUOTE_MAX = 80 };
    int shown = (int)(all.size < QUOTE_MAX ? all.size : QUOTE_MAX);
    return error_set(err, ERR_INVALID_CONFIG, "\"%.*s\" %s", shown, all.data, why);
}

// 1 to 5 digits without a leading zero, at most max.
static bool
parse_number(struct text t, unsigned max, unsigned *ret)
{
    unsigned v = 0;
    if (t.size == 0 || t.size > 5 || (t.size > 1 && t.data[0] == '0'))
        return false;
    for (size_t i = 0; i < t.size; i++) {
        if (t.data[i] < '0' || t.data[i] > '9')
            return false;
        v = v * 10 + (unsigned)(t.data[i] - '0');
    }
    *ret = v;
    return v <= max;
}

// Cuts at the last c outside brackets; *ret_tail is what follows it. False if there is none.
static bool
cut(struct text *head, char c, struct text *ret_tail)
{
    size_t i = head->size;
    while (i > 0 && head->data[i - 1] != c && head->data[i - 1] != ']')
        i--;
    if (i == 0 || head->data[i - 1] != c)
        return false;
    *ret_tail = (struct text){head->data + i, head->size - i};
    head->size = i - 1;
    return true;
}

static bool
has_host_bits(const struct in6_addr *a, unsigned bits)
{
    for (unsigned i = bits; i < 128; i++)
        if ((a->s6_addr[i / 8] >> (7 - i % 8) & 1) != 0)
            return true;
    return false;
}

// 1: an address, *r is filled but for its text; 0: no address; -1: refused.
static int
parse_address(struct text all, struct text t, struct rule *r, struct error *err)
{
    struct text length;
    bool sized = cut(&t, '/', &length);
    bool bracketed = t.size >= 2 && t.data[0] == '[' && t.data[t.size - 1] == ']';
    if (bracketed) {
        t.data++;
        t.size -= 2;
    }
    if (!address_parse(t.data, t.size, &r->addr))
        return bracketed || sized ? refuse(all, err, "holds no valid address") : 0;
    if (bracketed != (memchr(t.data, ':', t.size) != NULL))
        return refuse(all, err, "is not written as an address: use 1.2.3.4 or [2001:db8::1]");
    unsigned width = address_is_v4(&r->addr) && !bracketed ? 32 : 128;
    unsigned bits = width;
    if (sized && !parse_number(length, width, &bits))
        return refuse(all, err, "has a malformed prefix length");
    r->kind = RULE_ADDRESS;
    r->bits = 128 - width + bits;
    if (has_host_bits(&r->addr, r->bits))
        return refuse(all, err, "has bits set beyond its prefix length");
    return 1;
}

static void
write_address(struct rule *r)
{
    char a[ADDRESS_TEXT_MAX];
    char port[sizeof ":65535"] = "";
    char length[sizeof "/128"] = "";
    bool v4 = address_is_v4(&r->addr) && r->bits >= 96;
    address_format(&r->addr, a);
    if (r->port != 0)
        (void)snprintf(port, sizeof port, ":%u", (unsigned)r->port);
    if (r->bits < 128)
        (void)snprintf(length, sizeof length, "/%u", (v4 ? r->bits - 96 : r->bits) & 0xff);
    (void)snprintf(r->text, sizeof r->text, v4 ? "%s%s%s" : "[%s]%s%s", a, length, port);
}

static int
parse_name(struct text all, struct text t, struct rule *r, struct error *err)
{
    r->kind = RULE_NAME;
    if (t.size >= 2 && memcmp(t.data, "*.", 2) == 0) {
        r->kind = RULE_BELOW;
        t.data += 2;
        t.size -= 2;
    }
    if (memchr(t.data, '*', t.size) != NULL)
        return refuse(all, err, "has a wildcard elsewhere than in a leading \"*.\"");
    if (memchr(t.data, ':', t.size) != NULL)
        return refuse(all, err, "is neither host:port nor an address in brackets");
    char name[HOSTNAME_MAX + 1];
    size_t size;
    const char *why = hostname_canonical(t.data, t.size, name, &size);
    if (why != NULL)
        return refuse(all, err, why);
    r->name_at = r->kind == RULE_BELOW ? 2 : 0;
    r->name_size = (uint16_t)size;
    char port[sizeof ":65535"] = "";
    if (r->port != 0)
        (void)snprintf(port, sizeof port, ":%u", (unsigned)r->port);
    (void)snprintf(r->text, sizeof r->text, "%s%s%s", r->kind == RULE_BELOW ? "*." : "", name,
                   port);
    return 0;
}

int
rule_parse(const char *text, size_t size, struct rule *ret, struct error *err)
{
    struct text all = {text, size};
    struct text host = all;
    struct text port;
    struct rule r = {0};
    if (cut(&host, ':', &port)) {
        unsigned number = 0;
        if (memchr(host.data, ':', host.size) != NULL && host.data[0] != '[')
            return refuse(all, err, "holds an IPv6 address without its brackets");
        if (!parse_number(port, UINT16_MAX, &number) || number == 0)
            return refuse(all, err, "has no valid port after its colon (1 to 65535)");
        r.port = (uint16_t)number;
    }
    int is_address = parse_address(all, host, &r, err);
    if (is_address < 0)
        return -1;
    if (is_address > 0)
        write_address(&r);
    else if (parse_name(all, host, &r, err) < 0)
        return -1;
    *ret = r;
    return 0;
}

static bool
port_matches(const struct rule *r, uint16_t port)
{
    return r->port == 0 || port == 0 || r->port == port;
}

bool
rule_matches_name(const struct rule *r, const char *name, size_t size, uint16_t port)
{
    if (!port_matches(r, port))
        return false;
    if (r->kind == RULE_NAME)
        return r->name_size == size && memcmp(rule_name(r), name, size) == 0;
    return r->kind == RULE_BELOW && hostname_is_below(name, size, rule_name(r), r->name_size);
}

bool
rule_matches_address(const struct rule *r, const struct in6_addr *addr, uint16_t port)
{
    if (r->kind != RULE_ADDRESS || !port_matches(r, port))
        return false;
    // A short IPv6 prefix, as [::]/0, must not take in the mapped form of IPv4.
    if (address_is_v4(addr) && r->bits < 96)
        return false;
    return address_in_prefix(addr, &r->addr, r->bits);
}

bool
rule_covers(const struct rule *outer, const struct rule *inner)
{
    if (inner->kind == RULE_ADDRESS)
        return false;
    if (rule_matches_name(outer, rule_name(inner), inner->name_size, inner->port))
        return inner->kind == RULE_NAME || outer->kind == RULE_BELOW;
    return inner->kind == RULE_BELOW && outer->kind == RULE_BELOW &&
           port_matches(outer, inner->port) && outer->name_size == inner->name_size &&
           memcmp(rule_name(outer), rule_name(inner), inner->name_size) == 0;
}
