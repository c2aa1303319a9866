// SPDX-License-Identifier: Apache-2.0
// One call of fetch: the request, its redirects, and the response as frames on standard output.
#pragma once

#include "fetch/request.h"

enum {
    // To resolve, connect and agree on TLS; a sandbox's relay is silent for no longer.
    TRANSFER_CONNECT_MS = 30000,
    // Of a redirect's own body, which nobody sees; more closes the connection instead.
    TRANSFER_IGNORED_MAX = 64 * 1024,
    TRANSFER_REFUSAL_MAX = 8192, // text of a refusal
};

// The exit status.
int transfer_run(struct fetch_request *request);
