// SPDX-License-Identifier: Apache-2.0
#include "init/files/files-internal.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/json-text.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

const struct param files_read_params[] = {
    {"path", PARAM_NAME}, {"abortId", PARAM_INDEX, .optional = true}, {0}};

enum { READ_SIZE = 3 * 64 * 1024 }; // whole base64 groups

// Fills data unless the file ends before; bytes or -errno.
static ssize_t
read_full(int fd, uint8_t *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = read(fd, data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

// Room for a file of this size, so that text does not grow step by step; -EFBIG if it never fits.
static int
reserve(int fd, struct buf *text, size_t numerator, size_t denominator)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size > text->cap)
        return -EFBIG;
    return buf_reserve(text, (size_t)st.st_size / denominator * numerator) == NULL ? -EFBIG : 0;
}

// Appends the file as a JSON string of base64. 0 or -errno, -EFBIG when it does not fit.
static int
append_base64(int fd, struct buf *text)
{
    static uint8_t data[READ_SIZE];
    int r = reserve(fd, text, 4, 3);
    if (r < 0 || buf_append_str(text, "\"") < 0)
        return r < 0 ? r : -EFBIG;
    for (;;) {
        ssize_t n = read_full(fd, data, sizeof data);
        if (n < 0)
            return (int)n;
        size_t encoded = base64_encoded_size((size_t)n);
        uint8_t *room = buf_reserve(text, encoded + 1);
        if (room == NULL)
            return -EFBIG;
        base64_encode((char *)room, data, (size_t)n);
        buf_commit(text, encoded);
        if ((size_t)n < sizeof data)
            return buf_append_str(text, "\"") < 0 ? -EFBIG : 0;
    }
}

static int
append_text(int fd, struct buf *text)
{
    struct buf raw cleanup_buf;
    buf_init(&raw, text->cap);
    int r = reserve(fd, &raw, 1, 1);
    if (r < 0)
        return r;
    raw.cap += READ_SIZE; // the last read may have less room than it asks for
    for (;;) {
        // Its size says nothing of a file of /proc, or of one that grows meanwhile.
        uint8_t *room = buf_size(&raw) <= text->cap ? buf_reserve(&raw, READ_SIZE) : NULL;
        if (room == NULL)
            return -EFBIG;
        ssize_t n = read_full(fd, room, READ_SIZE);
        if (n < 0)
            return (int)n;
        buf_commit(&raw, (size_t)n);
        if (n < READ_SIZE)
            break;
    }
    return json_text_string(text, (const char *)buf_bytes(&raw), buf_size(&raw)) < 0 ? -EFBIG : 0;
}

static void
read_file(struct call *call, const json_t *params, int (*append)(int fd, struct buf *text))
{
    struct app_path path;
    if (!files_take_path(call, params, "path", "readfile", &path))
        return;
    struct buf text cleanup_buf;
    call_text_init(call, &text);
    int r;
    {
        AS_APP_SCOPE();
        cleanup_fd int fd = files_open_regular(path.text, O_RDONLY, 0);
        r = fd < 0 ? fd : append(fd, &text);
    }
    if (r == -EFBIG)
        call_fail_too_large(call);
    else if (r < 0)
        call_fail_errno(call, -r, "readfile", param_text(params, "path"));
    else
        call_ok_text(call, &text);
}

void
files_read(struct call *call, const json_t *params)
{
    read_file(call, params, append_base64);
}

void
files_read_text(struct call *call, const json_t *params)
{
    read_file(call, params, append_text);
}
