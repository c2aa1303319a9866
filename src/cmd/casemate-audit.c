// SPDX-License-Identifier: Apache-2.0
// What stands in the file came from casemated, which checked that each line is JSON; the texts in
// it are still a sandbox's (paths, names), so whatever a terminal could take for a command is shown
// as '?'. With --json the lines are given on as they are: JSON escapes what is below a space.
#include "cmd/casemate-audit.h"

#include "base/cleanup.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    LINE_MAX_SIZE = 8192, // wire/events.h: 4096, and the sandbox's id
    FOLLOW_MS = 200,
};

static const struct {
    const char *event;
    const char *title;
} counted[] = {
    {"swap", "SWAPPED"},
    {"redact", "REDACTED"},
    {"placeholder_seen", "SEEN"},
    {"misuse", "MISUSED"},
};

// Returns the columns it took, taking each character for one.
static int
print_plain(const char *text)
{
    int columns = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool c1 = *p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        (void)putchar(*p < 0x20 || *p == 0x7f || c1 ? '?' : *p);
        columns += (*p & 0xc0) != 0x80;
        p += c1;
    }
    return columns;
}

static void
print_column(const char *text, int width)
{
    int used = print_plain(text);
    (void)printf("%*s ", used < width ? width - used : 0, "");
}

static const char *
text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static bool
is_in_column(const char *name)
{
    static const char *const names[] = {"ts", "sandbox", "ev", "name", "ip", "port"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static void
print_event(const json_t *event)
{
    const char *key;
    const json_t *value;
    char host[300];
    const char *name = text_of(event, "name");
    const json_t *port = json_object_get(event, "port");
    int n = snprintf(host, sizeof host, "%.255s", name[0] != '\0' ? name : text_of(event, "ip"));
    if (json_is_integer(port))
        (void)snprintf(host + n, sizeof host - (size_t)n, ":%" JSON_INTEGER_FORMAT,
                       json_integer_value(port));
    print_column(text_of(event, "ts"), 24);
    print_column(text_of(event, "sandbox"), 29);
    print_column(text_of(event, "ev"), 18);
    print_column(host, 24);
    json_object_foreach((json_t *)(uintptr_t)event, key, value)
    {
        if (is_in_column(key))
            continue;
        (void)print_plain(key);
        (void)putchar('=');
        if (json_is_integer(value))
            (void)printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        else
            (void)print_plain(json_is_string(value) ? json_string_value(value) : "yes");
        (void)putchar(' ');
    }
    (void)putchar('\n');
}

// --- counts of secrets ---

static void
count_event(json_t *table, const json_t *event)
{
    char key[512];
    const char *secret = text_of(event, "secret");
    size_t i = 0;
    while (i < ARRAY_SIZE(counted) && strcmp(counted[i].event, text_of(event, "ev")) != 0)
        i++;
    if (secret[0] == '\0' || i == ARRAY_SIZE(counted))
        return;
    (void)snprintf(key, sizeof key, "%.63s %.255s", text_of(event, "sandbox"), secret);
    json_t *row = json_object_get(table, key);
    if (row == NULL) {
        row = json_array();
        for (size_t c = 0; c < ARRAY_SIZE(counted); c++)
            (void)json_array_append_new(row, json_integer(0));
        (void)json_object_set_new(table, key, row);
    }
    json_t *cell = json_array_get(row, i);
    json_int_t more = json_integer_value(json_object_get(event, "suppressed"));
    (void)json_integer_set(cell, json_integer_value(cell) + 1 + (more > 0 ? more : 0));
}

static void
print_counts(const json_t *table)
{
    const char *key;
    const json_t *row;
    (void)printf("%-62s", "SANDBOX AND SECRET");
    for (size_t c = 0; c < ARRAY_SIZE(counted); c++)
        (void)printf(" %9s", counted[c].title);
    (void)putchar('\n');
    json_object_foreach((json_t *)(uintptr_t)table, key, row)
    {
        print_column(key, 61);
        for (size_t c = 0; c < ARRAY_SIZE(counted); c++)
            (void)printf(" %9" JSON_INTEGER_FORMAT, json_integer_value(json_array_get(row, c)));
        (void)putchar('\n');
    }
}

// --- the file ---

static void
take_line(const struct audit_options *o, json_t *table, const char *line, size_t size)
{
    json_t *event = json_loadb(line, size, 0, NULL);
    bool wanted = json_is_object(event) &&
                  (o->sandbox == NULL || strcmp(text_of(event, "sandbox"), o->sandbox) == 0) &&
                  (o->event == NULL || strcmp(text_of(event, "ev"), o->event) == 0);
    if (wanted && o->secrets) {
        count_event(table, event);
    } else if (wanted && o->json) {
        (void)fwrite(line, 1, size, stdout);
        (void)putchar('\n');
    } else if (wanted) {
        print_event(event);
    }
    json_decref(event);
}

// Lines until the end of the file, for now. A longer line than may be is passed over.
static void
read_lines(const struct audit_options *o, FILE *file, json_t *table, char *line, size_t *used)
{
    int c;
    while ((c = getc(file)) != EOF) {
        if (c != '\n') {
            if (*used < LINE_MAX_SIZE)
                line[*used] = (char)c;
            *used += *used <= LINE_MAX_SIZE;
            continue;
        }
        if (*used <= LINE_MAX_SIZE)
            take_line(o, table, line, *used);
        *used = 0;
    }
    clearerr(file);
}

static void
close_file(FILE **file)
{
    if (*file != NULL)
        (void)fclose(*file);
}

int
audit_run(const struct audit_options *o, struct error *err)
{
    char path[4096];
    char line[LINE_MAX_SIZE];
    size_t used = 0;
    (void)snprintf(path, sizeof path, "%.4000s/audit.jsonl", o->state);
    __attribute__((cleanup(close_file))) FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set_errno(err, errno, "open %.200s", path);
    json_t *table = json_object();
    read_lines(o, file, table, line, &used);
    const struct timespec rest = {.tv_nsec = FOLLOW_MS * 1000000L};
    while (o->follow && fflush(stdout) == 0) {
        (void)nanosleep(&rest, NULL);
        read_lines(o, file, table, line, &used);
    }
    if (o->secrets)
        print_counts(table);
    json_decref(table);
    return fflush(stdout) == 0 ? 0 : error_set_errno(err, errno, "write");
}
