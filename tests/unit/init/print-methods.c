// SPDX-License-Identifier: Apache-2.0
// Prints init's own table of methods as JSON, so that a document can be compared with it:
// {"METHOD": null (known, not built) or [{"name", "type", "optional", "members"?, "choices"?}…]}
#include "init/rpc.h"

#include "base/cleanup.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const type_names[] = {
    [PARAM_NONE] = "none",
    [PARAM_STRING] = "string",
    [PARAM_NAME] = "name",
    [PARAM_NUMBER] = "number",
    [PARAM_INTEGER] = "integer",
    [PARAM_INDEX] = "index",
    [PARAM_OFFSET] = "offset",
    [PARAM_BOOL] = "bool",
    [PARAM_NAMES] = "names",
    [PARAM_CHOICE] = "choice",
    [PARAM_NAME_MAP] = "nameMap",
    [PARAM_DATE] = "date",
    [PARAM_OBJECT] = "object",
    [PARAM_REGEXES] = "regexes",
    [PARAM_FLAG_OR_NAMES] = "flag-or-names",
    [PARAM_LIST] = "list",
};
static_assert(ARRAY_SIZE(type_names) == PARAM_TYPE_MAX, "a name for each type");

static json_t *table_json(const struct param *table);

static json_t *
param_json(const struct param *p)
{
    assert(p->type < PARAM_TYPE_MAX);
    json_t *v = json_pack("{s:s, s:s, s:b}", "name", p->name, "type", type_names[p->type],
                          "optional", p->optional);
    if (p->members != NULL)
        (void)json_object_set_new(v, "members", table_json(p->members));
    if (p->choices != NULL) {
        json_t *choices = json_array();
        for (const char *const *c = p->choices; *c != NULL; c++)
            (void)json_array_append_new(choices, json_string(*c));
        (void)json_object_set_new(v, "choices", choices);
    }
    return v;
}

static json_t *
table_json(const struct param *table)
{
    json_t *all = json_array();
    for (const struct param *p = table; p->name != NULL; p++)
        (void)json_array_append_new(all, param_json(p));
    return all;
}

int
main(void)
{
    size_t count;
    const struct method *methods = rpc_methods(&count);
    json_t *all = json_object();
    for (size_t i = 0; i < count; i++) {
        const struct method *m = &methods[i];
        (void)json_object_set_new(all, m->name,
                                  m->handler != NULL ? table_json(m->params) : json_null());
    }
    int r = json_dumpf(all, stdout, JSON_INDENT(1));
    json_decref(all);
    return r == 0 && putchar('\n') != EOF && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
