// SPDX-License-Identifier: Apache-2.0
#include "init/env-rpc.h"

#include "init/env.h"
#include "init/guest.h"

#include <string.h>

const struct param env_rpc_key_params[] = {{"key", PARAM_NAME}, {0}};
const struct param env_rpc_set_params[] = {{"key", PARAM_NAME}, {"value", PARAM_NAME}, {0}};

static bool
take_key(struct call *call, const json_t *params, const char **ret)
{
    *ret = param_text(params, "key");
    if (env_name_is_valid(*ret))
        return true;
    call_fail_type(call, "Invalid name of an environment variable");
    return false;
}

void
env_rpc_get(struct call *call, const json_t *params)
{
    const char *key;
    if (!take_key(call, params, &key))
        return;
    const char *value = env_get(call_guest(call)->env, key);
    call_ok(call, value != NULL ? error_json_text(value, strlen(value)) : json_null());
}

void
env_rpc_set(struct call *call, const json_t *params)
{
    const char *key;
    if (!take_key(call, params, &key))
        return;
    if (env_set(call_guest(call)->env, key, param_text(params, "value")) < 0)
        call_fail(call, error_object("RangeError", NULL, "The environment is full"));
    else
        call_ok_null(call);
}

void
env_rpc_delete(struct call *call, const json_t *params)
{
    const char *key;
    if (!take_key(call, params, &key))
        return;
    env_unset(call_guest(call)->env, key);
    call_ok_null(call);
}

void
env_rpc_to_object(struct call *call, const json_t *params)
{
    (void)params;
    call_ok(call, env_to_json(call_guest(call)->env));
}
