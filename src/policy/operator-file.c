// SPDX-License-Identifier: Apache-2.0
#include "policy/operator-file.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int
read_all(int fd, struct buf *out, struct error *err)
{
    enum { CHUNK = 16384 };
    for (;;) {
        uint8_t *room = buf_reserve(out, CHUNK);
        if (room == NULL)
            return error_set(err, ERR_TOO_LARGE, "it is larger than 1 MiB");
        ssize_t n = read(fd, room, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, errno, "read it");
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
    }
}

static int
parse(const struct buf *text, json_t **ret, struct error *err)
{
    json_error_t fault;
    json_t *document =
        json_loadb((const char *)buf_bytes(text), buf_size(text), JSON_REJECT_DUPLICATES, &fault);
    int line = document == NULL ? fault.line : 0;
    int column = document == NULL ? fault.column : 0;
    explicit_bzero(&fault, sizeof fault);
    if (document == NULL)
        return error_set(err, ERR_INVALID_CONFIG,
                         "no valid JSON without repeated keys, at line %d, column %d", line,
                         column);
    if (!json_is_object(document)) {
        json_decref(document);
        return error_set(err, ERR_INVALID_CONFIG, "not a JSON object");
    }
    *ret = document;
    return 0;
}

int
operator_read_json(const char *path, json_t **ret, struct error *err)
{
    cleanup_buf struct buf text;
    buf_init_secret(&text, OPERATOR_FILE_MAX);
    bool is_input = strcmp(path, "-") == 0;
    cleanup_fd int fd = is_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set_errno(err, errno, "open %.120s", path);
    if (read_all(fd, &text, err) < 0 || parse(&text, ret, err) < 0)
        return error_wrap(err, "%.120s", path);
    return 0;
}

int
operator_load_file(const char *path, struct operator* o, struct error *err)
{
    json_t *document;
    if (operator_read_json(path, &document, err) < 0)
        return -1;
    if (operator_init(o, document, err) < 0) {
        json_decref(document);
        return error_wrap(err, "%.120s", path);
    }
    return 0;
}
