// SPDX-License-Identifier: Apache-2.0
#include "fetch/refused.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LIST "/run/casemate/denials.jsonl"

enum {
    TAIL_MAX = 64 * 1024, // looked at of a list that others write to, too
    TRIES = 20,
    TRY_MS = 10,
};

static off_t begin;

static int
open_list(off_t *ret_size)
{
    struct stat st;
    cleanup_fd int fd = open(LIST, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    *ret_size = st.st_size;
    return TAKE_FD(fd);
}

void
refused_begin(void)
{
    off_t size = 0;
    cleanup_fd int fd = open_list(&size);
    begin = fd >= 0 ? size : 0;
}

static bool
line_tells(const char *line, size_t size, const char *host, long port, char *ret, size_t capacity)
{
    json_auto_t *o = json_loadb(line, size, 0, NULL);
    const char *name = json_string_value(json_object_get(o, "host"));
    const char *reason = json_string_value(json_object_get(o, "reason"));
    const json_t *at = json_object_get(o, "port");
    if (name == NULL || reason == NULL || strcasecmp(name, host) != 0 ||
        (json_is_integer(at) && json_integer_value(at) != port))
        return false;
    (void)snprintf(ret, capacity, "%s", reason);
    return true;
}

static bool
look(const char *host, long port, char *ret, size_t capacity)
{
    static char text[TAIL_MAX];
    off_t size = 0;
    bool found = false;
    cleanup_fd int fd = open_list(&size);
    if (fd < 0)
        return false;
    off_t from = size < begin ? 0 : begin; // a full list starts again
    if (size - from > TAIL_MAX)
        from = size - TAIL_MAX;
    ssize_t n = pread(fd, text, sizeof text, from);
    const char *end = text + (n > 0 ? n : 0);
    for (const char *line = text, *next; line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        if (next == NULL)
            break;
        found |= line_tells(line, (size_t)(next - line), host, port, ret, capacity);
    }
    return found;
}

bool
refused_why(const char *host, long port, bool patient, char *ret, size_t capacity)
{
    for (int i = 0; i < (patient ? TRIES : TRIES / 4); i++) {
        const struct timespec pause = {.tv_nsec = TRY_MS * 1000000L};
        if (look(host, port, ret, capacity))
            return true;
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

bool
refused_message(const char *text, size_t size, char *ret, size_t capacity)
{
    json_auto_t *o = json_loadb(text, size, 0, NULL);
    const char *message = json_string_value(json_object_get(o, "message"));
    if (message == NULL)
        return false;
    (void)snprintf(ret, capacity, "%s", message);
    return true;
}
