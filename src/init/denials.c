// SPDX-License-Identifier: Apache-2.0
// Nothing here trusts the folder for what it was: root in the sandbox may put anything in its
// place, so each line opens anew, follows no link, and writes to a plain file only. All that root
// can break is the list.
#include "init/denials.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME    "denials.jsonl"
#define COUNTS_NAME  "secrets.json"
#define COUNTS_FRESH "secrets.json.new"

enum { DIRECTORY_MODE = 0755, FILE_MODE = 0644, LINE_MAX_SIZE = 8192 };

static int folder = -1;

void
denials_init(void)
{
    if (mkdir(DENIALS_DIR, DIRECTORY_MODE) < 0 && errno != EEXIST)
        log_warn("no list of refusals", "error", strerrorname_np(errno));
    folder = open(DENIALS_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static const char *
what_of(const json_t *event)
{
    static const struct {
        const char *event;
        const char *what;
    } names[] = {
        {"conn_deny", "connection"},        {"dns_deny", "name"}, {"misuse", "secret"},
        {"upstream_tls_error", "upstream"}, {"limit", "limit"},
    };
    const char *text = json_string_value(json_object_get(event, "ev"));
    for (size_t i = 0; text != NULL && i < ARRAY_SIZE(names); i++)
        if (strcmp(text, names[i].event) == 0)
            return names[i].what;
    return NULL;
}

static void
copy(json_t *to, const char *name, const json_t *from, const char *member)
{
    json_t *value = json_object_get(from, member);
    if (value != NULL)
        (void)json_object_set(to, name, value);
}

// Writes the line; returns its size, or 0 if the event is none of a refusal.
static size_t
write_line(const uint8_t *text, size_t size, char out[LINE_MAX_SIZE])
{
    json_auto_t *event = json_loadb((const char *)text, size, 0, NULL);
    const char *what = event != NULL ? what_of(event) : NULL;
    if (what == NULL)
        return 0;
    json_auto_t *line = json_object();
    copy(line, "ts", event, "ts");
    (void)json_object_set_new(line, "what", json_string(what));
    copy(line, "host", event, json_object_get(event, "name") != NULL ? "name" : "ip");
    copy(line, "port", event, "port");
    copy(line, "reason", event, "reason");
    copy(line, "conn", event, "conn");
    copy(line, "secret", event, "secret");
    copy(line, "suppressed", event, "suppressed");
    size_t n = json_dumpb(line, out, LINE_MAX_SIZE - 1, JSON_COMPACT);
    if (n == 0 || n >= LINE_MAX_SIZE)
        return 0;
    out[n++] = '\n';
    return n;
}

static int
open_file(off_t *ret_size)
{
    // O_NONBLOCK: a pipe in its place would hold us up.
    cleanup_fd int fd =
        openat(folder, FILE_NAME,
               O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, FILE_MODE);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    *ret_size = st.st_size;
    return TAKE_FD(fd);
}

static void
append(const char *line, size_t size)
{
    off_t before;
    cleanup_fd int fd = open_file(&before);
    if (fd >= 0 && before + (off_t)size > DENIALS_FILE_MAX) {
        (void)close(TAKE_FD(fd));
        if (renameat(folder, FILE_NAME, folder, FILE_NAME ".1") < 0)
            return;
        fd = open_file(&before);
    }
    // A full file system must not leave half a line.
    if (fd >= 0 && fd_write_all(fd, line, size) < 0 && ftruncate(fd, before) < 0)
        log_warn("the list of refusals has half a line");
}

void
denials_add(const uint8_t *event, size_t size)
{
    char line[LINE_MAX_SIZE];
    size_t n = folder >= 0 ? write_line(event, size, line) : 0;
    if (n > 0)
        append(line, n);
}

void
denials_set_counts(const uint8_t *text, size_t size)
{
    json_auto_t *counts = json_loadb((const char *)text, size, 0, NULL);
    if (folder < 0 || !json_is_object(counts))
        return;
    (void)unlinkat(folder, COUNTS_FRESH, 0);
    cleanup_fd int fd = openat(folder, COUNTS_FRESH,
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return;
    if (fd_write_all(fd, text, size) < 0 || renameat(folder, COUNTS_FRESH, folder, COUNTS_NAME) < 0)
        (void)unlinkat(folder, COUNTS_FRESH, 0);
}
