// SPDX-License-Identifier: Apache-2.0
// The secrets of a policy out of JSON.
#include "policy/policy-load.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "policy/operator.h"

#include <stdio.h>
#include <string.h>

struct load {
    struct policy *p;
    const struct policy_request *request;
    const char *name;
    const json_t *own;   // as the sandbox has it
    const json_t *bound; // as the operator has it; NULL: it is the sandbox's own
    const char *ref;     // the operator's name for it
};

static const json_t *
get(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static int
refuse(const struct load *l, struct error *err, const char *why)
{
    return error_set(err, ERR_INVALID_CONFIG, "secret %.64s: %s", l->name, why);
}

// A part of the secret: the sandbox's word, else the operator's.
static const json_t *
part(const struct load *l, const char *name)
{
    const json_t *own = get(l->own, name);
    return own != NULL ? own : get(l->bound, name);
}

static int
each(const struct load *l, const char *member,
     int (*add)(void *user, const char *text, size_t size, struct error *err), struct error *err)
{
    char what[POLICY_NAME_MAX + 32];
    (void)snprintf(what, sizeof what, "secret %.64s: %s", l->name, member);
    return policy_json_strings(what, part(l, member), add, (void *)(uintptr_t)l, err);
}

// --- what the operator bounds ---

static bool
has_string(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0)
            return true;
    return false;
}

static bool
covers_host(const json_t *hosts, const struct rule *host)
{
    for (size_t i = 0; i < json_array_size(hosts); i++) {
        const json_t *text = json_array_get(hosts, i);
        struct rule outer;
        if (rule_parse(json_string_value(text), json_string_length(text), &outer, NULL) == 0 &&
            (outer.port == 0 || outer.port == host->port) && rule_covers(&outer, host))
            return true;
    }
    return false;
}

static bool
covers_path(const json_t *paths, const char *path)
{
    for (size_t i = 0; i < json_array_size(paths); i++)
        if (policy_path_covers(json_string_value(json_array_get(paths, i)), path))
            return true;
    return json_array_size(paths) == 0;
}

static int
refuse_wider(const struct load *l, const char *member, const char *text, struct error *err)
{
    return error_set(
        err, ERR_INVALID_CONFIG,
        "secret %.64s: %s: \"%.80s\" is not among those of the operator's secret %.64s", l->name,
        member, text, l->ref);
}

// --- parts ---

static int
add_host(void *user, const char *text, size_t size, struct error *err)
{
    const struct load *l = user;
    if (policy_add_host(l->p, text, size, err) < 0)
        return -1;
    const struct policy_secret *s = policy_secret_at(l->p, policy_secret_count(l->p) - 1);
    const struct rule *host = &s->hosts[s->host_count - 1];
    if (l->bound != NULL && !covers_host(get(l->bound, "hosts"), host))
        return refuse_wider(l, "hosts", host->text, err);
    return 0;
}

static int
add_method(void *user, const char *text, size_t size, struct error *err)
{
    const struct load *l = user;
    const json_t *methods = get(l->bound, "methods");
    if (policy_add_method(l->p, text, size, err) < 0)
        return -1;
    if (json_array_size(methods) > 0 && !has_string(methods, text))
        return refuse_wider(l, "methods", text, err);
    return 0;
}

static int
add_path(void *user, const char *text, size_t size, struct error *err)
{
    const struct load *l = user;
    if (policy_add_path(l->p, text, size, err) < 0)
        return -1;
    if (!covers_path(get(l->bound, "paths"), text))
        return refuse_wider(l, "paths", text, err);
    return 0;
}

static int
load_ports(const struct load *l, struct error *err)
{
    const json_t *ports = part(l, "ports");
    const json_t *bound = get(l->bound, "ports");
    if (ports != NULL && !json_is_array(ports))
        return refuse(l, err, "ports: not an array of numbers");
    for (size_t i = 0; i < json_array_size(ports); i++) {
        const json_t *port = json_array_get(ports, i);
        if (!json_is_integer(port) || json_integer_value(port) < 0)
            return refuse(l, err, "ports: a port is a whole number from 1 to 65535");
        if (policy_add_port(l->p, (uint64_t)json_integer_value(port), err) < 0)
            return -1;
        bool within = json_array_size(bound) == 0;
        for (size_t k = 0; k < json_array_size(bound) && !within; k++)
            within = json_equal(json_array_get(bound, k), port);
        if (!within)
            return refuse(l, err, "ports: the operator's secret is not for all of them");
    }
    return 0;
}

// An empty list of the sandbox's would mean "any" where the operator's names some.
static int
check_narrower(const struct load *l, struct error *err)
{
    static const char *const lists[] = {"ports", "methods", "paths"};
    for (size_t i = 0; i < ARRAY_SIZE(lists) && l->bound != NULL; i++)
        if (get(l->own, lists[i]) != NULL && json_array_size(get(l->own, lists[i])) == 0 &&
            json_array_size(get(l->bound, lists[i])) > 0)
            return error_set(err, ERR_INVALID_CONFIG,
                             "secret %.64s: %s: the operator's secret %.64s is not for all of them",
                             l->name, lists[i], l->ref);
    return 0;
}

struct place {
    const char *name;
    unsigned bit; // 0: not offered
};

static const struct place places[] = {{"header", POLICY_HEADER},
                                      {"basic", POLICY_BASIC},
                                      {"query", POLICY_QUERY},
                                      {"path", POLICY_PATH},
                                      {"body", 0},
                                      {"ws", 0}};

static int
read_places(const struct load *l, const json_t *list, unsigned *ret, struct error *err)
{
    unsigned where = 0;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return refuse(l, err, "where: not a list of places");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        const struct place *found = NULL;
        for (size_t k = 0; k < ARRAY_SIZE(places) && text != NULL; k++)
            if (strcmp(places[k].name, text) == 0)
                found = &places[k];
        if (found == NULL)
            return refuse(l, err, "where: a place is \"header\", \"basic\", \"query\" or \"path\"");
        if (found->bit == 0)
            return error_set(err, ERR_UNSUPPORTED,
                             "secret %.64s: where: \"%s\" is not offered by this build", l->name,
                             found->name);
        where |= found->bit;
    }
    *ret = where;
    return 0;
}

static int
load_where(const struct load *l, unsigned *ret, struct error *err)
{
    const json_t *own = get(l->own, "where");
    const json_t *bound = get(l->bound, "where");
    unsigned most = POLICY_WHERE_DEFAULT;
    if (bound != NULL && read_places(l, bound, &most, err) < 0)
        return -1;
    *ret = most;
    if (own == NULL)
        return 0;
    if (read_places(l, own, ret, err) < 0)
        return -1;
    if (l->bound != NULL && (*ret & ~most) != 0)
        return refuse(l, err, "where: the operator's secret is not for all of these places");
    return 0;
}

static int
read_bool(const struct load *l, const char *member, const json_t *value, bool *ret,
          struct error *err)
{
    if (value == NULL)
        return 0;
    if (!json_is_boolean(value))
        return error_set(err, ERR_INVALID_CONFIG, "secret %.64s: %s: give true or false", l->name,
                         member);
    *ret = json_is_true(value);
    return 0;
}

static int
load_traits(const struct load *l, struct policy_traits *ret, struct error *err)
{
    const json_t *prefix = part(l, "prefix");
    const json_t *plain = part(l, "plainHttp");
    const json_t *redact = part(l, "redact");
    if (plain == NULL)
        plain = part(l, "plain_http");
    *ret = (struct policy_traits){.redact = true, .redact_asked = redact != NULL};
    if (load_where(l, &ret->where, err) < 0 ||
        read_bool(l, "redact", redact, &ret->redact, err) < 0 ||
        read_bool(l, "plainHttp", plain, &ret->plain_http, err) < 0)
        return -1;
    if (prefix == NULL)
        return 0;
    if (!json_is_string(prefix))
        return refuse(l, err, "prefix: not a string");
    return policy_set_prefix(l->p, json_string_value(prefix), json_string_length(prefix), err);
}

// --- the value ---

// For looking at a policy without its values: long enough for everything, and each its own.
static int
add_stand_in(const struct load *l, struct buf *out)
{
    const char *prefix = json_string_value(part(l, "prefix"));
    return buf_append_fmt(out, "%s%s-%zu-stands-in-for-a-value-that-is-not-here",
                          prefix != NULL ? prefix : "", l->name, policy_secret_count(l->p));
}

static int
read_value(const struct load *l, struct buf *out, struct error *err)
{
    const json_t *value = get(l->own, "value");
    if (value != NULL && !json_is_string(value))
        return refuse(l, err, "value is not a string");
    int status = 0;
    if (value != NULL)
        status = buf_append(out, json_string_value(value), json_string_length(value));
    else if (l->request->stand_in)
        status = add_stand_in(l, out);
    else if (l->bound == NULL)
        return refuse(l, err, "value is not a string");
    else if (l->request->operator->read == NULL)
        return error_set(err, ERR_UNAVAILABLE, "the operator's secret %.64s cannot be had here",
                         l->ref);
    else
        return l->request->operator->read(l->request->operator->user, l->ref, out, err);
    return status == 0 ? 0 : refuse(l, err, "its value is longer than 16384 bytes");
}

static int
check_own_members(const struct load *l, struct error *err)
{
    static const char *const own[] = {"hosts",   "value",     "where",      "prefix",
                                      "redact",  "plainHttp", "plain_http", "ports",
                                      "methods", "paths",     NULL};
    static const char *const of_ref[] = {"ref",     "hosts", "where", "ports",
                                         "methods", "paths", NULL};
    char what[POLICY_NAME_MAX + 16];
    (void)snprintf(what, sizeof what, "secret %.64s", l->name);
    if (json_object_get(l->own, "sign") != NULL)
        return error_set(err, ERR_UNSUPPORTED, "secret %.64s: sign is not offered by this build",
                         l->name);
    if (get(l->own, "plainHttp") != NULL && get(l->own, "plain_http") != NULL)
        return refuse(l, err, "give plainHttp or plain_http, not both");
    return policy_json_members(what, l->own, l->ref != NULL ? of_ref : own, err);
}

static int
find_bound(struct load *l, struct error *err)
{
    const json_t *ref = get(l->own, "ref");
    if (ref == NULL)
        return 0;
    if (!json_is_string(ref))
        return refuse(l, err, "ref: not a string");
    l->ref = json_string_value(ref);
    if (l->request->operator!= NULL)
        l->bound = operator_secret(l->request->operator, l->ref);
    if (l->bound != NULL)
        return 0;
    return error_set(err, ERR_INVALID_CONFIG, "secret %.64s: the operator has no secret \"%.64s\"",
                     l->name, l->ref);
}

static int
load_parts(struct load *l, struct policy_traits *ret, struct error *err)
{
    if (!json_is_object(l->own))
        return refuse(l, err, "not an object");
    if (find_bound(l, err) < 0 || check_own_members(l, err) < 0)
        return -1;
    if (!json_is_array(part(l, "hosts")))
        return refuse(l, err, "hosts is not an array");
    if (check_narrower(l, err) < 0 || load_ports(l, err) < 0 ||
        each(l, "hosts", add_host, err) < 0 || each(l, "methods", add_method, err) < 0 ||
        each(l, "paths", add_path, err) < 0)
        return -1;
    return load_traits(l, ret, err);
}

static int
load_secret(struct load *l, struct error *err)
{
    struct policy_traits traits;
    cleanup_buf struct buf value;
    buf_init_secret(&value, POLICY_VALUE_MAX);
    if (policy_begin_secret(l->p, l->name, strlen(l->name), err) < 0 ||
        load_parts(l, &traits, err) < 0 || read_value(l, &value, err) < 0)
        return -1;
    return policy_finish_secret(l->p, &traits, (const char *)buf_bytes(&value), buf_size(&value),
                                NULL, 0, err);
}

int
policy_load_secrets(struct policy *p, const struct policy_request *request, const json_t *secrets,
                    struct error *err)
{
    const char *name;
    json_t *secret;
    json_object_foreach((json_t *)(uintptr_t)secrets, name, secret)
    {
        struct load l = {.p = p, .request = request, .name = name, .own = secret};
        if (load_secret(&l, err) < 0)
            return -1;
    }
    return 0;
}
