// SPDX-License-Identifier: Apache-2.0
// A policy out of JSON. Values go from the document, which is the caller's to wipe, straight into
// the vault; no message quotes one.
//
// A secret of the operator's ("ref") is built from two objects: the operator's says where it may go
// at most, the sandbox's may name fewer hosts, places, ports, methods and paths. Each part is taken
// from the sandbox's object if it stands there, and must then be covered by the operator's.
#include "policy/policy-load.h"

#include "base/cleanup.h"
#include "policy/operator.h"

#include <string.h>

static const char *const policy_members[] = {
    "allowNet",         "allow_net",    "denyNet",       "deny_net",
    "secrets",          "inspect",      "ech",           "onMisuse",
    "on_misuse",        "caConstraint", "ca_constraint", "onAuditFailure",
    "on_audit_failure", "maxTxBytes",   "max_tx_bytes",  NULL};

int
policy_json_members(const char *what, const json_t *object, const char *const *known,
                    struct error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return error_set(err, ERR_INVALID_CONFIG, "%s: not an object", what);
    // jansson iterates over nothing but a json_t that is not const, even to read.
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        const char *const *name = known;
        while (*name != NULL && strcmp(*name, key) != 0)
            name++;
        if (*name == NULL)
            return error_set(err, ERR_INVALID_CONFIG, "%s: unknown member \"%.64s\"", what, key);
    }
    return 0;
}

// JSON null means absent, wherever it stands.
static const json_t *
get(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

// A member with two spellings, of which one is used at a time.
static int
get_either(const json_t *object, const char *camel, const char *snake, const json_t **ret,
           struct error *err)
{
    const json_t *a = get(object, camel);
    const json_t *b = get(object, snake);
    if (a != NULL && b != NULL)
        return error_set(err, ERR_INVALID_CONFIG, "give %s or %s, not both", camel, snake);
    *ret = a != NULL ? a : b;
    return 0;
}

int
policy_json_strings(const char *what, const json_t *list,
                    int (*add)(void *user, const char *text, size_t size, struct error *err),
                    void *user, struct error *err)
{
    if (list == NULL)
        return 0;
    if (!json_is_array(list))
        return error_set(err, ERR_INVALID_CONFIG, "%s: not an array of strings", what);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text))
            return error_set(err, ERR_INVALID_CONFIG, "%s: entry %zu is not a string", what, i);
        if (add(user, json_string_value(text), json_string_length(text), err) < 0)
            return -1;
    }
    return 0;
}

struct target {
    struct rules *list;
    const char *label;
};

static int
add_rule(void *user, const char *text, size_t size, struct error *err)
{
    struct target *t = user;
    return rules_add(t->list, t->label, text, size, err);
}

static int
add_inspect(void *user, const char *text, size_t size, struct error *err)
{
    return policy_add_inspect(user, text, size, err);
}

static int
add_private(void *user, const char *text, size_t size, struct error *err)
{
    return policy_add_private(user, text, size, err);
}

static int
load_lists(struct layer *l, const json_t *from, struct error *err)
{
    const json_t *allow;
    const json_t *deny;
    if (get_either(from, "allowNet", "allow_net", &allow, err) < 0 ||
        get_either(from, "denyNet", "deny_net", &deny, err) < 0)
        return -1;
    l->restricted = allow != NULL;
    struct target allowed = {&l->allow, "allow_net"};
    struct target denied = {&l->deny, "deny_net"};
    if (policy_json_strings("allow_net", allow, add_rule, &allowed, err) < 0 ||
        policy_json_strings("deny_net", deny, add_rule, &denied, err) < 0)
        return -1;
    return 0;
}

// --- settings ---

// What the layers say of a choice: the stricter word holds, no word leaves the default.
struct choice {
    const char *what;
    const char *loose;
    const char *strict;
    bool default_loose;
    bool said_loose;
    bool said_strict;
};

enum { CHOICE_ECH, CHOICE_HEAD, CHOICE_BODY, CHOICE_AUDIT, CHOICES };

struct choices {
    struct choice of[CHOICES];
    uint64_t max_tx_bytes; // 0: no limit
};

static const struct choices no_choices = {
    .of = {
        [CHOICE_ECH] = {.what = "ech", .loose = "allow", .strict = "deny"},
        [CHOICE_HEAD] = {.what = "onMisuse.head", .loose = "pass", .strict = "block"},
        [CHOICE_BODY] =
            {.what = "onMisuse.body", .loose = "pass", .strict = "block", .default_loose = true},
        [CHOICE_AUDIT] = {.what = "onAuditFailure", .loose = "drop", .strict = "refuse"},
    }};

static int
choose(struct choice *c, const json_t *value, struct error *err)
{
    const char *text = json_string_value(value);
    if (value == NULL)
        return 0;
    bool strict = text != NULL && strcmp(text, c->strict) == 0;
    if (!strict && (text == NULL || strcmp(text, c->loose) != 0))
        return error_set(err, ERR_INVALID_CONFIG, "%s: give \"%s\" or \"%s\"", c->what, c->strict,
                         c->loose);
    *(strict ? &c->said_strict : &c->said_loose) = true;
    return 0;
}

static bool
is_loose(const struct choice *c)
{
    return !c->said_strict && (c->said_loose || c->default_loose);
}

static int
load_constraint(const json_t *value, struct error *err)
{
    const char *text = json_string_value(value);
    if (value == NULL || (text != NULL && strcmp(text, "bound") == 0))
        return 0;
    if (text != NULL && strcmp(text, "open") == 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "caConstraint \"open\" is not offered by this build: leave it out");
    return error_set(err, ERR_INVALID_CONFIG, "caConstraint: give \"bound\"");
}

static int
load_limit(struct choices *c, const json_t *value, struct error *err)
{
    if (value == NULL)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return error_set(err, ERR_INVALID_CONFIG,
                         "maxTxBytes: give a whole number of bytes; 0 is no limit");
    uint64_t limit = (uint64_t)json_integer_value(value);
    if (limit > 0 && (c->max_tx_bytes == 0 || limit < c->max_tx_bytes))
        c->max_tx_bytes = limit;
    return 0;
}

static int
load_choices(struct choices *c, const json_t *from, struct error *err)
{
    static const char *const misuse_members[] = {"head", "body", NULL};
    const json_t *misuse;
    const json_t *audit;
    const json_t *constraint;
    const json_t *limit;
    if (get_either(from, "onMisuse", "on_misuse", &misuse, err) < 0 ||
        get_either(from, "onAuditFailure", "on_audit_failure", &audit, err) < 0 ||
        get_either(from, "caConstraint", "ca_constraint", &constraint, err) < 0 ||
        get_either(from, "maxTxBytes", "max_tx_bytes", &limit, err) < 0)
        return -1;
    if (misuse != NULL && policy_json_members("onMisuse", misuse, misuse_members, err) < 0)
        return -1;
    if (choose(&c->of[CHOICE_ECH], get(from, "ech"), err) < 0 ||
        choose(&c->of[CHOICE_HEAD], get(misuse, "head"), err) < 0 ||
        choose(&c->of[CHOICE_BODY], get(misuse, "body"), err) < 0 ||
        choose(&c->of[CHOICE_AUDIT], audit, err) < 0 || load_constraint(constraint, err) < 0)
        return -1;
    return load_limit(c, limit, err);
}

static void
settle(struct policy *p, const struct choices *c)
{
    p->settings = (struct policy_settings){
        .pass_ech = is_loose(&c->of[CHOICE_ECH]),
        .pass_misused_heads = is_loose(&c->of[CHOICE_HEAD]),
        .block_seen_bodies = !is_loose(&c->of[CHOICE_BODY]),
        .drop_audit = is_loose(&c->of[CHOICE_AUDIT]),
        .max_tx_bytes = c->max_tx_bytes,
    };
}

// --- layers ---

static int
load_layer(struct policy *p, enum policy_layer layer, const json_t *from, struct choices *choices,
           struct error *err)
{
    if (load_lists(&p->layers[layer], from, err) < 0 || load_choices(choices, from, err) < 0)
        return -1;
    return policy_json_strings("inspect", get(from, "inspect"), add_inspect, p, err);
}

static int
load_operator(struct policy *p, const struct policy_request *request, const json_t *named,
              struct choices *choices, struct error *err)
{
    const json_t *document = request->operator->document;
    if (load_lists(&p->layers[POLICY_CEILING], get(document, "ceiling"), err) < 0)
        return error_wrap(err, "ceiling");
    if (policy_json_strings("private", get(document, "private"), add_private, p, err) < 0)
        return -1;
    if (named != NULL && load_layer(p, POLICY_NAMED, named, choices, err) < 0)
        return error_wrap(err, "policy %s", request->named);
    return 0;
}

static int
unknown_policy(const struct policy_request *request, struct error *err)
{
    char known[128] = "";
    size_t used = 0;
    const char *name;
    json_t *value;
    const struct operator* o = request->operator;
    const json_t *policies = o != NULL ? json_object_get(o->document, "policies") : NULL;
    json_object_foreach((json_t *)(uintptr_t)policies, name, value)
    {
        size_t size = strlen(name);
        if (used + size + 3 > sizeof known)
            break;
        if (used > 0) {
            memcpy(known + used, ", ", 2);
            used += 2;
        }
        memcpy(known + used, name, size + 1);
        used += size;
    }
    return error_set(err, ERR_INVALID_CONFIG,
                     "label policy: there is no policy \"%.64s\" on this server; there is: %s",
                     request->named, used > 0 ? known : "none");
}

static int
load_layers(struct policy *p, const struct policy_request *request, const json_t *named,
            struct error *err)
{
    struct choices choices = no_choices;
    if (request->operator!= NULL && load_operator(p, request, named, &choices, err) < 0)
        return -1;
    if (load_layer(p, POLICY_CALLER, request->document, &choices, err) < 0)
        return -1;
    settle(p, &choices);
    if (request->operator!= NULL && request->operator->needs_list && !p->layers[POLICY_CALLER]
            .restricted && !p->layers[POLICY_NAMED]
            .restricted)
        return error_set(err, ERR_INVALID_CONFIG,
                         "allow_net: this server makes no sandbox without a list: name the hosts "
                         "that it needs");
    return 0;
}

// Room for each value and placeholder and their terminators; what is no string fails later.
static size_t
vault_size(const json_t *secrets)
{
    enum { SPARE = POLICY_PREFIX_MAX + POLICY_PLACEHOLDER_MIN + 2 };
    size_t total = 0;
    const char *key;
    json_t *secret;
    json_object_foreach((json_t *)(uintptr_t)secrets, key, secret)
    {
        const json_t *value = json_object_get(secret, "value");
        size_t size = value != NULL ? json_string_length(value) : POLICY_VALUE_MAX;
        if (size <= POLICY_VALUE_MAX)
            total += 2 * size + SPARE;
    }
    return total;
}

static int
load_into(struct policy *p, const struct policy_request *request, const json_t *named,
          struct error *err)
{
    if (load_layers(p, request, named, err) < 0)
        return -1;
    if (named != NULL && policy_load_secrets(p, request, get(named, "secrets"), err) < 0)
        return error_wrap(err, "policy %s", request->named);
    if (policy_load_secrets(p, request, get(request->document, "secrets"), err) < 0)
        return -1;
    return policy_check_authority(p, err);
}

int
policy_load(const struct policy_request *request, struct policy **ret, struct error *err)
{
    const json_t *named = NULL;
    if (request->whole && policy_json_members("policy", request->document, policy_members, err) < 0)
        return -1;
    if (request->named != NULL) {
        named =
            request->operator!= NULL ? operator_policy(request->operator, request->named) : NULL;
        if (named == NULL)
            return unknown_policy(request, err);
    }
    const json_t *secrets = get(request->document, "secrets");
    if (secrets != NULL && !json_is_object(secrets))
        return error_set(err, ERR_INVALID_CONFIG, "secrets: not an object");
    const json_t *more = get(named, "secrets");
    if (json_object_size(secrets) + json_object_size(more) > POLICY_SECRETS_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "secrets: more than %d", (int)POLICY_SECRETS_MAX);
    struct policy *p;
    if (policy_new(vault_size(secrets) + vault_size(more), &p, err) < 0)
        return -1;
    if (load_into(p, request, named, err) < 0) {
        policy_free(p);
        return -1;
    }
    *ret = p;
    return 0;
}

int
policy_from_json(const json_t *allow_net, const json_t *secrets, struct policy **ret,
                 struct error *err)
{
    json_t *document = json_object();
    // A member that is NULL is not set, which is what is meant.
    (void)json_object_set(document, "allow_net", (json_t *)(uintptr_t)allow_net);
    (void)json_object_set(document, "secrets", (json_t *)(uintptr_t)secrets);
    const struct policy_request request = {.document = document};
    int status = policy_load(&request, ret, err);
    json_decref(document);
    return status;
}
