// SPDX-License-Identifier: Apache-2.0
// The methods on the sandbox's environment.
#pragma once

#include "init/call.h"
#include "init/params.h"

extern const struct param env_rpc_key_params[];
extern const struct param env_rpc_set_params[];
void env_rpc_get(struct call *call, const json_t *params);
void env_rpc_set(struct call *call, const json_t *params);
void env_rpc_delete(struct call *call, const json_t *params);
void env_rpc_to_object(struct call *call, const json_t *params);
