// SPDX-License-Identifier: Apache-2.0
// The text of a client's call, as init reads it: parsed, its method found, its params checked
// against that method's table and against every other's. What is complained of must be in the form
// that clients read, and what is not must be there for the getters.
#include "base/cleanup.h"
#include "init/json-input.h"
#include "init/rpc.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool holds)
{
    if (!holds)
        abort();
}

static void
check_issues(json_t *issues)
{
    require(json_array_size(issues) > 0);
    json_t *data = params_issues_data(issues); // takes it
    const char *text = json_string_value(json_object_get(data, "message"));
    json_t *again = text != NULL ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;
    require(json_array_size(again) > 0);
    for (size_t i = 0; i < json_array_size(again); i++) {
        json_t *issue = json_array_get(again, i);
        json_t *path = json_object_get(issue, "path");
        require(json_is_string(json_object_get(issue, "expected")));
        require(json_is_string(json_object_get(issue, "code")));
        require(json_is_string(json_object_get(issue, "message")));
        require(json_is_array(path));
        for (size_t k = 0; k < json_array_size(path); k++)
            require(json_is_string(json_array_get(path, k)));
    }
    json_decref(again);
    json_decref(data);
}

static void
check_getters(const struct param *table, const json_t *params)
{
    for (const struct param *p = table; p->name != NULL; p++) {
        const json_t *v = param_value(params, p->name);
        uint64_t index;
        int64_t offset;
        double number;
        if (v == NULL) {
            require(p->optional && param_text(params, p->name) == NULL);
            continue;
        }
        if (p->type == PARAM_NAME)
            require(strlen(param_text(params, p->name)) == json_string_length(v));
        else if (p->type == PARAM_INDEX)
            require(param_index(params, p->name, &index) && index < (uint64_t)1 << 53);
        else if (p->type == PARAM_OFFSET)
            require(param_offset(params, p->name, &offset));
        else if (p->type == PARAM_NUMBER || p->type == PARAM_INTEGER)
            require(param_number(params, p->name, &number));
    }
}

static void
check_params(const struct method *m, const json_t *params)
{
    if (m->params == NULL)
        return;
    json_t *issues = json_array();
    enum params_status status = params_check(m->params, params, issues);
    if (status == PARAMS_INVALID) {
        check_issues(issues);
        return;
    }
    require(json_array_size(issues) == 0);
    json_decref(issues);
    if (status == PARAMS_OK)
        check_getters(m->params, params);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready)
        json_input_init();
    ready = true;
    cleanup_buf struct buf text = {.cap = FRAME_MESSAGE_MAX};
    if (buf_append(&text, data, size) < 0)
        return 0;
    json_t *message = json_input_parse(&text);
    const char *name = json_string_value(json_object_get(message, "method"));
    const json_t *params = param_value(message, "params");
    const struct method *called = name != NULL ? rpc_method(name) : NULL;
    require(called == NULL || strcmp(called->name, name) == 0);
    size_t count;
    const struct method *all = rpc_methods(&count);
    for (size_t i = 0; message != NULL && i < count; i++)
        check_params(&all[i], params);
    json_decref(message);
    return 0;
}
