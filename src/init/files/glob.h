// SPDX-License-Identifier: Apache-2.0
// The method expandGlob: the paths that match, sorted, as a stream.
#pragma once

#include "init/call.h"
#include "init/params.h"

extern const struct param glob_params[];
void glob_start(struct call *call, const json_t *params);
