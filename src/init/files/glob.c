// SPDX-License-Identifier: Apache-2.0
// A pattern is a list of segments. What of it may still come beneath an entry is two sets of their
// numbers: reached holds i if the entry's path matches the first i segments, within holds i if the
// path goes on inside of "**", segment i. An entry is told if all segments are reached.
//
// The tree is walked once, in the order of paths (glob-window.h), so the stream is sorted without
// being held. Links that are followed and told by where they lead break that order: with
// followSymlinks, and only then, what is found is collected, sorted and told at the end.
#include "init/files/glob.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "init/files/files-internal.h"
#include "init/files/glob-pattern.h"
#include "init/files/glob-window.h"
#include "init/files/regex.h"
#include "init/guest.h"
#include "init/outqueue.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    GLOB_SLICE = 64, // entries; then others get a turn
    GLOB_SEGMENTS_MAX = 62,
    GLOB_EXCLUDES_MAX = 64, // each is asked about each entry
    // Collected when links are followed, entries and bytes of their paths: both bound memory.
    GLOB_FOLLOWED_MAX = 100 * 1000,
    GLOB_FOLLOWED_BYTES_MAX = 16 * 1024 * 1024,
    GLOB_PATTERN_MAX = 16 * PATH_MAX,
};

static const char OP[] = "expandGlob";

#define GLOB_OPTIONS                                                                               \
    {"extended", PARAM_BOOL, .optional = true}, {"globstar", PARAM_BOOL, .optional = true},        \
        {"caseInsensitive", PARAM_BOOL, .optional = true}, {"root", PARAM_NAME, .optional = true}, \
        {"exclude", PARAM_NAMES, .optional = true}, {"includeDirs", PARAM_BOOL, .optional = true}, \
        {"followSymlinks", PARAM_BOOL, .optional = true},                                          \
    {                                                                                              \
        "canonicalize", PARAM_BOOL, .optional = true                                               \
    }

static const struct param glob_options[] = {GLOB_OPTIONS, {0}};
// The options stand beside the pattern, or in an object of their own.
const struct param glob_params[] = {
    {"glob", PARAM_NAME},
    GLOB_OPTIONS,
    {"options", PARAM_OBJECT, .optional = true, .members = glob_options},
    {0},
};

struct glob {
    struct loop_task task;
    struct loop *loop;
    struct outqueue *out;
    struct glob_options syntax;
    bool ignore_case, include_dirs, only_dirs, follow, canonicalize;
    size_t segment_count;
    struct regex *segments[GLOB_SEGMENTS_MAX]; // NULL: **
    size_t exclude_count;
    struct regex *excludes[GLOB_EXCLUDES_MAX];
    char root[PATH_MAX];  // where patterns start
    char fixed[PATH_MAX]; // and the part of the pattern that is none
    struct glob_place start;
    bool started;
    struct tree tree;
    struct glob_window *windows[TREE_DEPTH_MAX];
    uint64_t reached[TREE_DEPTH_MAX], within[TREE_DEPTH_MAX];
    size_t found_count, found_at, found_bytes; // with followSymlinks
    struct glob_place *found;                  // name is the path, real the name
    bool sorted;
    char *failed;
    struct buf text;
};

static void
glob_free(struct glob *g)
{
    for (size_t i = 0; i < g->tree.depth; i++)
        glob_window_free(g->windows[i]);
    tree_done(&g->tree);
    for (size_t i = 0; i < g->segment_count; i++)
        regex_free(g->segments[i]);
    for (size_t i = 0; i < g->exclude_count; i++)
        regex_free(g->excludes[i]);
    for (size_t i = 0; i < g->found_count; i++) {
        free(g->found[i].name);
        free(g->found[i].real);
    }
    free(g->found);
    free(g->failed);
    buf_done(&g->text);
    free(g);
}

static const char *
base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

// Matching.

// 1 or 0; -ETIMEDOUT.
static int
matches(const struct regex *r, const char *text)
{
    int n = regex_matches(r, text, strlen(text));
    return n < 0 ? -ETIMEDOUT : n;
}

static int
excluded(const struct glob *g, const char *path)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < g->exclude_count; i++)
        r = matches(g->excludes[i], path);
    return r;
}

// "**" matches the directory it starts at, too.
static void
close_states(const struct glob *g, struct glob_place *p)
{
    for (size_t i = 0; p->kind.is_directory && i < g->segment_count; i++)
        if (g->segments[i] == NULL && (p->reached >> i & 1) != 0) {
            p->within |= UINT64_C(1) << i;
            p->reached |= UINT64_C(1) << (i + 1);
        }
}

// What of the pattern an entry of the directory at the top reaches. 0 or -errno.
static int
match_entry(const struct glob *g, const char *name, struct glob_place *p)
{
    uint64_t reached = g->reached[g->tree.depth - 1];
    uint64_t within = g->within[g->tree.depth - 1];
    for (size_t i = 0; i < g->segment_count; i++) {
        bool next = (within >> i & 1) != 0;
        if (next && p->kind.is_directory)
            p->within |= UINT64_C(1) << i;
        if (g->segments[i] != NULL && (reached >> i & 1) != 0) {
            int r = matches(g->segments[i], name);
            if (r < 0)
                return r;
            next = r == 1;
        }
        if (next)
            p->reached |= UINT64_C(1) << (i + 1);
    }
    close_states(g, p);
    return 0;
}

static bool
is_told(const struct glob *g, const struct glob_place *p)
{
    if ((p->reached >> g->segment_count & 1) == 0)
        return false;
    return p->kind.is_directory ? g->include_dirs : !g->only_dirs;
}

static bool
is_entered(const struct glob *g, const struct glob_place *p)
{
    uint64_t whole = UINT64_C(1) << g->segment_count;
    return p->kind.is_directory && (p->within != 0 || (p->reached & (whole - 1)) != 0);
}

// Telling.

// 1: there is room for more; 0: there is none; -errno.
static int
tell(struct glob *g, const struct glob_place *p, const char *path, const char *name)
{
    struct tree_entry e = p->kind;
    if (g->follow && !g->sorted) {
        g->found_bytes += strlen(path) + strlen(name) + 2;
        if (g->found_count == GLOB_FOLLOWED_MAX || g->found_bytes > GLOB_FOLLOWED_BYTES_MAX)
            return -EOVERFLOW;
        if ((g->found_count & (g->found_count - 1)) == 0) {
            size_t next = g->found_count == 0 ? 1 : g->found_count * 2;
            g->found = realloc(g->found, next * sizeof *g->found);
            if (g->found == NULL)
                abort();
        }
        g->found[g->found_count++] =
            (struct glob_place){.name = xstrdup(path), .real = xstrdup(name), .kind = e};
        return 1;
    }
    e.path = path;
    e.name = name;
    buf_clear(&g->text);
    tree_entry_write(&g->text, &e);
    return outqueue_push(g->out, buf_bytes(&g->text), buf_size(&g->text)) ? 1 : 0;
}

static int
tell_found(struct glob *g)
{
    if (!g->sorted) {
        if (g->found_count > 1)
            qsort(g->found, g->found_count, sizeof *g->found, glob_place_compare);
        g->sorted = true;
    }
    if (g->found_at == g->found_count)
        return -ENODATA;
    const struct glob_place *p = &g->found[g->found_at++];
    if (g->found_at > 1 && strcmp(p[-1].name, p->name) == 0)
        return 1;
    return tell(g, p, p->name, p->real);
}

// Directories.

// True if going in would only repeat what goes on already: a link led back.
static bool
is_repeated(const struct glob *g, const struct glob_place *p)
{
    for (size_t i = 0; g->follow && i < g->tree.depth; i++) {
        const struct tree_level *l = &g->tree.levels[i];
        if (l->dev == p->dev && l->ino == p->ino && g->reached[i] == p->reached &&
            g->within[i] == p->within)
            return true;
    }
    return false;
}

static int
enter(struct glob *g, const struct glob_place *p, const char *name, bool by_path, const char *path)
{
    if (is_repeated(g, p))
        return 1;
    int r = tree_push(&g->tree, name, by_path, path);
    if (r < 0) {
        free(g->failed);
        g->failed = xstrdup(path);
        return r;
    }
    size_t top = g->tree.depth - 1;
    g->windows[top] = glob_window_new(top);
    g->reached[top] = p->reached;
    g->within[top] = p->within;
    return 1;
}

static int
resolve_link(const char *path, struct glob_place *p)
{
    static char real[PATH_MAX];
    struct stat st;
    if (realpath(path, real) == NULL || lstat(real, &st) < 0)
        return -errno;
    p->real = xstrdup(real);
    p->dev = st.st_dev;
    p->ino = st.st_ino;
    if (S_ISDIR(st.st_mode))
        p->kind = (struct tree_entry){.is_directory = true};
    return 0;
}

// As the client is to see it.
static const char *
shown_path(const struct glob *g, const struct glob_place *p, const char *path)
{
    return p->real != NULL && g->canonicalize ? p->real : path;
}

static const char *
shown_name(const struct glob *g, const struct glob_place *p)
{
    return p->real != NULL && g->canonicalize && p->kind.is_directory ? base_name(p->real)
                                                                      : p->name;
}

static void
add_places(struct glob *g, struct glob_window *w, const struct glob_place *p)
{
    for (int contents = 0; contents < 2; contents++) {
        bool useful = contents == 0 ? is_told(g, p) : is_entered(g, p);
        if (!useful || !glob_window_wants(w, p->name, contents != 0))
            continue;
        struct glob_place own = *p;
        own.contents = contents != 0;
        own.name = xstrdup(p->name);
        own.real = p->real != NULL ? xstrdup(p->real) : NULL;
        glob_window_add(w, &own);
    }
}

// One more entry of a pass. 1 or -errno.
static int
fill(struct glob *g, struct glob_window *w)
{
    static char path[PATH_MAX];
    const char *name;
    unsigned char type;
    int r = tree_next(&g->tree, &name, &type);
    if (r == 0) {
        glob_window_filled(w);
        return 1;
    }
    if (r < 0)
        return r;
    if (!glob_window_wants(w, name, true) && !glob_window_wants(w, name, false))
        return 1;
    cleanup_free char *own = xstrdup(name);
    struct glob_place p = {.name = own,
                           .kind = {.is_file = type == DT_REG,
                                    .is_directory = type == DT_DIR,
                                    .is_symlink = type == DT_LNK}};
    r = tree_join(path, g->tree.levels[g->tree.depth - 1].path, name);
    if (r == 0 && g->follow && p.kind.is_symlink)
        r = resolve_link(path, &p);
    cleanup_free char *real __attribute__((unused)) = p.real; // freed with the scope
    if (r == 0)
        r = excluded(g, shown_path(g, &p, path));
    if (r != 0)
        return r < 0 ? r : 1;
    r = match_entry(g, shown_name(g, &p), &p);
    if (r == 0)
        add_places(g, w, &p);
    return r < 0 ? r : 1;
}

// 1: there is room for more; 0: there is none; -errno.
static int
take_place(struct glob *g, struct glob_window *w)
{
    static char path[PATH_MAX];
    const struct glob_place *p = glob_window_take(w);
    if (p == NULL && w->filling) {
        rewinddir(g->tree.levels[g->tree.depth - 1].dir);
        return 1;
    }
    if (p == NULL) {
        glob_window_free(w);
        tree_pop(&g->tree);
        return 1;
    }
    int r = tree_join(path, g->tree.levels[g->tree.depth - 1].path, p->name);
    if (r < 0)
        return r;
    const char *shown = shown_path(g, p, path);
    if (!p->contents)
        return tell(g, p, shown, shown_name(g, p));
    return p->real != NULL ? enter(g, p, p->real, true, shown) : enter(g, p, p->name, false, shown);
}

static int
begin(struct glob *g)
{
    int r = g->segment_count > 0 ? excluded(g, g->fixed) : 0;
    g->started = true;
    if (r != 0)
        return r < 0 ? r : 1;
    close_states(g, &g->start);
    int room = is_told(g, &g->start) ? tell(g, &g->start, g->fixed, base_name(g->fixed)) : 1;
    if (room < 0 || !is_entered(g, &g->start))
        return room;
    r = enter(g, &g->start, g->fixed, true, g->fixed);
    return r < 0 ? r : room;
}

// As take_place; -ENODATA: all is done.
static int
advance(struct glob *g)
{
    if (!g->started)
        return begin(g);
    if (g->tree.depth == 0)
        return g->follow ? tell_found(g) : -ENODATA;
    struct glob_window *w = g->windows[g->tree.depth - 1];
    return w->filling ? fill(g, w) : take_place(g, w);
}

static void
finish(struct glob *g, int r)
{
    if (r == -ENODATA)
        outqueue_end(g->out);
    else if (r == -ETIMEDOUT)
        outqueue_fail(g->out,
                      error_object("RangeError", NULL, "The pattern takes too long on a path"));
    else if (r == -EOVERFLOW)
        outqueue_fail(g->out, error_object("RangeError", NULL,
                                           "More is found than is sorted with followSymlinks"));
    else
        outqueue_fail(g->out, error_object_errno(-r, OP,
                                                 g->failed != NULL ? g->failed
                                                 : g->tree.depth > 0
                                                     ? g->tree.levels[g->tree.depth - 1].path
                                                     : g->fixed,
                                                 NULL));
    glob_free(g);
}

static bool
glob_step(void *user)
{
    struct glob *g = user;
    struct loop_slice slice = {.left = GLOB_SLICE};
    int r = 1;
    {
        AS_APP_SCOPE();
        while (r == 1 && loop_slice_next(&slice))
            r = advance(g);
    }
    if (r < 0)
        finish(g, r);
    return r == 1;
}

static void
glob_wanted(void *user)
{
    struct glob *g = user;
    loop_task_start(g->loop, &g->task);
}

static void
glob_gone(void *user)
{
    struct glob *g = user;
    loop_task_stop(&g->task);
    glob_free(g);
}

static const struct outqueue_events glob_events = {.wanted = glob_wanted, .gone = glob_gone};

// Start. NULL or an error object.

static json_t *
not_a_pattern(void)
{
    return error_object("SyntaxError", NULL, "Invalid pattern, or too large a one");
}

static struct regex *
compile_segment(const struct glob *g, const char *segment, size_t size)
{
    struct buf pattern cleanup_buf;
    buf_init(&pattern, GLOB_PATTERN_MAX);
    if (glob_translate_segment(&pattern, segment, size, &g->syntax) < 0)
        return NULL;
    return regex_new_raw(&pattern, g->ignore_case);
}

static struct regex *
compile_exclude(const struct glob *g, const char *text)
{
    struct buf pattern cleanup_buf;
    char normal[PATH_MAX];
    buf_init(&pattern, GLOB_PATTERN_MAX);
    bool absolute = *text == '/';
    const char *root = absolute || strcmp(g->root, "/") == 0 ? "" : g->root;
    if (tree_normalize(normal, text) < 0 ||
        glob_translate_path(&pattern, root, normal, &g->syntax) < 0)
        return NULL;
    return regex_new_raw(&pattern, g->ignore_case);
}

static json_t *
take_segment(struct glob *g, const char *segment, size_t size)
{
    char name[NAME_MAX + 1];
    bool parent = size == 2 && memcmp(segment, "..", 2) == 0;
    if (size == 0 || (size == 1 && *segment == '.'))
        return NULL;
    if (g->segment_count == 0 && glob_is_fixed(segment, size)) {
        if (size > NAME_MAX)
            return error_object_errno(ENAMETOOLONG, OP, segment, NULL);
        memcpy(name, segment, size);
        name[size] = '\0';
        char joined[PATH_MAX];
        int r = tree_join(joined, g->fixed, name);
        if (r == 0)
            r = tree_normalize(g->fixed, joined);
        return r < 0 ? error_object_errno(-r, OP, segment, NULL) : NULL;
    }
    if (parent)
        return error_object("NotSupported", "ENOTSUP", "'..' behind a wildcard is not supported");
    if (g->segment_count == GLOB_SEGMENTS_MAX)
        return error_object("RangeError", NULL, "The pattern is too large");
    struct regex *r = NULL;
    if (!glob_is_star(segment, size, &g->syntax)) {
        r = compile_segment(g, segment, size);
        if (r == NULL)
            return not_a_pattern();
    }
    g->segments[g->segment_count++] = r;
    return NULL;
}

static json_t *
take_pattern(struct glob *g, const char *pattern)
{
    json_t *error = NULL;
    size_t size = strlen(pattern);
    g->only_dirs = size > 0 && pattern[size - 1] == '/';
    memcpy(g->fixed, *pattern == '/' ? "/" : g->root, *pattern == '/' ? 2 : strlen(g->root) + 1);
    while (*pattern != '\0' && error == NULL) {
        size = strcspn(pattern, "/");
        error = take_segment(g, pattern, size);
        pattern += size;
        pattern += *pattern == '/' ? 1 : 0;
    }
    return error;
}

static json_t *
take_options(struct glob *g, const json_t *o, const char *pattern)
{
    const json_t *exclude = param_value(o, "exclude");
    const char *root = param_text(o, "root");
    struct app_path absolute;
    g->syntax.extended = param_flag(o, "extended", true);
    g->syntax.globstar = param_flag(o, "globstar", true);
    g->ignore_case = param_flag(o, "caseInsensitive", false);
    g->include_dirs = param_flag(o, "includeDirs", true);
    g->follow = param_flag(o, "followSymlinks", false);
    g->canonicalize = param_flag(o, "canonicalize", true);
    if (root == NULL)
        root = *pattern == '/' ? "/" : APP_HOME;
    int r = app_path_set(&absolute, *root != '\0' ? root : APP_HOME);
    if (r == 0)
        r = tree_normalize(g->root, absolute.text);
    if (r < 0)
        return error_object_errno(-r, OP, root, NULL);
    if (json_array_size(exclude) > GLOB_EXCLUDES_MAX)
        return error_object("RangeError", NULL, "Too many patterns to exclude");
    for (size_t i = 0; i < json_array_size(exclude); i++) {
        struct regex *one = compile_exclude(g, json_string_value(json_array_get(exclude, i)));
        if (one == NULL)
            return not_a_pattern();
        g->excludes[g->exclude_count++] = one;
    }
    return take_pattern(g, pattern);
}

// Nothing is found where there is nothing.
static json_t *
find_start(struct glob *g)
{
    struct stat st;
    int r;
    {
        AS_APP_SCOPE();
        r = stat(g->fixed, &st) < 0 ? -errno : 0;
    }
    if (r < 0 && r != -ENOENT)
        return error_object_errno(-r, OP, g->fixed, NULL);
    g->started = r < 0;
    g->start = (struct glob_place){.reached = 1};
    if (r == 0)
        g->start.kind = (struct tree_entry){.is_file = S_ISREG(st.st_mode),
                                            .is_directory = S_ISDIR(st.st_mode)};
    return NULL;
}

void
glob_start(struct call *call, const json_t *params)
{
    struct glob *g = xcalloc(1, sizeof *g);
    const json_t *options = param_value(params, "options");
    const char *pattern = param_text(params, "glob");
    buf_init(&g->text, FRAME_CHUNK_MAX);
    json_t *error = take_options(g, options != NULL ? options : params, pattern);
    if (error == NULL)
        error = find_start(g);
    if (error == NULL) {
        g->out = outqueue_new(call->channel, &glob_events, g);
        error = g->out == NULL ? error_object_errno(EMFILE, OP, g->fixed, NULL) : NULL;
    }
    if (error != NULL) {
        glob_free(g);
        call_fail(call, error);
        return;
    }
    g->loop = call_guest(call)->loop;
    g->task = (struct loop_task){.step = glob_step, .user = g};
    list_init(&g->task.link);
    outqueue_answer(g->out, call, json_object());
}
