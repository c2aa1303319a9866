// SPDX-License-Identifier: Apache-2.0
// From a client's message to the method that it calls.
#pragma once

#include "init/call.h"
#include "init/params.h"

struct method {
    const char *name;
    // Called with checked params (which it does not own; NULL is as good as an empty object).
    // Answers the call, now or later. NULL: known to the protocol, and not built.
    void (*handler)(struct call *call, const json_t *params);
    const struct param *params;
};

const struct method *rpc_method(const char *name); // NULL if there is none
// All of them, in the order of their names; api/openrpc.json is held to this table.
const struct method *rpc_methods(size_t *ret_count);

// As channels.message.
void rpc_message(struct channel *c, uint64_t number, bool is_call, struct buf *text);
