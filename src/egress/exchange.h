// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 between a client in the sandbox and one host, request after request on one connection:
// every request is checked and its placeholders swapped, every response is redacted.
#pragma once

#include "egress/refusal.h"
#include "egress/worker.h"

struct exchange_options {
    const struct destination *to;
    struct stream *client;   // open; the exchange's from now on
    struct stream *upstream; // open and verified, the exchange's; NULL: opened when it is needed
    bool plain;              // no TLS on either side, no swapping
    const void *first;       // bytes that were read from client already
    size_t first_size;
    const struct refusal *refusal; // not NULL: the first request gets this answer; texts are copied
    void (*done)(void *user);      // the connection is over; last call
    void *user;
};

void exchange_start(struct worker *w, const struct exchange_options *options);
