// SPDX-License-Identifier: Apache-2.0
#include "init/files/glob-pattern.h"

#include "base/cleanup.h"

#include <string.h>

enum { GROUP_DEPTH_MAX = 64 };

struct globber {
    struct buf *out;
    const char *at;
    const char *end;
    const struct glob_options *options;
    size_t depth;
    char groups[GROUP_DEPTH_MAX]; // '{', or what stands before '('
    bool bad;                     // no pattern, or out is full
};

bool
glob_is_fixed(const char *segment, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (strchr("*?[{\\(", segment[i]) != NULL)
            return false;
    return true;
}

bool
glob_is_star(const char *segment, size_t size, const struct glob_options *o)
{
    return o->globstar && size == 2 && memcmp(segment, "**", 2) == 0;
}

static void
put(struct globber *g, const char *text)
{
    g->bad = g->bad || buf_append_str(g->out, text) < 0;
}

// Bytes beyond ASCII make up characters, which mean nothing to PCRE2.
static void
put_literal(struct globber *g, char c)
{
    bool plain =
        (c & 0x80) != 0 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    char text[] = {'\\', c, '\0'};
    put(g, plain ? text + 1 : text);
}

static bool
take(struct globber *g, const char *text)
{
    size_t size = strlen(text);
    if ((size_t)(g->end - g->at) < size || memcmp(g->at, text, size) != 0)
        return false;
    g->at += size;
    return true;
}

// [:alpha:]
static bool
take_posix(struct globber *g)
{
    static const char *const names[] = {
        "[:alnum:]", "[:alpha:]", "[:ascii:]", "[:blank:]", "[:cntrl:]", "[:digit:]", "[:graph:]",
        "[:lower:]", "[:print:]", "[:punct:]", "[:space:]", "[:upper:]", "[:word:]",  "[:xdigit:]"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (take(g, names[i])) {
            put(g, names[i]);
            return true;
        }
    return false;
}

// Behind "[".
static void
take_class(struct globber *g)
{
    bool negated = take(g, "!");
    if (take(g, "]")) {
        put(g, negated ? "[^/]" : "(?!)");
        return;
    }
    put(g, negated ? "[^" : "[");
    while (g->at < g->end && *g->at != ']') {
        if (take_posix(g))
            continue;
        if (*g->at == '\\' && g->end - g->at > 1)
            g->at++;
        else if (*g->at == '-' && g->at[-1] != '[' && g->at + 1 < g->end && g->at[1] != ']') {
            put(g, "-");
            g->at++;
            continue;
        }
        put_literal(g, *g->at++);
    }
    put(g, "]");
    g->bad = g->bad || !take(g, "]");
}

static void
open_group(struct globber *g, char kind)
{
    if (g->depth == GROUP_DEPTH_MAX) {
        g->bad = true;
        return;
    }
    g->groups[g->depth++] = kind;
    put(g, kind == '!' ? "(?!" : "(?:");
}

static void
close_group(struct globber *g)
{
    char kind = g->groups[--g->depth];
    char repeat[] = {kind, '\0'};
    put(g, ")");
    if (kind == '!')
        put(g, "[^/]*");
    else if (kind != '{' && kind != '@')
        put(g, repeat);
}

static void
take_one(struct globber *g)
{
    char top = g->depth > 0 ? g->groups[g->depth - 1] : '\0';
    char c = *g->at++;
    if (c == '\\' && g->at < g->end) {
        put_literal(g, *g->at++);
    } else if (g->options->extended && strchr("?@*+!", c) != NULL && take(g, "(")) {
        open_group(g, c);
    } else if (c == '{') {
        open_group(g, '{');
    } else if ((c == '}' && top == '{') || (c == ')' && top != '\0' && top != '{')) {
        close_group(g);
    } else if ((c == ',' && top == '{') || (c == '|' && top != '\0' && top != '{')) {
        put(g, "|");
    } else if (c == '*') {
        while (take(g, "*"))
            continue;
        put(g, "[^/]*");
    } else if (c == '?') {
        put(g, "[^/]");
    } else if (c == '[') {
        take_class(g);
    } else {
        put_literal(g, c);
    }
}

static int
put_all_literal(struct buf *out, const char *text, size_t size)
{
    struct globber g = {.out = out};
    for (size_t i = 0; i < size; i++)
        put_literal(&g, text[i]);
    return g.bad ? -1 : 0;
}

static int
put_segment(struct buf *out, const char *segment, size_t size, const struct glob_options *o)
{
    struct globber g = {.out = out, .at = segment, .end = segment + size, .options = o};
    size_t mark = out->tail;
    while (g.at < g.end && !g.bad)
        take_one(&g);
    if (!g.bad && g.depth == 0)
        return 0;
    out->tail = mark;
    return put_all_literal(out, segment, size);
}

int
glob_translate_segment(struct buf *out, const char *segment, size_t size,
                       const struct glob_options *o)
{
    if (buf_append_str(out, "\\A(?:") < 0 || put_segment(out, segment, size, o) < 0)
        return -1;
    return buf_append_str(out, ")\\z");
}

int
glob_translate_path(struct buf *out, const char *root, const char *pattern,
                    const struct glob_options *o)
{
    if (buf_append_str(out, "\\A") < 0 || put_all_literal(out, root, strlen(root)) < 0)
        return -1;
    while (*pattern != '\0') {
        size_t size = strcspn(pattern, "/");
        if (glob_is_star(pattern, size, o)) {
            // Any depth, and none.
            const char *text = pattern[size] == '/' ? "(?:/[^/]+)*" : "/(?:[^/]+/?)*";
            if (buf_append_str(out, text) < 0)
                return -1;
        } else if (size > 0 &&
                   (buf_append_str(out, "/(?:") < 0 || put_segment(out, pattern, size, o) < 0 ||
                    buf_append_str(out, ")") < 0)) {
            return -1;
        }
        pattern += size;
        pattern += *pattern == '/' ? 1 : 0;
    }
    return buf_append_str(out, "\\z");
}
