// SPDX-License-Identifier: Apache-2.0
// A WebSocket client of the service that adds next to nothing of its own to what is measured. Any
// trouble ends the program.
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client {
    int fd;
    unsigned id;       // of the next request
    struct buf in;     // what was received and not consumed
    struct buf joined; // fragments of a message
    size_t consumed;   // of in, by the message that was returned last
    char sandbox[64];
};

double client_now_ms(void);

// Makes a sandbox with its connection, or connects to the one named.
void client_create(struct client *c, uint16_t port, const char *token);
void client_connect(struct client *c, uint16_t port, const char *token, const char *sandbox);
void client_done(struct client *c);

void client_send(struct client *c, const char *text, size_t size);
// Sends {"jsonrpc":"2.0","id":…,"method":METHOD,"params":PARAMS} and returns the id.
unsigned client_call(struct client *c, const char *method, const char *params, ...)
    __attribute__((format(printf, 3, 4)));

// The next text message, valid until the next call; not terminated.
const char *client_next(struct client *c, size_t *ret_size);
// The messages up to the one that has needle in it; that one. What is before is dropped.
const char *client_await(struct client *c, const char *needle, size_t *ret_size);
// The answer to a request.
const char *client_answer(struct client *c, unsigned id, size_t *ret_size);
// The number behind "name": in a message; ends the program if it is not there.
unsigned long client_number(const char *text, size_t size, const char *name);

// Sorts and returns the quantile (0.5: the median).
double client_quantile(double *values, size_t n, double quantile);
