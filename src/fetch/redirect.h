// SPDX-License-Identifier: Apache-2.0
// Redirects as the Fetch standard has them (HTTP-redirect fetch).
#pragma once

#include "fetch/body.h"
#include "fetch/request.h"

enum { REDIRECTS_MAX = 20 }; // the Fetch standard's

bool redirect_is(int status);
// Changes the request to what the location asks for. NULL, or what is wrong with it.
const char *redirect_apply(struct fetch_request *r, struct body *b, int status,
                           const char *location);
