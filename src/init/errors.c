// SPDX-License-Identifier: Apache-2.0
#include "init/errors.h"

#include "base/cleanup.h"
#include "base/json-text.h"
#include "base/mem.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

enum {
    ERROR_PATH_MAX = 4096, // shown of a path: a client may send one as long as a message
    ESCAPED_BYTE_MAX = 6,  // \u001f
};

static const struct {
    int sys;
    const char *constructor;
} constructors[] = {
    {ENOENT, "NotFound"},
    {EACCES, "PermissionDenied"},
    {EPERM, "PermissionDenied"},
    {EEXIST, "AlreadyExists"},
    {EISDIR, "IsADirectory"},
    {ENOTDIR, "NotADirectory"},
    {EPIPE, "BrokenPipe"},
    {EAGAIN, "WouldBlock"},
    {EADDRINUSE, "AddrInUse"},
    {EADDRNOTAVAIL, "AddrNotAvailable"},
    {EINVAL, "TypeError"},
    {ENOTSUP, "NotSupported"},
    {EBUSY, "Busy"},
    {ELOOP, "FilesystemLoop"},
    {EINTR, "Interrupted"},
    {ETIMEDOUT, "TimedOut"},
    {ECONNREFUSED, "ConnectionRefused"},
    {ECONNRESET, "ConnectionReset"},
    {ECONNABORTED, "ConnectionAborted"},
    {ENOTCONN, "NotConnected"},
    {ENETUNREACH, "NetworkUnreachable"},
    {EBADF, "BadResource"},
};

const char *
error_constructor(int sys)
{
    for (size_t i = 0; i < ARRAY_SIZE(constructors); i++)
        if (constructors[i].sys == sys)
            return constructors[i].constructor;
    return "Error";
}

const char *
error_code_name(int sys)
{
    const char *name = sys == ENOTSUP ? "ENOTSUP" : strerrorname_np(sys);
    return name != NULL ? name : "EUNKNOWN";
}

json_t *
error_json_text(const char *text, size_t size)
{
    json_t *plain = json_stringn(text, size);
    if (plain != NULL)
        return plain;
    // Quoted, the writer of JSON text makes it valid; unquoted, jansson takes it.
    struct buf quoted cleanup_buf;
    buf_init(&quoted, size * ESCAPED_BYTE_MAX + 2);
    if (json_text_string(&quoted, text, size) < 0)
        return json_string("");
    return json_loadb((char *)buf_bytes(&quoted), buf_size(&quoted),
                      JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

static json_t *
make(const char *constructor, const char *code, const char *name, const char *message)
{
    return json_pack("{s:s, s:o, s:s?, s:s, s:n, s:n, s:n, s:n, s:n}", "constructorName",
                     constructor, "message", error_json_text(message, strlen(message)), "code",
                     code, "name", name, "stack", "cause", "errors", "error", "suppressed");
}

json_t *
error_object(const char *constructor, const char *code, const char *message)
{
    return make(constructor, code, constructor, message);
}

json_t *
error_object_errno(int sys, const char *op, const char *path, const char *path2)
{
    const char *text = strerror(sys);
    cleanup_free char *message = NULL;
    if (path == NULL)
        message = xasprintf("%s (os error %d): %s", text, sys, op);
    else if (path2 == NULL)
        message = xasprintf("%s (os error %d): %s '%.*s'", text, sys, op, ERROR_PATH_MAX, path);
    else
        message = xasprintf("%s (os error %d): %s '%.*s' -> '%.*s'", text, sys, op, ERROR_PATH_MAX,
                            path, ERROR_PATH_MAX, path2);
    return error_object(error_constructor(sys), error_code_name(sys), message);
}

json_t *
error_object_aborted(void)
{
    return make("DOMException", NULL, "AbortError", "The signal has been aborted");
}
