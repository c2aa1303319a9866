// SPDX-License-Identifier: Apache-2.0
#include "init/files/files-internal.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mem.h"
#include "init/instream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ERROR_TEXT_MAX = 16384 }; // returned of a client's own error

static const char OP[] = "writefile";

static const struct param write_options[] = {
    {"append", PARAM_BOOL, .optional = true},
    {"create", PARAM_BOOL, .optional = true},
    {"createNew", PARAM_BOOL, .optional = true},
    {"mode", PARAM_INDEX, .optional = true},
    {0},
};
const struct param files_write_params[] = {
    {"path", PARAM_NAME},
    {"abortId", PARAM_INDEX, .optional = true},
    {"options", PARAM_OBJECT, .optional = true, .members = write_options},
    {"content", PARAM_STRING, .optional = true},
    {"contentStreamId", PARAM_INDEX, .optional = true},
    {0},
};

// Descriptor or -errno. The caller acts as app.
static int
open_for_writing(const char *path, const json_t *options)
{
    uint64_t mode;
    bool has_mode = param_index(options, "mode", &mode);
    int flags = O_WRONLY | (param_flag(options, "append", false) ? O_APPEND : O_TRUNC);
    if (param_flag(options, "createNew", false))
        flags |= O_CREAT | O_EXCL;
    else if (param_flag(options, "create", true))
        flags |= O_CREAT;
    cleanup_fd int fd = files_open_regular(path, flags, has_mode ? (mode_t)(mode & 0777) : 0666);
    if (fd >= 0 && has_mode && fchmod(fd, (mode_t)(mode & 07777)) < 0)
        return -errno;
    return TAKE_FD(fd);
}

// As fd_write_all, but adds what it wrote to *written even when it fails.
static int
write_counted(int fd, const uint8_t *data, size_t size, size_t *written)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EINTR)
            return -errno;
        size_t done = n > 0 ? (size_t)n : 0;
        data += done;
        size -= done;
        *written += done;
    }
    return 0;
}

int
files_write_base64(int fd, const char *text, size_t size, size_t *ret_written)
{
    enum { PIECE = 256 * 1024 };
    static uint8_t data[PIECE / 4 * 3];
    *ret_written = 0;
    while (size > 0) {
        size_t piece = size < PIECE ? size : PIECE;
        ptrdiff_t n = base64_decode(data, text, piece);
        int r = n < 0 ? -EINVAL : write_counted(fd, data, (size_t)n, ret_written);
        if (r < 0)
            return r;
        text += piece;
        size -= piece;
    }
    return 0;
}

static int
write_base64(int fd, const char *text, size_t size)
{
    return files_write_base64(fd, text, size, &(size_t){0});
}

static int
write_plain(int fd, const char *text, size_t size)
{
    return fd_write_all(fd, text, size);
}

typedef int write_content_fn(int fd, const char *text, size_t size);

static int
write_whole(const char *path, const json_t *options, const json_t *content,
            write_content_fn *write_it)
{
    AS_APP_SCOPE();
    int fd = open_for_writing(path, options);
    if (fd < 0)
        return fd;
    int r = write_it(fd, json_string_value(content), json_string_length(content));
    if (close(fd) < 0 && r == 0)
        r = -errno;
    return r;
}

// Content from a stream.

struct writer {
    struct call *call;
    struct instream *source;
    int fd;
    char *path;
};

static void
writer_free(struct writer *w)
{
    if (w->fd >= 0)
        (void)close(w->fd);
    free(w->path);
    free(w);
}

static void
writer_answer(struct writer *w, int r)
{
    w->call->stop = NULL;
    files_answer(w->call, r, OP, w->path);
    writer_free(w);
}

static bool
writer_data(void *user, const uint8_t *data, size_t size)
{
    struct writer *w = user;
    int r;
    {
        AS_APP_SCOPE();
        r = fd_write_all(w->fd, data, size);
    }
    if (r < 0)
        writer_answer(w, r);
    return r == 0;
}

static void
writer_end(void *user)
{
    struct writer *w = user;
    int r = close(w->fd) < 0 ? -errno : 0;
    w->fd = -1;
    writer_answer(w, r);
}

static const char *
text_or(const json_t *object, const char *name, const char *fallback)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL && strlen(text) <= ERROR_TEXT_MAX ? text : fallback;
}

static void
writer_error(void *user, const json_t *error)
{
    struct writer *w = user;
    const char *message = json_is_string(error)
                              ? json_string_value(error)
                              : text_or(error, "message", "The stream was aborted");
    json_t *own = error_object(text_or(error, "constructorName", "Error"), NULL, "");
    (void)json_object_set_new(own, "message",
                              error_json_text(message, strnlen(message, ERROR_TEXT_MAX)));
    static const char *const kept[] = {"name", "code", "stack"};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        const json_t *v = json_object_get(error, kept[i]);
        if (json_is_string(v) && json_string_length(v) <= ERROR_TEXT_MAX)
            (void)json_object_set_new(own, kept[i], json_string(json_string_value(v)));
    }
    w->call->stop = NULL;
    call_fail(w->call, own);
    writer_free(w);
}

static void
writer_gone(void *user)
{
    (void)user; // the call went first, and the writer with it
}

static const struct instream_events writer_events = {
    .data = writer_data,
    .end = writer_end,
    .error = writer_error,
    .gone = writer_gone,
};

static void
writer_stop(struct call *call, void *user)
{
    (void)call;
    struct writer *w = user;
    instream_refuse(w->source, NULL);
    writer_free(w);
}

static void
write_stream(struct call *call, const char *path, const json_t *params, uint64_t id)
{
    struct instream *source = instream_find(call->channel, id);
    if (source == NULL) {
        call_fail_type(call, "Unknown stream");
        return;
    }
    int fd;
    {
        AS_APP_SCOPE();
        fd = open_for_writing(path, param_value(params, "options"));
    }
    if (fd < 0) {
        call_fail_errno(call, -fd, OP, param_text(params, "path"));
        instream_refuse(source, NULL);
        return;
    }
    struct writer *w = xcalloc(1, sizeof *w);
    *w = (struct writer){.call = call, .source = source, .fd = fd};
    w->path = xstrdup(param_text(params, "path"));
    call->stop = writer_stop;
    call->user = w;
    (void)instream_take(source, &writer_events, w);
}

static void
write_file(struct call *call, const json_t *params, write_content_fn *write_it)
{
    struct app_path path;
    uint64_t id;
    const json_t *content = param_value(params, "content");
    bool streamed = param_index(params, "contentStreamId", &id);
    if (content == NULL && !streamed) {
        call_invalid_param(call, "string", "content", NULL);
        return;
    }
    // Before the file is touched.
    if (content != NULL && write_it == write_base64 &&
        !base64_is_valid(json_string_value(content), json_string_length(content))) {
        call_invalid_param(call, "base64", "content", content);
        return;
    }
    if (!files_take_path(call, params, "path", OP, &path))
        return;
    if (content == NULL) {
        write_stream(call, path.text, params, id);
        return;
    }
    int r = write_whole(path.text, param_value(params, "options"), content, write_it);
    files_answer(call, r, OP, param_text(params, "path"));
}

void
files_write(struct call *call, const json_t *params)
{
    write_file(call, params, write_base64);
}

void
files_write_text(struct call *call, const json_t *params)
{
    write_file(call, params, write_plain);
}
