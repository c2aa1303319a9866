// SPDX-License-Identifier: Apache-2.0
// The request's body, from standard input. A short one that is there at once is kept whole: it is
// sent with its length, and again after a redirect. Anything else is passed on as it comes, once.
#pragma once

#include "base/buf.h"

#include <stdbool.h>

enum {
    BODY_KEPT_MAX = 1024 * 1024,
    // A client that has its body ready sends it right behind the call.
    BODY_PATIENCE_MS = 20,
    BODY_PATIENCE_ALL_MS = 200, // one that drips is passed on as it comes
};

struct body {
    bool present;
    bool ended;   // all was read from standard input
    bool whole;   // it is in kept
    bool waiting; // the transfer is paused until there is more
    struct buf kept;
    size_t sent;   // of kept
    bool streamed; // something behind it has gone, and cannot go again
};

void body_init(struct body *b, bool present);
long long body_size(const struct body *b); // -1: not known
// As libcurl's read callback: bytes; 0: the end; CURL_READFUNC_PAUSE, CURL_READFUNC_ABORT.
size_t body_read(struct body *b, char *out, size_t capacity);
int body_rewind(struct body *b); // 0, or -1 if it cannot be sent again
void body_forget(struct body *b);
