// SPDX-License-Identifier: Apache-2.0
// A client's WebSocket joined to its channel of a sandbox.
#pragma once

#include "api/handshake.h"
#include "api/request.h"
#include "wire/frame.h"

// What is to be remembered of an upgrade request when its head is gone.
struct session_client {
    char accept[HANDSHAKE_ACCEPT_SIZE + 1];
    enum client_family family;
    uint64_t message_max; // protocol rule 15
};

// Reads it off the request's head; -1 if it is no proper upgrade.
int session_read_client(const struct request *r, struct session_client *ret, struct error *err);

// Answers the request with 101 and serves the sandbox to it. primary: it created the sandbox.
void session_start(struct request *r, const struct session_client *client, struct sandbox *s,
                   bool primary);
