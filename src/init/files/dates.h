// SPDX-License-Identifier: Apache-2.0
// Dates of the protocol: ISO 8601 text, or Unix seconds as a number.
#pragma once

#include <jansson.h>
#include <time.h>

// 0, or -1 if v is no date.
int date_from_json(const json_t *v, struct timespec *ret);
