// SPDX-License-Identifier: Apache-2.0
// What stands in the document is checked by use: each policy and each secret is loaded once, with
// stand-ins for values, by what loads them for sandboxes.
#include "policy/operator.h"

#include "base/cleanup.h"
#include "policy/policy-load.h"

#include <stdio.h>
#include <string.h>

static bool
is_name(const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c != '\0' && strchr("-_.", c) != NULL)))
            return false;
    }
    return size > 0 && size <= OPERATOR_NAME_MAX;
}

// An object of things by name, or nothing.
static int
check_names(const char *what, const json_t *object, size_t max, struct error *err)
{
    const char *name;
    json_t *value;
    if (object == NULL)
        return 0;
    if (!json_is_object(object))
        return error_set(err, ERR_INVALID_CONFIG, "%s: not an object", what);
    if (json_object_size(object) > max)
        return error_set(err, ERR_INVALID_CONFIG, "%s: more than %zu", what, max);
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (!is_name(name))
            return error_set(err, ERR_INVALID_CONFIG,
                             "%s: \"%.64s\" is no name: 1 to 64 letters, digits, \"-\", \"_\" and "
                             "\".\"",
                             what, name);
    }
    return 0;
}

static int
try(const struct operator* o, json_t *document, const char *named, struct error *err)
{
    struct operator quiet = * o;
    quiet.needs_list = false; // a policy may leave the list to the sandbox
    const struct policy_request request = {
        .document = document, .stand_in = true, .named = named, .operator= & quiet };
    struct policy *p;
    if (policy_load(&request, &p, err) < 0)
        return -1;
    policy_free(p);
    return 0;
}

// --- secrets ---

static int
check_command(const char *what, const json_t *command, const json_t *ttl, struct error *err)
{
    size_t count = json_array_size(command);
    if (count == 0 || count > OPERATOR_ARGUMENTS_MAX)
        return error_set(err, ERR_INVALID_CONFIG, "%s: command: not a list of 1 to %d strings",
                         what, (int)OPERATOR_ARGUMENTS_MAX);
    for (size_t i = 0; i < count; i++)
        if (!json_is_string(json_array_get(command, i)))
            return error_set(err, ERR_INVALID_CONFIG, "%s: command: not a list of strings", what);
    if (json_string_value(json_array_get(command, 0))[0] != '/')
        return error_set(err, ERR_INVALID_CONFIG,
                         "%s: command: the program is not an absolute path", what);
    if (!json_is_integer(ttl) || json_integer_value(ttl) < 1 ||
        json_integer_value(ttl) > OPERATOR_TTL_MAX_S)
        return error_set(err, ERR_INVALID_CONFIG,
                         "%s: ttl: give the seconds that the command's answer is good for, 1 to %d",
                         what, (int)OPERATOR_TTL_MAX_S);
    return 0;
}

static int
check_source(const char *what, const json_t *secret, struct error *err)
{
    const json_t *file = json_object_get(secret, "file");
    const json_t *credential = json_object_get(secret, "credential");
    const json_t *command = json_object_get(secret, "command");
    const json_t *ttl = json_object_get(secret, "ttl");
    if ((file != NULL) + (credential != NULL) + (command != NULL) != 1)
        return error_set(err, ERR_INVALID_CONFIG, "%s: give one of file, credential and command",
                         what);
    if (command != NULL)
        return check_command(what, command, ttl, err);
    if (ttl != NULL)
        return error_set(err, ERR_INVALID_CONFIG, "%s: ttl is for commands", what);
    if (file != NULL && (!json_is_string(file) || json_string_value(file)[0] != '/'))
        return error_set(err, ERR_INVALID_CONFIG, "%s: file: not an absolute path", what);
    if (credential != NULL &&
        (!json_is_string(credential) || !is_name(json_string_value(credential)) ||
         json_string_value(credential)[0] == '.'))
        return error_set(err, ERR_INVALID_CONFIG, "%s: credential: not a credential's name", what);
    return 0;
}

static int
check_secret(const struct operator* o, const char *name, const json_t *secret, struct error *err)
{
    static const char *const known[] = {"file",    "credential", "command", "ttl",   "hosts",
                                        "where",   "prefix",     "redact",  "ports", "plainHttp",
                                        "methods", "paths",      NULL};
    char what[OPERATOR_NAME_MAX + 16];
    (void)snprintf(what, sizeof what, "secret %s", name);
    if (policy_json_members(what, secret, known, err) < 0 || check_source(what, secret, err) < 0)
        return -1;
    json_t *trial = json_pack("{s:{s:{s:s}}}", "secrets", "TRIAL", "ref", name);
    int status = try(o, trial, NULL, err);
    json_decref(trial);
    return status < 0 ? error_wrap(err, "%s", what) : 0;
}

static int
check_secrets(const struct operator* o, struct error *err)
{
    const char *name;
    json_t *secret;
    json_t *secrets = json_object_get(o->document, "secrets");
    if (check_names("secrets", secrets, OPERATOR_SECRETS_MAX, err) < 0)
        return -1;
    json_object_foreach(secrets, name, secret)
    {
        if (check_secret(o, name, secret, err) < 0)
            return -1;
    }
    return 0;
}

// --- policies ---

// Values are not for a policy that many may read.
static int
check_refs(const char *what, const json_t *secrets, struct error *err)
{
    const char *name;
    json_t *secret;
    json_object_foreach((json_t *)(uintptr_t)secrets, name, secret)
    {
        if (!json_is_string(json_object_get(secret, "ref")))
            return error_set(err, ERR_INVALID_CONFIG,
                             "%s: secret %.64s: give the operator's secret as \"ref\"", what, name);
    }
    return 0;
}

static int
check_policies(const struct operator* o, struct error *err)
{
    static const char *const known[] = {
        "allowNet",       "denyNet",      "inspect",    "ech",     "onMisuse",
        "onAuditFailure", "caConstraint", "maxTxBytes", "secrets", NULL};
    const char *name;
    json_t *policy;
    json_t *policies = json_object_get(o->document, "policies");
    if (check_names("policies", policies, OPERATOR_POLICIES_MAX, err) < 0)
        return -1;
    json_object_foreach(policies, name, policy)
    {
        char what[OPERATOR_NAME_MAX + 16];
        (void)snprintf(what, sizeof what, "policy %s", name);
        if (policy_json_members(what, policy, known, err) < 0 ||
            check_refs(what, json_object_get(policy, "secrets"), err) < 0 ||
            try(o, NULL, name, err) < 0)
            return -1;
    }
    return 0;
}

// --- the whole ---

static int
check(struct operator* o, struct error *err)
{
    static const char *const known[] = {"ceiling",  "private", "requireAllowNet",
                                        "policies", "secrets", NULL};
    static const char *const lists[] = {"allowNet", "denyNet", NULL};
    const json_t *needs = json_object_get(o->document, "requireAllowNet");
    const json_t *ceiling = json_object_get(o->document, "ceiling");
    if (policy_json_members("egress", o->document, known, err) < 0)
        return -1;
    if (ceiling != NULL && policy_json_members("ceiling", ceiling, lists, err) < 0)
        return -1;
    if (needs != NULL && !json_is_boolean(needs))
        return error_set(err, ERR_INVALID_CONFIG, "requireAllowNet: give true or false");
    o->needs_list = json_is_true(needs);
    if (try(o, NULL, NULL, err) < 0 || check_secrets(o, err) < 0)
        return -1;
    return check_policies(o, err);
}

int
operator_init(struct operator* o, json_t *document, struct error *err)
{
    struct operator made = {.document = document};
    if (check(&made, err) < 0)
        return -1;
    *o = made;
    return 0;
}

void operator_done(struct operator* o)
{
    json_decref(o->document);
    *o = (struct operator){0};
}

const json_t *
operator_policy(const struct operator* o, const char *name)
{
    return json_object_get(json_object_get(o->document, "policies"), name);
}

const json_t *
operator_secret(const struct operator* o, const char *name)
{
    return json_object_get(json_object_get(o->document, "secrets"), name);
}
