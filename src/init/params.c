// SPDX-License-Identifier: Apache-2.0
#include "init/params.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "init/errors.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ISSUE_KEY_MAX = 256, // shown of a key that the client chose
    ISSUES_MAX = 64,     // an array of wrong elements does not make an answer many times its size
};

static const double SAFE_INTEGER_MAX = 9007199254740991.0;

static const char *const expected_names[] = {
    [PARAM_NONE] = "never",       [PARAM_STRING] = "string",
    [PARAM_NAME] = "string",      [PARAM_NUMBER] = "number",
    [PARAM_INTEGER] = "int",      [PARAM_INDEX] = "nonnegative int",
    [PARAM_BOOL] = "boolean",     [PARAM_NAMES] = "array",
    [PARAM_NAME_MAP] = "record",  [PARAM_CHOICE] = "string",
    [PARAM_DATE] = "date string", [PARAM_OBJECT] = "object",
    [PARAM_OFFSET] = "int",       [PARAM_REGEXES] = "array",
    [PARAM_LIST] = "array",       [PARAM_FLAG_OR_NAMES] = "boolean or array",
};
static_assert(ARRAY_SIZE(expected_names) == PARAM_TYPE_MAX, "a name for each type");

struct check {
    const char *path[4]; // names from the outermost object inwards
    size_t depth;
    json_t *issues;
    bool nul;
};

static const char *
found_name(const json_t *v)
{
    if (v == NULL)
        return "undefined";
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "array";
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    case JSON_NULL:
        return "null";
    default:
        return "undefined";
    }
}

json_t *
params_issue(const char *expected, json_t *path, const json_t *found)
{
    char message[160];
    (void)snprintf(message, sizeof message, "Invalid input: expected %s, received %s", expected,
                   found_name(found));
    return json_pack("{s:s, s:s, s:o, s:s}", "expected", expected, "code", "invalid_type", "path",
                     path, "message", message);
}

json_t *
params_issues_data(json_t *issues)
{
    cleanup_free char *text = json_dumps(issues, JSON_COMPACT);
    json_decref(issues);
    return json_pack("{s:s, s:s}", "constructorName", "ZodError", "message",
                     text != NULL ? text : "[]");
}

static json_t *
path_json(const struct check *k)
{
    json_t *path = json_array();
    for (size_t i = 0; i < k->depth; i++)
        (void)json_array_append_new(
            path, error_json_text(k->path[i], strnlen(k->path[i], ISSUE_KEY_MAX)));
    return path;
}

static void
complain(struct check *k, const char *expected, const json_t *found)
{
    if (json_array_size(k->issues) < ISSUES_MAX)
        (void)json_array_append_new(k->issues, params_issue(expected, path_json(k), found));
}

static void
push(struct check *k, const char *name)
{
    assert(k->depth < ARRAY_SIZE(k->path));
    k->path[k->depth++] = name;
}

static void
pop(struct check *k)
{
    k->path[--k->depth] = NULL;
}

static void
check_name(struct check *k, const json_t *v)
{
    if (!json_is_string(v))
        complain(k, "string", v);
    else if (strlen(json_string_value(v)) != json_string_length(v))
        k->nul = true;
}

static void
check_names(struct check *k, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(v); i++) {
        char index[24];
        (void)snprintf(index, sizeof index, "%zu", i);
        push(k, index);
        check_name(k, json_array_get(v, i));
        pop(k);
    }
}

static void
check_name_map(struct check *k, const json_t *map)
{
    json_t *v = (json_t *)(uintptr_t)map; // jansson iterates only over what is not const
    const char *key;
    size_t key_size;
    json_t *member;
    json_object_keylen_foreach(v, key, key_size, member)
    {
        if (strlen(key) != key_size)
            k->nul = true;
        push(k, key);
        check_name(k, member);
        pop(k);
    }
}

static void
check_choice(struct check *k, const struct param *p, const json_t *v)
{
    char all[80] = "";
    for (const char *const *c = p->choices; *c != NULL; c++) {
        if (strcmp(*c, json_string_value(v)) == 0)
            return;
        size_t used = strlen(all);
        (void)snprintf(all + used, sizeof all - used, "%s\"%s\"", used > 0 ? "|" : "", *c);
    }
    char message[128];
    (void)snprintf(message, sizeof message, "Invalid option: expected one of %s", all);
    (void)json_array_append_new(k->issues, json_pack("{s:s, s:s, s:o, s:s}", "expected", all,
                                                     "code", "invalid_value", "path", path_json(k),
                                                     "message", message));
}

static bool
offset_value(const json_t *v, int64_t *ret)
{
    double n = json_number_value(v);
    if (json_is_number(v)) {
        bool fits = fabs(n) <= SAFE_INTEGER_MAX && trunc(n) == n;
        *ret = fits ? (int64_t)n : 0;
        return fits;
    }
    const char *text = json_string_value(v);
    size_t digits = text != NULL && *text == '-' ? 1 : 0;
    if (text == NULL || text[digits] < '0' || text[digits] > '9')
        return false;
    char *end;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' && (size_t)(end - text) == json_string_length(v);
}

static bool
type_fits(enum param_type type, const json_t *v)
{
    double n = json_number_value(v);
    switch (type) {
    case PARAM_STRING:
    case PARAM_NAME:
    case PARAM_CHOICE:
        return json_is_string(v);
    case PARAM_NUMBER:
        return json_is_number(v) && isfinite(n);
    case PARAM_INTEGER:
        return json_is_number(v) && fabs(n) <= SAFE_INTEGER_MAX && trunc(n) == n;
    case PARAM_INDEX:
        return json_is_number(v) && n >= 0 && n <= SAFE_INTEGER_MAX && trunc(n) == n;
    case PARAM_OFFSET:
        return offset_value(v, &(int64_t){0});
    case PARAM_BOOL:
        return json_is_boolean(v);
    case PARAM_NAMES:
    case PARAM_LIST:
    case PARAM_REGEXES:
        return json_is_array(v);
    case PARAM_FLAG_OR_NAMES:
        return json_is_boolean(v) || json_is_array(v);
    case PARAM_NAME_MAP:
    case PARAM_OBJECT:
        return json_is_object(v);
    case PARAM_DATE:
        return json_is_string(v) || (json_is_number(v) && isfinite(n));
    case PARAM_NONE:
    case PARAM_TYPE_MAX:
    default:
        return false;
    }
}

static bool
is_integer(enum param_type type)
{
    return type == PARAM_INTEGER || type == PARAM_INDEX;
}

static void check_members(struct check *k, const struct param *table, const json_t *object);

static void
check_regexes(struct check *k, const json_t *v)
{
    static const struct param members[] = {{"source", PARAM_NAME}, {"flags", PARAM_NAME}, {0}};
    for (size_t i = 0; i < json_array_size(v); i++) {
        char index[24];
        (void)snprintf(index, sizeof index, "%zu", i);
        push(k, index);
        const json_t *element = json_array_get(v, i);
        if (json_is_object(element))
            check_members(k, members, element);
        else
            complain(k, "object", element);
        pop(k);
    }
}

static void
check_value(struct check *k, const struct param *p, const json_t *v)
{
    if (!type_fits(p->type, v)) {
        assert(p->type < PARAM_TYPE_MAX);
        const char *expected = expected_names[p->type];
        if (is_integer(p->type) && !json_is_number(v))
            expected = "number";
        complain(k, expected, v);
        return;
    }
    if (p->type == PARAM_NAME)
        check_name(k, v);
    else if (p->type == PARAM_NAMES || (p->type == PARAM_FLAG_OR_NAMES && json_is_array(v)))
        check_names(k, v);
    else if (p->type == PARAM_NAME_MAP)
        check_name_map(k, v);
    else if (p->type == PARAM_CHOICE)
        check_choice(k, p, v);
    else if (p->type == PARAM_REGEXES)
        check_regexes(k, v);
    else if (p->type == PARAM_OBJECT)
        check_members(k, p->members, v);
}

static void
check_members(struct check *k, const struct param *table, const json_t *object)
{
    for (const struct param *p = table; p->name != NULL; p++) {
        const json_t *v = json_object_get(object, p->name);
        if (p->optional && (v == NULL || json_is_null(v)))
            continue;
        push(k, p->name);
        check_value(k, p, v);
        pop(k);
    }
}

enum params_status
params_check(const struct param *table, const json_t *params, json_t *issues)
{
    struct check k = {.issues = issues};
    if (params != NULL && !json_is_object(params)) {
        complain(&k, "object", params);
        return PARAMS_INVALID;
    }
    check_members(&k, table, params);
    if (json_array_size(issues) > 0)
        return PARAMS_INVALID;
    return k.nul ? PARAMS_NUL : PARAMS_OK;
}

const json_t *
param_value(const json_t *params, const char *name)
{
    const json_t *v = json_object_get(params, name);
    return json_is_null(v) ? NULL : v;
}

const char *
param_text(const json_t *params, const char *name)
{
    return json_string_value(json_object_get(params, name));
}

bool
param_flag(const json_t *params, const char *name, bool fallback)
{
    const json_t *v = param_value(params, name);
    return v != NULL ? json_is_true(v) : fallback;
}

bool
param_number(const json_t *params, const char *name, double *ret)
{
    const json_t *v = param_value(params, name);
    if (v == NULL)
        return false;
    *ret = json_number_value(v);
    return true;
}

bool
param_index(const json_t *params, const char *name, uint64_t *ret)
{
    double v;
    if (!param_number(params, name, &v))
        return false;
    *ret = (uint64_t)v;
    return true;
}

bool
param_offset(const json_t *params, const char *name, int64_t *ret)
{
    const json_t *v = param_value(params, name);
    return v != NULL && offset_value(v, ret);
}
