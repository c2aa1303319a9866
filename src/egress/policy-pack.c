// SPDX-License-Identifier: Apache-2.0
// A policy as bytes:  u32 version | u8 restricted | u16 rules, str each | u16 secrets, each: str
// name, u16 hosts, str each, bytes value, bytes placeholder | u16 overrides, str each. Decoding
// goes through the same functions as loading, so it accepts nothing that loading would refuse.
#include "egress/policy-internal.h"

#include "wire/pack.h"

enum { VERSION = 1 };

static int
encode_secret(const struct policy_secret *s, struct buf *out)
{
    int r = pack_str(out, s->name) | pack_u16(out, (uint16_t)s->host_count);
    for (size_t i = 0; i < s->host_count; i++)
        r |= pack_str(out, s->hosts[i].text);
    return r | pack_bytes(out, s->value, s->value_size) |
           pack_bytes(out, s->placeholder, s->placeholder_size);
}

int
policy_encode(const struct policy *p, struct buf *out, struct error *err)
{
    int r = pack_u32(out, VERSION) | pack_u8(out, p->restricted) |
            pack_u16(out, (uint16_t)p->rule_count);
    for (size_t i = 0; i < p->rule_count; i++)
        r |= pack_str(out, p->rules[i].text);
    r |= pack_u16(out, (uint16_t)p->secret_count);
    for (size_t i = 0; i < p->secret_count; i++)
        r |= encode_secret(&p->secrets[i], out);
    r |= pack_u16(out, (uint16_t)p->override_count);
    for (size_t i = 0; i < p->override_count; i++)
        r |= pack_str(out, p->overrides[i].text);
    return r < 0 ? error_set(err, ERR_TOO_LARGE, "policy: too large") : 0;
}

static int
malformed(struct error *err)
{
    return error_set(err, ERR_PROTOCOL, "policy: malformed");
}

static int
decode_rules(struct unpack *u, struct policy *p, struct error *err)
{
    p->restricted = unpack_u8(u) != 0;
    unsigned count = unpack_u16(u);
    for (unsigned i = 0; i < count; i++) {
        size_t size;
        const uint8_t *text = unpack_bytes(u, RULE_TEXT_MAX, &size);
        if (u->failed)
            return malformed(err);
        if (policy_add_rule(p, (const char *)text, size, err) < 0)
            return -1;
    }
    return 0;
}

static int
decode_secret(struct unpack *u, struct policy *p, struct error *err)
{
    size_t size;
    const uint8_t *name = unpack_bytes(u, POLICY_NAME_MAX, &size);
    unsigned hosts = unpack_u16(u);
    if (u->failed)
        return malformed(err);
    if (policy_begin_secret(p, (const char *)name, size, err) < 0)
        return -1;
    for (unsigned i = 0; i < hosts; i++) {
        const uint8_t *host = unpack_bytes(u, RULE_TEXT_MAX, &size);
        if (u->failed)
            return malformed(err);
        if (policy_add_host(p, (const char *)host, size, err) < 0)
            return -1;
    }
    size_t placeholder_size;
    const uint8_t *value = unpack_bytes(u, POLICY_VALUE_MAX, &size);
    const uint8_t *placeholder = unpack_bytes(u, POLICY_VALUE_MAX, &placeholder_size);
    if (u->failed)
        return malformed(err);
    return policy_finish_secret(p, (const char *)value, size, (const char *)placeholder,
                                placeholder_size, err);
}

static int
decode_overrides(struct unpack *u, struct policy *p, struct error *err)
{
    unsigned count = unpack_u16(u);
    for (unsigned i = 0; i < count; i++) {
        char text[POLICY_OVERRIDE_TEXT_MAX + 1];
        unpack_str(u, text, sizeof text);
        if (u->failed)
            return malformed(err);
        if (policy_add_dial_override(p, text, err) < 0)
            return -1;
    }
    return unpack_complete(u) ? 0 : malformed(err);
}

static int
decode_into(struct unpack *u, struct policy *p, struct error *err)
{
    if (unpack_u32(u) != VERSION)
        return malformed(err);
    if (decode_rules(u, p, err) < 0)
        return -1;
    unsigned secrets = unpack_u16(u);
    for (unsigned i = 0; i < secrets; i++)
        if (decode_secret(u, p, err) < 0)
            return -1;
    return decode_overrides(u, p, err);
}

int
policy_decode(const void *data, size_t size, struct policy **ret, struct error *err)
{
    if (size > POLICY_ENCODED_MAX)
        return malformed(err);
    struct policy *p;
    // What is kept of a secret, terminators included, takes no more bytes than its encoded form.
    if (policy_new(size, &p, err) < 0)
        return -1;
    struct unpack u;
    unpack_init(&u, data, size);
    if (decode_into(&u, p, err) < 0) {
        policy_free(p);
        return -1;
    }
    *ret = p;
    return 0;
}
