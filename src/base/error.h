// SPDX-License-Identifier: Apache-2.0
// Errors as data: a plain fixed-size value that is passed as the last argument, filled on failure
// only, given context on the way up, and carried across fork and between processes as bytes.
#pragma once

#include <stddef.h>
#include <stdint.h>

// code, JSON-RPC code, HTTP status, code string of REST errors
#define ERROR_CODES(X)                                                                             \
    X(ERR_INTERNAL, -32603, 500, "INTERNAL_ERROR")                                                 \
    X(ERR_SYSTEM, -32603, 500, "INTERNAL_ERROR")                                                   \
    X(ERR_INVALID_REQUEST, -32600, 400, "INVALID_REQUEST")                                         \
    X(ERR_INVALID_CONFIG, -32602, 400, "INVALID_CONFIG")                                           \
    X(ERR_INVALID_PARAMS, -32602, 422, "INVALID_PARAMS")                                           \
    X(ERR_INVALID_TOKEN, -32000, 401, "INVALID_TOKEN")                                             \
    X(ERR_FORBIDDEN, -32000, 403, "FORBIDDEN")                                                     \
    X(ERR_NOT_FOUND, -32601, 404, "NOT_FOUND")                                                     \
    X(ERR_SANDBOX_NOT_FOUND, -32000, 404, "SANDBOX_NOT_FOUND")                                     \
    X(ERR_CONFLICT, -32000, 409, "CONFLICT")                                                       \
    X(ERR_TOO_LARGE, -32000, 413, "TOO_LARGE")                                                     \
    X(ERR_HEADER_TOO_LARGE, -32000, 431, "HEADER_TOO_LARGE")                                       \
    X(ERR_UNSUPPORTED_CLIENT, -32000, 400, "UNSUPPORTED_CLIENT")                                   \
    X(ERR_LIMIT, -32000, 429, "TOO_MANY_SANDBOXES")                                                \
    X(ERR_UNSUPPORTED, -32000, 501, "NOT_IMPLEMENTED")                                             \
    X(ERR_METHOD_NOT_ALLOWED, -32000, 405, "METHOD_NOT_ALLOWED")                                   \
    X(ERR_UNAVAILABLE, -32000, 503, "UNAVAILABLE")                                                 \
    X(ERR_PROTOCOL, -32600, 500, "INTERNAL_ERROR")

enum error_code {
    ERR_NONE = 0,
#define X(code, rpc, http, text) code,
    ERROR_CODES(X)
#undef X
        ERR_MAX
};

enum { ERROR_MESSAGE_MAX = 240 };

struct error {
    int32_t code; // enum error_code
    int32_t sys;  // errno, or 0
    char msg[ERROR_MESSAGE_MAX];
};

// Each fills *err, which may be NULL, and is -1, so that a failing function can end with it.
// error_set_errno has code ERR_SYSTEM and appends ": " and the text of sys (a positive errno);
// error_wrap puts "context: " before the message and keeps code and sys.
// Macros, so that static analysis, too, sees that they are -1.
#define error_set(err, code, ...)      (error_fill((err), (code), __VA_ARGS__), -1)
#define error_set_errno(err, sys, ...) (error_fill_errno((err), (sys), __VA_ARGS__), -1)
#define error_wrap(err, ...)           (error_add_context((err), __VA_ARGS__), -1)

void error_fill(struct error *err, enum error_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void error_fill_errno(struct error *err, int sys, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void error_add_context(struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

int error_http_status(const struct error *err);
int error_rpc_code(const struct error *err);
const char *error_code_text(const struct error *err); // "INVALID_CONFIG"
