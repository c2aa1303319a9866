// SPDX-License-Identifier: Apache-2.0
// A policy as bytes:
//
//   u32 version | for each layer: u8 restricted, list of what it allows, list of what it denies |
//   list of private | list of inspected | u8 settings | u64 max_tx_bytes | u16 secrets | u16
//   overrides, str each
//
//   list:    u16 count, str each
//   secret:  str name | bytes prefix | u8 where | u8 traits | u16 ports, u16 each | methods, paths,
//            hosts: u16 count, str each | bytes value | bytes placeholder
//
// Decoding goes through the same functions as loading, so it accepts nothing that loading would
// refuse.
#include "policy/policy-internal.h"

#include "wire/pack.h"

enum { VERSION = 2 };

enum setting {
    SETTING_PASS_ECH = 1 << 0,
    SETTING_PASS_HEADS = 1 << 1,
    SETTING_BLOCK_BODIES = 1 << 2,
    SETTING_DROP_AUDIT = 1 << 3,
    SETTINGS_ALL = (1 << 4) - 1,
};

enum trait { TRAIT_REDACT = 1 << 0, TRAIT_PLAIN_HTTP = 1 << 1, TRAITS_ALL = (1 << 2) - 1 };

enum { WHERE_ALL = POLICY_HEADER | POLICY_BASIC | POLICY_QUERY | POLICY_PATH };

// --- encoding ---

static int
encode_rules(const struct rule *rules, size_t count, struct buf *out)
{
    int r = pack_u16(out, (uint16_t)count);
    for (size_t i = 0; i < count; i++)
        r |= pack_str(out, rules[i].text);
    return r;
}

static int
encode_list(const struct rules *list, struct buf *out)
{
    return encode_rules(list->items, list->count, out);
}

static int
encode_limits(const struct policy_secret *s, struct buf *out)
{
    const struct policy_limits *l = s->limits;
    int r = pack_u16(out, (uint16_t)l->port_count);
    for (size_t i = 0; i < l->port_count; i++)
        r |= pack_u16(out, l->ports[i]);
    r |= pack_u16(out, (uint16_t)l->method_count);
    for (size_t i = 0; i < l->method_count; i++)
        r |= pack_str(out, l->methods[i]);
    r |= pack_u16(out, (uint16_t)l->path_count);
    for (size_t i = 0; i < l->path_count; i++)
        r |= pack_str(out, l->paths[i]);
    return r;
}

static int
encode_secret(const struct policy_secret *s, struct buf *out)
{
    int traits = (s->redact ? TRAIT_REDACT : 0) | (s->plain_http ? TRAIT_PLAIN_HTTP : 0);
    return pack_str(out, s->name) | pack_bytes(out, s->limits->prefix, s->prefix_size) |
           pack_u8(out, (uint8_t)s->where) | pack_u8(out, (uint8_t)traits) | encode_limits(s, out) |
           encode_rules(s->hosts, s->host_count, out) | pack_bytes(out, s->value, s->value_size) |
           pack_bytes(out, s->placeholder, s->placeholder_size);
}

static int
encode_settings(const struct policy_settings *s, struct buf *out)
{
    int bits = (s->pass_ech ? SETTING_PASS_ECH : 0) |
               (s->pass_misused_heads ? SETTING_PASS_HEADS : 0) |
               (s->block_seen_bodies ? SETTING_BLOCK_BODIES : 0) |
               (s->drop_audit ? SETTING_DROP_AUDIT : 0);
    return pack_u8(out, (uint8_t)bits) | pack_u64(out, s->max_tx_bytes);
}

int
policy_encode(const struct policy *p, struct buf *out, struct error *err)
{
    int r = pack_u32(out, VERSION);
    for (size_t i = 0; i < POLICY_LAYER_MAX; i++) {
        const struct layer *l = &p->layers[i];
        r |= pack_u8(out, l->restricted) | encode_list(&l->allow, out) | encode_list(&l->deny, out);
    }
    r |= encode_list(&p->private, out) | encode_list(&p->inspect, out) |
         encode_settings(&p->settings, out) | pack_u16(out, (uint16_t)p->secret_count);
    for (size_t i = 0; i < p->secret_count; i++)
        r |= encode_secret(&p->secrets[i], out);
    r |= pack_u16(out, (uint16_t)p->override_count);
    for (size_t i = 0; i < p->override_count; i++)
        r |= pack_str(out, p->overrides[i].text);
    return r < 0 ? error_set(err, ERR_TOO_LARGE, "policy: too large") : 0;
}

// --- decoding ---

static int
malformed(struct error *err)
{
    return error_set(err, ERR_PROTOCOL, "policy: malformed");
}

// u16 count, and as many texts of at most max bytes.
static int
decode_texts(struct unpack *u, size_t max,
             int (*add)(struct policy *p, const char *text, size_t size, struct error *err),
             struct policy *p, struct error *err)
{
    unsigned count = unpack_u16(u);
    for (unsigned i = 0; i < count; i++) {
        size_t size;
        const uint8_t *text = unpack_bytes(u, max, &size);
        if (u->failed)
            return malformed(err);
        if (add(p, (const char *)text, size, err) < 0)
            return -1;
    }
    return 0;
}

static int
decode_list(struct unpack *u, struct rules *list, struct error *err)
{
    unsigned count = unpack_u16(u);
    for (unsigned i = 0; i < count; i++) {
        size_t size;
        const uint8_t *text = unpack_bytes(u, RULE_TEXT_MAX, &size);
        if (u->failed)
            return malformed(err);
        if (rules_add(list, "policy", (const char *)text, size, err) < 0)
            return -1;
    }
    return 0;
}

static int
decode_layers(struct unpack *u, struct policy *p, struct error *err)
{
    for (size_t i = 0; i < POLICY_LAYER_MAX; i++) {
        struct layer *l = &p->layers[i];
        uint8_t restricted = unpack_u8(u);
        if (u->failed || restricted > 1)
            return malformed(err);
        l->restricted = restricted != 0;
        if (decode_list(u, &l->allow, err) < 0 || decode_list(u, &l->deny, err) < 0)
            return -1;
        if (!l->restricted && l->allow.count > 0)
            return malformed(err);
    }
    if (decode_texts(u, RULE_TEXT_MAX, policy_add_private, p, err) < 0 ||
        decode_texts(u, RULE_TEXT_MAX, policy_add_inspect, p, err) < 0)
        return -1;
    return 0;
}

static int
decode_settings(struct unpack *u, struct policy *p, struct error *err)
{
    unsigned bits = unpack_u8(u);
    uint64_t max_tx_bytes = unpack_u64(u);
    if (u->failed || (bits & ~(unsigned)SETTINGS_ALL) != 0)
        return malformed(err);
    p->settings = (struct policy_settings){
        .pass_ech = (bits & SETTING_PASS_ECH) != 0,
        .pass_misused_heads = (bits & SETTING_PASS_HEADS) != 0,
        .block_seen_bodies = (bits & SETTING_BLOCK_BODIES) != 0,
        .drop_audit = (bits & SETTING_DROP_AUDIT) != 0,
        .max_tx_bytes = max_tx_bytes,
    };
    return 0;
}

static int
decode_traits(struct unpack *u, struct policy_traits *ret, struct error *err)
{
    unsigned where = unpack_u8(u);
    unsigned traits = unpack_u8(u);
    if (u->failed || where == 0 || (where & ~(unsigned)WHERE_ALL) != 0 ||
        (traits & ~(unsigned)TRAITS_ALL) != 0)
        return malformed(err);
    *ret = (struct policy_traits){
        .where = where,
        .redact = (traits & TRAIT_REDACT) != 0,
        .redact_asked = true,
        .plain_http = (traits & TRAIT_PLAIN_HTTP) != 0,
    };
    return 0;
}

static int
decode_limits(struct unpack *u, struct policy *p, struct error *err)
{
    unsigned ports = unpack_u16(u);
    for (unsigned i = 0; i < ports; i++) {
        uint16_t port = unpack_u16(u);
        if (u->failed)
            return malformed(err);
        if (policy_add_port(p, port, err) < 0)
            return -1;
    }
    if (decode_texts(u, POLICY_METHOD_MAX, policy_add_method, p, err) < 0 ||
        decode_texts(u, POLICY_PATTERN_MAX, policy_add_path, p, err) < 0)
        return -1;
    return decode_texts(u, RULE_TEXT_MAX, policy_add_host, p, err);
}

static int
decode_secret(struct unpack *u, struct policy *p, struct error *err)
{
    size_t name_size;
    size_t prefix_size;
    size_t value_size;
    size_t placeholder_size;
    struct policy_traits traits;
    const uint8_t *name = unpack_bytes(u, POLICY_NAME_MAX, &name_size);
    const uint8_t *prefix = unpack_bytes(u, POLICY_PREFIX_MAX, &prefix_size);
    if (u->failed)
        return malformed(err);
    if (policy_begin_secret(p, (const char *)name, name_size, err) < 0 ||
        policy_set_prefix(p, (const char *)prefix, prefix_size, err) < 0 ||
        decode_traits(u, &traits, err) < 0 || decode_limits(u, p, err) < 0)
        return -1;
    const uint8_t *value = unpack_bytes(u, POLICY_VALUE_MAX, &value_size);
    const uint8_t *placeholder = unpack_bytes(u, POLICY_VALUE_MAX, &placeholder_size);
    if (u->failed)
        return malformed(err);
    return policy_finish_secret(p, &traits, (const char *)value, value_size,
                                (const char *)placeholder, placeholder_size, err);
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
    if (decode_layers(u, p, err) < 0 || decode_settings(u, p, err) < 0)
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
