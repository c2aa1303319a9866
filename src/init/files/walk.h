// SPDX-License-Identifier: Apache-2.0
// The method walk: the entries of a tree as a stream.
#pragma once

#include "init/call.h"
#include "init/params.h"

extern const struct param walk_params[];
void walk_start(struct call *call, const json_t *params);
