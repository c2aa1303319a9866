// SPDX-License-Identifier: Apache-2.0
// The method fetch. Each call has a process of its own, casemate-fetch (wire/fetch.h), which runs
// as the user app in the sandbox's network: it can do what any process there can, so the policy
// holds and secrets are swapped as for any other. What it says is a guest's word.
#pragma once

#include "init/call.h"
#include "init/params.h"

enum {
    // In progress in one sandbox, bodies that nobody reads included: each is a process, and stops a
    // client from filling the sandbox with them. Streams that wait for their client to be ready are
    // bounded by OUTQUEUE_BARRIERS_MAX besides.
    FETCHES_MAX = 128,
};

struct fetches;

// program: casemate-fetch, a sealed memory file; -1: none was given.
struct fetches *fetches_new(int program);

extern const struct param fetch_params[];
void fetch_start(struct call *call, const json_t *params);
// Ends the bodies of this client's calls that carry the id and were answered already.
void fetches_abort(struct fetches *fs, const struct channel *c, uint64_t abort_id);
