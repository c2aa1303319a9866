// SPDX-License-Identifier: Apache-2.0
// A policy out of a create request. Values go from the JSON document, which is the caller's to
// wipe, straight into the vault; no message quotes one.
#include "egress/policy-internal.h"

#include <string.h>

static bool
is_absent(const json_t *v)
{
    return v == NULL || json_is_null(v);
}

static int
load_rules(struct policy *p, const json_t *list, struct error *err)
{
    if (is_absent(list))
        return 0;
    if (!json_is_array(list))
        return error_set(err, ERR_INVALID_CONFIG, "allow_net: not an array of strings");
    p->restricted = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *rule = json_array_get(list, i);
        if (!json_is_string(rule))
            return error_set(err, ERR_INVALID_CONFIG, "allow_net: entry %zu is not a string", i);
        if (policy_add_rule(p, json_string_value(rule), json_string_length(rule), err) < 0)
            return -1;
    }
    return 0;
}

static int
check_members(const char *name, json_t *secret, struct error *err)
{
    const char *key;
    json_t *member;
    json_object_foreach(secret, key, member) if (
        strcmp(key, "hosts") != 0 &&
        strcmp(key, "value") !=
            0) return error_set(err, ERR_INVALID_CONFIG,
                                "secret %.64s: unknown member \"%.64s\": there are hosts and value",
                                name, key);
    return 0;
}

static int
load_secret(struct policy *p, const char *name, json_t *secret, struct error *err)
{
    if (policy_begin_secret(p, name, strlen(name), err) < 0)
        return -1;
    if (!json_is_object(secret))
        return error_set(err, ERR_INVALID_CONFIG, "secret %s: not an object", name);
    if (check_members(name, secret, err) < 0)
        return -1;
    const json_t *hosts = json_object_get(secret, "hosts");
    const json_t *value = json_object_get(secret, "value");
    if (!json_is_array(hosts))
        return error_set(err, ERR_INVALID_CONFIG, "secret %s: hosts is not an array", name);
    if (!json_is_string(value))
        return error_set(err, ERR_INVALID_CONFIG, "secret %s: value is not a string", name);
    for (size_t i = 0; i < json_array_size(hosts); i++) {
        const json_t *host = json_array_get(hosts, i);
        if (!json_is_string(host))
            return error_set(err, ERR_INVALID_CONFIG, "secret %s: host %zu is not a string", name,
                             i);
        if (policy_add_host(p, json_string_value(host), json_string_length(host), err) < 0)
            return -1;
    }
    return policy_finish_secret(p, json_string_value(value), json_string_length(value), NULL, 0,
                                err);
}

// Room for each value and placeholder and their terminators; what is no string fails later.
static size_t
vault_size(json_t *secrets)
{
    size_t total = 0;
    const char *key;
    json_t *secret;
    json_object_foreach(secrets, key, secret)
    {
        size_t size = json_string_length(json_object_get(secret, "value"));
        if (size <= POLICY_VALUE_MAX)
            total += size + 1 + policy_placeholder_size(size) + 1;
    }
    return total;
}

static int
load_secrets(struct policy *p, json_t *secrets, struct error *err)
{
    const char *name;
    json_t *secret;
    json_object_foreach(secrets, name, secret) if (load_secret(p, name, secret, err) < 0) return -1;
    return 0;
}

int
policy_from_json(const json_t *allow_net, const json_t *secrets, struct policy **ret,
                 struct error *err)
{
    if (!is_absent(secrets) && !json_is_object(secrets))
        return error_set(err, ERR_INVALID_CONFIG, "secrets: not an object");
    // jansson iterates over nothing but a json_t that is not const, even to read.
    json_t *object = is_absent(secrets) ? NULL : (json_t *)(uintptr_t)secrets;
    if (json_object_size(object) > POLICY_SECRETS_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "secrets: more than %d", (int)POLICY_SECRETS_MAX);
    struct policy *p;
    if (policy_new(vault_size(object), &p, err) < 0)
        return -1;
    if (load_rules(p, allow_net, err) < 0 || load_secrets(p, object, err) < 0) {
        policy_free(p);
        return -1;
    }
    *ret = p;
    return 0;
}
