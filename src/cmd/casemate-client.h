// SPDX-License-Identifier: Apache-2.0
// A small blocking HTTP/1.1 client for the command line: one request, one connection.
#pragma once

#include "base/buf.h"
#include "base/error.h"

enum {
    CLIENT_HEAD_MAX = 64 * 1024,
    CLIENT_BODY_MAX = 64 * 1024 * 1024,
    CLIENT_TOKEN_MAX = 512,
    CLIENT_URL_MAX = 512,
    CLIENT_WAIT_S = 10,
};

struct client {
    char token[CLIENT_TOKEN_MAX];
    char url[CLIENT_URL_MAX]; // http://HOST:PORT
};

// From the environment, or from a file of NAME=value lines if env_file is not NULL.
int client_configure(struct client *c, const char *env_file, struct error *err);

// The answer's body goes to out. A status that is not 2xx fails with the server's message.
int client_request(const struct client *c, const char *method, const char *path, struct buf *out,
                   struct error *err);
