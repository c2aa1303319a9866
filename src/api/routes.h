// SPDX-License-Identifier: Apache-2.0
// Which handler answers which method and path.
#pragma once

#include "api/request.h"

enum route_flags {
    ROUTE_OPEN = 1 << 0, // asks for no token
};

struct route {
    const char *method;  // NULL: any
    const char *pattern; // ":id": one part of a path; "*" at the end: whatever follows
    unsigned flags;
    void (*handle)(struct request *r);
    const char *feature; // of what is not built yet: its name
};

enum { ROUTES_ALLOW_MAX = 64 };

enum route_match { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD };

// FOUND: sets *ret and the id. NO_METHOD: allow becomes the value of an Allow field.
enum route_match routes_find(struct h1_span method, struct h1_span path, const struct route **ret,
                             struct h1_span *ret_id, char allow[ROUTES_ALLOW_MAX]);
