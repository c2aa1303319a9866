// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int rpc;
    int http;
    const char *text;
} codes[ERR_MAX] = {[ERR_NONE] = {0, 200, "OK"},
#define X(code, rpc, http, text) [code] = {rpc, http, text},
                    ERROR_CODES(X)
#undef X
};

void
error_fill(struct error *err, enum error_code code, const char *fmt, ...)
{
    if (err == NULL)
        return;
    va_list args;
    va_start(args, fmt);
    err->code = (int32_t)code;
    err->sys = 0;
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
}

void
error_fill_errno(struct error *err, int sys, const char *fmt, ...)
{
    if (err == NULL)
        return;
    va_list args;
    va_start(args, fmt);
    err->code = ERR_SYSTEM;
    err->sys = sys;
    int used = vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof err->msg)
        (void)snprintf(err->msg + used, sizeof err->msg - (size_t)used, ": %s", strerror(sys));
}

void
error_add_context(struct error *err, const char *fmt, ...)
{
    if (err == NULL)
        return;
    char context[ERROR_MESSAGE_MAX];
    char whole[2 * ERROR_MESSAGE_MAX + 2];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(context, sizeof context, fmt, args);
    va_end(args);
    (void)snprintf(whole, sizeof whole, "%s: %s", context, err->msg);
    memcpy(err->msg, whole, sizeof err->msg - 1);
    err->msg[sizeof err->msg - 1] = '\0';
}

static enum error_code
known_code(const struct error *err)
{
    return err->code > ERR_NONE && err->code < ERR_MAX ? (enum error_code)err->code : ERR_INTERNAL;
}

int
error_http_status(const struct error *err)
{
    return codes[known_code(err)].http;
}

int
error_rpc_code(const struct error *err)
{
    return codes[known_code(err)].rpc;
}

const char *
error_code_text(const struct error *err)
{
    return codes[known_code(err)].text;
}
