// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 listener and the life of its connections, until one becomes a WebSocket. What is
// asked for is looked up in the route table (routes.h) and answered through request.h.
#pragma once

#include "api/auth.h"
#include "base/error.h"
#include "policy/operator.h"
#include "sandbox/sandbox.h"

#include <stdbool.h>
#include <uv.h>

// What the handlers work with; outlives the server.
struct api {
    uv_loop_t *loop;
    struct manager *manager;
    struct auth *auth;
    uint32_t memory_min_mib;       // least memory a create may ask for
    struct operator* operator;     // of egress; NULL: nothing is said
    struct secret_source *secrets; // of the operator's; NULL: there are none
};

struct server;

// Binds ADDR:PORT ("127.0.0.1:8080", "[::1]:0"; port 0 picks one) and returns the socket, or -1. An
// address that is not loopback is refused unless insecure: traffic, tokens included, is not
// encrypted.
int server_bind(const char *address, bool insecure, struct error *err);
// Only says whether it would be refused.
int server_check_address(const char *address, bool insecure, struct error *err);
// "http://127.0.0.1:8080" of a bound socket.
enum { SERVER_URL_MAX = 80 };
int server_url(int sock, char ret_url[SERVER_URL_MAX], struct error *err);

// Listens on the socket, which it owns from now on, also on failure.
int server_new(struct api *api, int sock, struct server **ret, struct error *err);
// Accepts no more, ends the connections (a WebSocket with Close 1001), then calls done.
void server_stop(struct server *s, void (*done)(void *user), void *user);
void server_free(struct server *s); // after done
