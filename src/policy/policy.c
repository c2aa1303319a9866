// SPDX-License-Identifier: Apache-2.0
// The policy and what is asked of it. It is built by one set of functions, whether from JSON or
// from the memfd, so that both meet the same checks.
//
// What the operator allows, what the chosen policy of the operator's allows and what the caller
// allows are three layers. They are never made into one list: a connection is asked of each, and
// one refusal refuses it. So a caller's list can be anything, and still only narrow.
#include "policy/policy.h"

#include "policy/address.h"
#include "policy/policy-internal.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

char *
policy_vault_add(struct policy *p, const void *data, size_t size)
{
    struct vault *v = &p->vault;
    if (size >= v->capacity - v->used)
        return NULL;
    char *at = v->data + v->used;
    memcpy(at, data, size);
    at[size] = '\0';
    v->used += size + 1;
    return at;
}

int
policy_new(size_t vault_size, struct policy **ret, struct error *err)
{
    struct vault vault;
    if (vault_init(&vault, vault_size, err) < 0)
        return -1;
    struct policy *p = xcalloc(1, sizeof *p);
    p->vault = vault;
    *ret = p;
    return 0;
}

void
policy_free(struct policy *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->secret_count; i++)
        policy_secret_done(&p->secrets[i]);
    free(p->secrets);
    for (size_t i = 0; i < POLICY_LAYER_MAX; i++) {
        free(p->layers[i].allow.items);
        free(p->layers[i].deny.items);
    }
    free(p->private.items);
    free(p->inspect.items);
    vault_done(&p->vault);
    free(p);
}

// --- lists ---

int
rules_add(struct rules *list, const char *label, const char *text, size_t size, struct error *err)
{
    enum { ROOM_MIN = 8 };
    if (list->count == POLICY_RULES_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "%s: more than %d rules", label,
                         (int)POLICY_RULES_MAX);
    if (list->count == list->room) {
        size_t room = list->room > 0 ? 2 * list->room : ROOM_MIN;
        struct rule *items = xcalloc(room, sizeof *items);
        if (list->count > 0)
            memcpy(items, list->items, list->count * sizeof *items);
        free(list->items);
        list->items = items;
        list->room = room;
    }
    if (rule_parse(text, size, &list->items[list->count], err) < 0)
        return error_wrap(err, "%s", label);
    list->count++;
    return 0;
}

// Among several the one that names the port tells most.
static const struct rule *
better(const struct rule *a, const struct rule *b)
{
    return a == NULL || (a->port == 0 && b->port != 0) ? b : a;
}

const struct rule *
rules_match_name(const struct rules *list, const char *name, size_t size, uint16_t port)
{
    const struct rule *found = NULL;
    for (size_t i = 0; i < list->count; i++)
        if (rule_matches_name(&list->items[i], name, size, port))
            found = better(found, &list->items[i]);
    return found;
}

static const struct rule *
match_address(const struct rules *list, const struct in6_addr *addr, uint16_t port)
{
    const struct rule *found = NULL;
    for (size_t i = 0; i < list->count; i++)
        if (rule_matches_address(&list->items[i], addr, port))
            found = better(found, &list->items[i]);
    return found;
}

int
policy_add_private(struct policy *p, const char *text, size_t size, struct error *err)
{
    return rules_add(&p->private, "private", text, size, err);
}

int
policy_add_inspect(struct policy *p, const char *text, size_t size, struct error *err)
{
    if (rules_add(&p->inspect, "inspect", text, size, err) < 0)
        return -1;
    const struct rule *last = &p->inspect.items[p->inspect.count - 1];
    if (last->kind == RULE_ADDRESS)
        return error_set(err, ERR_INVALID_CONFIG,
                         "inspect: \"%s\" is an address; name hosts, which certificates prove",
                         last->text);
    return 0;
}

// Nothing that inner stands for is left by outer, a rule that denies.
static bool
denies_all(const struct rule *outer, const struct rule *inner)
{
    return (outer->port == 0 || outer->port == inner->port) && rule_covers(outer, inner);
}

static bool
layer_reaches(const struct layer *l, const struct rule *host)
{
    bool allowed = !l->restricted;
    for (size_t i = 0; i < l->allow.count && !allowed; i++)
        allowed = rule_covers(&l->allow.items[i], host);
    for (size_t i = 0; i < l->deny.count && allowed; i++)
        allowed = !denies_all(&l->deny.items[i], host);
    return allowed;
}

bool
policy_reaches(const struct policy *p, const struct rule *host)
{
    for (size_t i = 0; i < POLICY_LAYER_MAX; i++)
        if (!layer_reaches(&p->layers[i], host))
            return false;
    return true;
}

// --- decisions ---

const char *
policy_layer_name(enum policy_layer layer)
{
    static const char *const names[] = {
        [POLICY_CEILING] = "the operator's ceiling",
        [POLICY_NAMED] = "the operator's policy of that name",
        [POLICY_CALLER] = "the sandbox's own list",
    };
    static_assert(ARRAY_SIZE(names) == POLICY_LAYER_MAX, "a name for each layer");
    return names[layer];
}

static const char *
refusal_of(enum policy_layer layer, bool denied)
{
    static const char *const texts[][2] = {
        [POLICY_CEILING] = {"the operator does not allow it", "the operator denies it"},
        [POLICY_NAMED] = {"no rule of the chosen policy allows it", "the chosen policy denies it"},
        [POLICY_CALLER] = {"no rule allows it", "a rule denies it"},
    };
    static_assert(ARRAY_SIZE(texts) == POLICY_LAYER_MAX, "texts for each layer");
    return texts[layer][denied];
}

static const struct rule *
match(const struct rules *list, const char *name, size_t name_size, const struct in6_addr *addr,
      uint16_t port)
{
    return name_size > 0 ? rules_match_name(list, name, name_size, port)
                         : match_address(list, addr, port);
}

bool
policy_tells_hosts_apart(const struct policy *p)
{
    for (int i = 0; i < POLICY_LAYER_MAX; i++)
        if (p->layers[i].restricted || p->layers[i].deny.count > 0)
            return true;
    return false;
}

struct policy_decision
policy_decide(const struct policy *p, const char *name, size_t name_size,
              const struct in6_addr *addr, uint16_t port)
{
    struct policy_decision d = {.allowed = true, .layer = POLICY_CALLER};
    enum address_class class = name_size == 0 ? address_classify(addr) : ADDRESS_PUBLIC;
    if (class != ADDRESS_PUBLIC && !policy_private_allows(p, NULL, 0, addr, port))
        return (struct policy_decision){.reason = address_class_text(class),
                                        .layer = POLICY_CEILING};
    bool port_named = true;
    for (int i = 0; i < POLICY_LAYER_MAX; i++) {
        const struct layer *l = &p->layers[i];
        const struct rule *denied = match(&l->deny, name, name_size, addr, port);
        const struct rule *allowed = match(&l->allow, name, name_size, addr, port);
        if (denied != NULL || (l->restricted && allowed == NULL))
            return (struct policy_decision){.layer = (enum policy_layer)i,
                                            .rule = denied != NULL ? denied->text : NULL,
                                            .reason =
                                                refusal_of((enum policy_layer)i, denied != NULL)};
        if (!l->restricted)
            continue;
        d.rule = allowed->text;
        d.layer = (enum policy_layer)i;
        port_named = port_named && allowed->port != 0;
    }
    d.port_named = d.rule != NULL && port_named;
    return d;
}

// Tunnels to IPv4 are left out: what they lead to is not what a rule says.
static bool
may_be_private(const struct in6_addr *addr)
{
    enum address_class class = address_classify(addr);
    return (class == ADDRESS_PRIVATE || class == ADDRESS_SHARED) &&
           (address_is_v4(addr) || (addr->s6_addr[0] & 0xfe) == 0xfc);
}

bool
policy_private_allows(const struct policy *p, const char *name, size_t name_size,
                      const struct in6_addr *addr, uint16_t port)
{
    bool listed = false;
    for (size_t i = 0; i < POLICY_LAYER_MAX; i++)
        listed = listed || p->layers[i].restricted;
    if (!listed || !may_be_private(addr))
        return false;
    return match_address(&p->private, addr, port) != NULL ||
           (name_size > 0 && rules_match_name(&p->private, name, name_size, port) != NULL);
}

const char *
policy_check_address(const struct policy *p, const char *name, size_t name_size,
                     const struct in6_addr *addr, uint16_t port)
{
    enum address_class class = address_classify(addr);
    if (class != ADDRESS_PUBLIC && !policy_private_allows(p, name, name_size, addr, port))
        return address_class_text(class);
    for (size_t i = 0; i < POLICY_LAYER_MAX; i++)
        if (match_address(&p->layers[i].deny, addr, port) != NULL)
            return "denied address";
    return NULL;
}

bool
policy_bound(const struct policy *p, const char *name, size_t name_size, uint16_t port)
{
    for (size_t i = 0; i < p->secret_count; i++)
        if (policy_secret_applies(&p->secrets[i], name, name_size, port))
            return true;
    return false;
}

bool
policy_inspected(const struct policy *p, const char *name, size_t name_size, uint16_t port)
{
    return rules_match_name(&p->inspect, name, name_size, port) != NULL;
}

size_t
policy_inspect_count(const struct policy *p)
{
    return p->inspect.count;
}

const char *
policy_inspect_host(const struct policy *p, size_t i)
{
    return p->inspect.items[i].text;
}

const struct policy_settings *
policy_settings(const struct policy *p)
{
    return &p->settings;
}

// --- where the operator has connections dialled instead ---

int
policy_add_dial_override(struct policy *p, const char *text, struct error *err)
{
    const char *equals = strchr(text, '=');
    struct policy_override *o = &p->overrides[p->override_count];
    if (p->override_count == POLICY_OVERRIDES_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "more than %d hosts are dialled elsewhere",
                         (int)POLICY_OVERRIDES_MAX);
    if (equals == NULL || strlen(text) > POLICY_OVERRIDE_TEXT_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "\"%.80s\" is not NAME=ADDR:PORT", text);
    const char *why = hostname_canonical(text, (size_t)(equals - text), o->name, &o->name_size);
    if (why != NULL)
        return error_set(err, ERR_INVALID_CONFIG, "\"%.80s\": the name %s", text, why);
    struct rule target;
    if (rule_parse(equals + 1, strlen(equals + 1), &target, err) < 0)
        return -1;
    if (target.kind != RULE_ADDRESS || target.bits != 128 || target.port == 0)
        return error_set(err, ERR_INVALID_CONFIG, "\"%.80s\": what follows is not ADDR:PORT", text);
    memcpy(o->text, text, strlen(text) + 1);
    address_to_sockaddr(&target.addr, target.port, &o->addr);
    p->override_count++;
    return 0;
}

const struct sockaddr *
policy_dial_override(const struct policy *p, const char *name, size_t name_size)
{
    for (size_t i = 0; i < p->override_count; i++) {
        const struct policy_override *o = &p->overrides[i];
        if (o->name_size == name_size && memcmp(o->name, name, name_size) == 0)
            return (const struct sockaddr *)&o->addr;
    }
    return NULL;
}
