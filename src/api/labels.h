// SPDX-License-Identifier: Apache-2.0
// The label filter of a list request. JavaScript sends `labels[key]=value` for each label, Python
// one `labels={'key': 'value'}` with a Python dict literal; both percent- and "+"-encoded. All
// given labels must match.
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    LABELS_FILTER_MAX = 16,       // labels in a filter
    LABELS_QUERY_MAX = 16 * 1024, // bytes of a query
};

// Sets *ret to an object of strings (the caller's). Other parameters are ignored.
int labels_parse_query(const char *query, size_t size, json_t **ret, struct error *err);
bool labels_match(const json_t *labels, const json_t *filter);
