// SPDX-License-Identifier: Apache-2.0
#include "init/files/handles.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "init/files/dates.h"
#include "init/files/files-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum {
    // Read in one call: its base64 fits the smallest message that a client takes, 1 MiB.
    HANDLE_READ_MAX = 512 * 1024,
};

static const struct param open_options[] = {
    {"read", PARAM_BOOL, .optional = true},   {"write", PARAM_BOOL, .optional = true},
    {"append", PARAM_BOOL, .optional = true}, {"truncate", PARAM_BOOL, .optional = true},
    {"create", PARAM_BOOL, .optional = true}, {"createNew", PARAM_BOOL, .optional = true},
    {"mode", PARAM_INDEX, .optional = true},  {0},
};
const struct param handles_open_params[] = {
    {"path", PARAM_NAME},
    {"options", PARAM_OBJECT, .optional = true, .members = open_options},
    {0},
};

// Handles are kept in the map as pointers: a number next to it would need memory of its own.
static void *
box(int fd)
{
    return (void *)((intptr_t)fd + 1);
}

static int
unbox(const void *value)
{
    return (int)((intptr_t)value - 1);
}

int
handle_fd(const struct channel *c, uint64_t number)
{
    return unbox(map_get(&c->handles, number));
}

int
handle_take(struct call *call, const json_t *params, const char *op)
{
    uint64_t number = 0;
    (void)param_index(params, "fileHandleId", &number);
    int fd = handle_fd(call->channel, number);
    if (fd < 0)
        call_fail_errno(call, EBADF, op, NULL);
    return fd;
}

void
handles_drop(struct channel *c)
{
    void *value;
    uint64_t number;
    for (size_t at = 0; (value = map_next(&c->handles, &at, &number)) != NULL;)
        (void)close(unbox(value));
}

// open, create, fileClose.

// Flags for open(2), or -EINVAL for a combination that has no meaning.
static int
open_flags(const json_t *options)
{
    bool read = param_flag(options, "read", false);
    bool write = param_flag(options, "write", false);
    bool append = param_flag(options, "append", false);
    bool truncate = param_flag(options, "truncate", false);
    bool create_new = param_flag(options, "createNew", false);
    bool create = param_flag(options, "create", false) || create_new;
    if (!write && !append)
        return truncate || create ? -EINVAL : O_RDONLY;
    if (truncate && ((append && !create_new) || !write))
        return -EINVAL;
    return (read ? O_RDWR : O_WRONLY) | (append ? O_APPEND : 0) | (create ? O_CREAT : 0) |
           (create_new ? O_EXCL
            : truncate ? O_TRUNC
                       : 0);
}

static void
open_handle(struct call *call, const json_t *params, int flags, mode_t mode)
{
    static const char op[] = "open";
    struct channel *c = call->channel;
    struct app_path path;
    if (!files_take_path(call, params, "path", op, &path))
        return;
    if (c->handles.count >= c->handles.cap) {
        call_fail_errno(call, EMFILE, op, param_text(params, "path"));
        return;
    }
    int fd = flags;
    if (flags >= 0) {
        AS_APP_SCOPE();
        fd = files_open_regular(path.text, flags, mode);
    }
    if (fd < 0) {
        call_fail_errno(call, -fd, op, param_text(params, "path"));
        return;
    }
    (void)map_put(&c->handles, ++c->last_handle, box(fd));
    call_ok(call, json_pack("{s:I}", "fileHandleId", (json_int_t)c->last_handle));
}

void
handles_open(struct call *call, const json_t *params)
{
    const json_t *options = param_value(params, "options");
    uint64_t mode = 0666;
    (void)param_index(options, "mode", &mode);
    open_handle(call, params, open_flags(options), (mode_t)(mode & 07777));
}

void
handles_create(struct call *call, const json_t *params)
{
    open_handle(call, params, O_RDWR | O_CREAT | O_TRUNC, 0666);
}

const struct param handles_only_params[] = {{"fileHandleId", PARAM_INDEX}, {0}};

void
handles_close(struct call *call, const json_t *params)
{
    uint64_t number = 0;
    int fd = handle_take(call, params, "close");
    if (fd < 0)
        return;
    (void)param_index(params, "fileHandleId", &number);
    (void)map_remove(&call->channel->handles, number);
    files_answer(call, close(fd) < 0 ? -errno : 0, "close", NULL);
}

// fileRead, fileWrite, fileSeek.

const struct param handles_read_params[] = {{"fileHandleId", PARAM_INDEX},
                                            {"length", PARAM_INDEX},
                                            {"abortId", PARAM_INDEX, .optional = true},
                                            {0}};

void
handles_read(struct call *call, const json_t *params)
{
    static uint8_t data[HANDLE_READ_MAX];
    uint64_t length = 0;
    int fd = handle_take(call, params, "read");
    if (fd < 0)
        return;
    (void)param_index(params, "length", &length);
    ssize_t n;
    {
        AS_APP_SCOPE();
        n = read(fd, data, length < sizeof data ? (size_t)length : sizeof data);
        n = n < 0 ? -errno : n;
    }
    if (n < 0) {
        call_fail_errno(call, (int)-n, "read", NULL);
        return;
    }
    if (n == 0 && length > 0) {
        call_ok(call, json_pack("{s:n}", "data"));
        return;
    }
    // Written as text: a document of it would be checked and escaped byte by byte.
    struct buf text cleanup_buf;
    call_text_init(call, &text);
    size_t size = base64_encoded_size((size_t)n);
    uint8_t *room = buf_append_str(&text, "{\"data\":\"") < 0 ? NULL : buf_reserve(&text, size + 2);
    if (room == NULL) {
        call_fail_too_large(call);
        return;
    }
    base64_encode((char *)room, data, (size_t)n);
    memcpy(room + size, "\"}", 2);
    buf_commit(&text, size + 2);
    call_ok_text(call, &text);
}

const struct param handles_write_params[] = {
    {"fileHandleId", PARAM_INDEX}, {"data", PARAM_STRING}, {0}};

void
handles_write(struct call *call, const json_t *params)
{
    const json_t *data = param_value(params, "data");
    const char *text = json_string_value(data);
    size_t size = json_string_length(data);
    if (!base64_is_valid(text, size)) {
        call_invalid_param(call, "base64", "data", data);
        return;
    }
    int fd = handle_take(call, params, "write");
    if (fd < 0)
        return;
    size_t written;
    int r;
    {
        AS_APP_SCOPE();
        r = files_write_base64(fd, text, size, &written);
    }
    // What is written is told, as write(2) does; the next call meets the error.
    if (r < 0 && written == 0)
        call_fail_errno(call, -r, "write", NULL);
    else
        call_ok(call, json_pack("{s:I}", "bytesWritten", (json_int_t)written));
}

const struct param handles_seek_params[] = {
    {"fileHandleId", PARAM_INDEX}, {"offset", PARAM_OFFSET}, {"whence", PARAM_INDEX}, {0}};

void
handles_seek(struct call *call, const json_t *params)
{
    static const int origins[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    int64_t offset = 0;
    uint64_t whence = 0;
    (void)param_offset(params, "offset", &offset);
    (void)param_index(params, "whence", &whence);
    if (whence >= ARRAY_SIZE(origins)) {
        call_invalid_param(call, "0, 1 or 2", "whence", param_value(params, "whence"));
        return;
    }
    int fd = handle_take(call, params, "seek");
    if (fd < 0)
        return;
    off_t position = lseek(fd, offset, origins[whence]);
    if (position < 0)
        call_fail_errno(call, errno, "seek", NULL);
    else
        call_ok(call, json_pack("{s:I}", "position", (json_int_t)position));
}

// fileStat, fileSync, fileSyncData, fileTruncate, fileUtime.

void
handles_stat(struct call *call, const json_t *params)
{
    struct statx st;
    int fd = handle_take(call, params, "stat");
    if (fd < 0)
        return;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
        call_fail_errno(call, errno, "stat", NULL);
    else
        call_ok(call, files_info_json(&st));
}

static void
sync_handle(struct call *call, const json_t *params, int (*sync_it)(int fd), const char *op)
{
    int fd = handle_take(call, params, op);
    if (fd >= 0)
        files_answer(call, sync_it(fd) < 0 ? -errno : 0, op, NULL);
}

void
handles_sync(struct call *call, const json_t *params)
{
    sync_handle(call, params, fsync, "fsync");
}

void
handles_sync_data(struct call *call, const json_t *params)
{
    sync_handle(call, params, fdatasync, "fdatasync");
}

// "size" is what one client sends.
const struct param handles_truncate_params[] = {
    {"fileHandleId", PARAM_INDEX},
    {"len", PARAM_INDEX, .optional = true},
    {"size", PARAM_INDEX, .optional = true},
    {0},
};

void
handles_truncate(struct call *call, const json_t *params)
{
    uint64_t length = 0;
    int fd = handle_take(call, params, "truncate");
    if (fd < 0)
        return;
    if (!param_index(params, "len", &length))
        (void)param_index(params, "size", &length);
    int r;
    {
        AS_APP_SCOPE();
        r = ftruncate(fd, (off_t)length) < 0 ? -errno : 0;
    }
    files_answer(call, r, "truncate", NULL);
}

const struct param handles_utime_params[] = {
    {"fileHandleId", PARAM_INDEX}, {"atime", PARAM_DATE}, {"mtime", PARAM_DATE}, {0}};

void
handles_utime(struct call *call, const json_t *params)
{
    struct timespec times[2];
    if (!files_take_times(call, params, times))
        return;
    int fd = handle_take(call, params, "utime");
    if (fd < 0)
        return;
    int r;
    {
        AS_APP_SCOPE();
        r = futimens(fd, times) < 0 ? -errno : 0;
    }
    files_answer(call, r, "utime", NULL);
}
