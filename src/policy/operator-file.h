// SPDX-License-Identifier: Apache-2.0
// JSON files of policies: the operator's, and those that are checked by hand.
#pragma once

#include "policy/operator.h"

enum { OPERATOR_FILE_MAX = 1024 * 1024 };

// One JSON object out of a file, "-" for standard input; the caller's. A fault is told by its place
// only: what stands there may be a value.
int operator_read_json(const char *path, json_t **ret, struct error *err);
// A file of --egress-config. o->read is not set.
int operator_load_file(const char *path, struct operator* o, struct error *err);
