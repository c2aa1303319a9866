// SPDX-License-Identifier: Apache-2.0
// What stands in the file came from casemated, which checked that each line is JSON; the texts in
// it are still a sandbox's (paths, names). So whatever a terminal could take for a command, or that
// turns the direction of writing, is shown as '?', and a text that could be taken for more than one
// field stands in quotes. With --json the lines are given on as they are, but for what JSON lets
// stand and terminals act upon: that is escaped.
#include "cmd/casemate-audit.h"

#include "base/cleanup.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

// The bytes of a control character of ASCII or C1 (ECMA-48) that is not below a space, or 0.
static size_t
high_control(const unsigned char *p)
{
    if (*p == 0x7f)
        return 1;
    return *p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0 ? 2 : 0;
}

// The bytes of a character that sets the direction of writing (Unicode, UAX 9), or 0.
static size_t
direction_mark(const unsigned char *p)
{
    if (p[0] == 0xd8 && p[1] == 0x9c)
        return 2;
    if (p[0] != 0xe2 || (p[1] != 0x80 && p[1] != 0x81))
        return 0;
    bool mark = p[1] == 0x80 ? p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xaa && p[2] <= 0xae)
                             : p[2] >= 0xa6 && p[2] <= 0xa9;
    return mark ? 3 : 0;
}

// In quotes, where it is asked for. Returns the columns it took, taking each character for one.
static int
print_text(const char *text, bool quoted)
{
    int columns = 0;
    if (quoted)
        (void)putchar('"');
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0';) {
        size_t hidden = *p < 0x20 ? 1 : high_control(p) + direction_mark(p);
        bool escaped = quoted && (*p == '"' || *p == '\\');
        if (escaped)
            (void)putchar('\\');
        (void)putchar(hidden > 0 ? '?' : *p);
        columns += ((*p & 0xc0) != 0x80) + escaped;
        p += hidden > 0 ? hidden : 1;
    }
    if (quoted)
        (void)putchar('"');
    return columns + 2 * quoted;
}

// In quotes if it could be taken for several fields, or for a quoted one.
static int
print_field(const char *text)
{
    return print_text(text, strpbrk(text, " =\"\\") != NULL);
}

static void
pad(int used, int width)
{
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
    pad(print_field(text_of(event, "ts")), 24);
    pad(print_field(text_of(event, "sandbox")), 29);
    pad(print_field(text_of(event, "ev")), 18);
    pad(print_field(host), 24);
    json_object_foreach((json_t *)(uintptr_t)event, key, value)
    {
        if (is_in_column(key))
            continue;
        (void)print_field(key);
        (void)putchar('=');
        if (json_is_integer(value))
            (void)printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        else
            (void)print_field(json_is_string(value) ? json_string_value(value) : "yes");
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
        pad(print_text(key, false), 61);
        for (size_t c = 0; c < ARRAY_SIZE(counted); c++)
            (void)printf(" %9" JSON_INTEGER_FORMAT, json_integer_value(json_array_get(row, c)));
        (void)putchar('\n');
    }
}

// --- the file ---

struct reader {
    const struct audit_options *options;
    char path[PATH_MAX];
    FILE *file;
    json_t *counts;
    size_t number; // of the line, from 1
    size_t used;   // of line; all of it: the line is too long
    bool failed;   // a line could not be read
    char line[LINE_MAX_SIZE];
};

static void
print_json(const char *line, size_t size)
{
    const unsigned char *p = (const unsigned char *)line;
    for (const unsigned char *end = p + size; p < end;) {
        size_t hidden = high_control(p);
        if (hidden > 0)
            (void)printf("\\u00%02x", p[hidden - 1]);
        else
            (void)putchar(*p);
        p += hidden > 0 ? hidden : 1;
    }
    (void)putchar('\n');
}

static void
take_event(struct reader *r, const json_t *event)
{
    const struct audit_options *o = r->options;
    if ((o->sandbox != NULL && strcmp(text_of(event, "sandbox"), o->sandbox) != 0) ||
        (o->event != NULL && strcmp(text_of(event, "ev"), o->event) != 0))
        return;
    if (o->secrets)
        count_event(r->counts, event);
    else if (o->json)
        print_json(r->line, r->used);
    else
        print_event(event);
}

static void
take_line(struct reader *r)
{
    json_error_t why = {.text = "longer than any event"};
    json_t *event = NULL;
    if (r->used < LINE_MAX_SIZE) {
        r->line[r->used] = '\0'; // ends a character that is cut
        event = json_loadb(r->line, r->used, 0, &why);
    }
    if (json_is_object(event)) {
        take_event(r, event);
    } else {
        (void)fflush(stdout);
        (void)fprintf(stderr, "casemate: line %zu of %s is no event: %s\n", r->number, r->path,
                      event != NULL ? "not an object" : why.text);
        r->failed = true;
    }
    json_decref(event);
}

// All lines that have an end. What stands behind the last one is being written, and waits in line.
static void
read_lines(struct reader *r)
{
    int c;
    while ((c = getc(r->file)) != EOF) {
        if (c != '\n') {
            if (r->used < LINE_MAX_SIZE)
                r->line[r->used++] = (char)c;
            continue;
        }
        r->number++;
        take_line(r);
        r->used = 0;
    }
    clearerr(r->file);
}

static int
open_file(struct reader *r, struct error *err)
{
    FILE *file = fopen(r->path, "re");
    if (file == NULL)
        return error_set_errno(err, errno, "open %.200s", r->path);
    if (r->file != NULL)
        (void)fclose(r->file);
    r->file = file;
    r->number = 0;
    r->used = 0;
    return 0;
}

// Another file has the name, and casemated writes to it, so nothing more comes in ours; or ours was
// emptied.
static bool
is_replaced(const struct reader *r)
{
    struct stat ours;
    struct stat named;
    if (fstat(fileno(r->file), &ours) < 0 || stat(r->path, &named) < 0)
        return false;
    if (ours.st_ino == named.st_ino && ours.st_dev == named.st_dev)
        return ours.st_size < ftello(r->file);
    return named.st_size > 0;
}

static int
follow(struct reader *r, struct error *err)
{
    const struct timespec rest = {.tv_nsec = FOLLOW_MS * 1000000L};
    while (fflush(stdout) == 0) {
        (void)nanosleep(&rest, NULL);
        bool replaced = is_replaced(r);
        read_lines(r);
        if (replaced && open_file(r, err) < 0)
            return -1;
    }
    return error_set_errno(err, errno, "write");
}

static void
reader_done(struct reader *r)
{
    if (r->file != NULL)
        (void)fclose(r->file);
    json_decref(r->counts);
}

int
audit_run(const struct audit_options *o, struct error *err)
{
    __attribute__((cleanup(reader_done))) struct reader r = {.options = o};
    (void)snprintf(r.path, sizeof r.path, "%.4000s/audit.jsonl", o->state);
    if (open_file(&r, err) < 0)
        return -1;
    r.counts = json_object();
    read_lines(&r);
    if (o->follow && follow(&r, err) < 0)
        return -1;
    if (o->secrets)
        print_counts(r.counts);
    if (fflush(stdout) != 0)
        return error_set_errno(err, errno, "write");
    return r.failed;
}
