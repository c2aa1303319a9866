// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include "base/buf.h"
#include "base/json-text.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_MAX = 8192 };

static const char *const level_names[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_ERROR] = "error",
};
static_assert(sizeof level_names / sizeof *level_names == LOG_LEVEL_MAX, "a name for each level");

static const char *log_program = "casemate";
static enum log_level log_lowest = LOG_LEVEL_INFO;

const char *
log_level_name(enum log_level level)
{
    return level_names[level];
}

bool
log_level_parse(const char *name, enum log_level *ret)
{
    for (size_t i = 0; i < LOG_LEVEL_MAX; i++) {
        if (strcmp(level_names[i], name) != 0)
            continue;
        *ret = (enum log_level)i;
        return true;
    }
    return false;
}

void
log_init(const char *program, enum log_level lowest)
{
    log_program = program;
    log_lowest = lowest;
}

static void
append_time(struct buf *line)
{
    struct timespec now;
    struct tm utc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    char text[32];
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)buf_append_fmt(line, "{\"ts\":\"%s.%03ldZ\"", text, now.tv_nsec / 1000000);
}

void
log_event(enum log_level level, const char *message, ...)
{
    if (level < log_lowest)
        return;
    cleanup_buf struct buf line;
    buf_init(&line, LOG_LINE_MAX);
    append_time(&line);
    (void)buf_append_fmt(&line, ",\"level\":\"%s\",\"program\":\"%s\",\"msg\":", level_names[level],
                         log_program);
    (void)json_text_string(&line, message, strlen(message));
    va_list args;
    va_start(args, message);
    for (const char *name; (name = va_arg(args, const char *)) != NULL;) {
        const char *value = va_arg(args, const char *);
        if (value == NULL)
            continue;
        (void)buf_append_fmt(&line, ",\"%s\":", name);
        (void)json_text_string(&line, value, strlen(value));
    }
    va_end(args);
    (void)buf_append_str(&line, "}\n");
    (void)!write(STDERR_FILENO, buf_bytes(&line), buf_size(&line));
}
