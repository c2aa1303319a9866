// SPDX-License-Identifier: Apache-2.0
// A walk is a task that runs while its stream has room and rests while it has not. It holds the
// open directories from the root down to where it is, and nothing of what it has seen.
//
// A link that is followed to a directory in which the walk already is, is told and not entered:
// it would have no end.
#include "init/files/walk.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "init/files/files-internal.h"
#include "init/files/regex.h"
#include "init/files/tree.h"
#include "init/guest.h"
#include "init/outqueue.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WALK_SLICE = 512,      // entries; then others get a turn
    WALK_REGEXES_MAX = 64, // each is asked about each entry
    WALK_EXTS_MAX = 1024,
    // Entries tried against regular expressions before others get a turn.
    WALK_SLICE_MATCHED = 16,
};

static const char OP[] = "walk";

#define WALK_OPTIONS                                                                               \
    {"maxDepth", PARAM_NUMBER, .optional = true}, {"includeFiles", PARAM_BOOL, .optional = true},  \
        {"includeDirs", PARAM_BOOL, .optional = true},                                             \
        {"includeSymlinks", PARAM_BOOL, .optional = true},                                         \
        {"followSymlinks", PARAM_BOOL, .optional = true},                                          \
        {"canonicalize", PARAM_BOOL, .optional = true}, {"exts", PARAM_NAMES, .optional = true},   \
        {"match", PARAM_REGEXES, .optional = true},                                                \
    {                                                                                              \
        "skip", PARAM_REGEXES, .optional = true                                                    \
    }

static const struct param walk_options[] = {WALK_OPTIONS, {0}};
// The options stand beside the path, or in an object of their own.
const struct param walk_params[] = {
    {"path", PARAM_NAME},
    WALK_OPTIONS,
    {"options", PARAM_OBJECT, .optional = true, .members = walk_options},
    {0},
};

struct regexes {
    size_t count;
    struct regex *all[WALK_REGEXES_MAX];
};

struct walk {
    struct loop_task task;
    struct loop *loop;
    struct outqueue *out;
    char *given;
    char *failed; // the directory that could not be entered
    double max_depth;
    bool include_files, include_dirs, include_symlinks, follow, canonicalize;
    json_t *exts; // NULL: any
    bool has_match;
    struct regexes match;
    struct regexes skip;
    struct tree_entry root;
    char root_path[PATH_MAX]; // as told
    bool root_done;
    struct app_path opened; // the root, to open it
    struct tree tree;
    struct buf text; // of the entry in hand
};

static void
regexes_free(struct regexes *r)
{
    for (size_t i = 0; i < r->count; i++)
        regex_free(r->all[i]);
}

static void
walk_free(struct walk *w)
{
    tree_done(&w->tree);
    regexes_free(&w->match);
    regexes_free(&w->skip);
    json_decref(w->exts);
    buf_done(&w->text);
    free(w->given);
    free(w->failed);
    free(w);
}

// Filters.

// 1 or 0; -ETIMEDOUT.
static int
any_matches(const struct regexes *r, const char *path)
{
    for (size_t i = 0; i < r->count; i++) {
        int n = regex_matches(r->all[i], path, strlen(path));
        if (n != 0)
            return n < 0 ? -ETIMEDOUT : 1;
    }
    return 0;
}

static bool
has_ext(const json_t *exts, const char *path)
{
    size_t size = strlen(path);
    for (size_t i = 0; i < json_array_size(exts); i++) {
        const json_t *e = json_array_get(exts, i);
        const char *ext = json_string_value(e);
        size_t ext_size = json_string_length(e);
        bool dot = *ext == '.';
        if (size < ext_size + !dot || memcmp(path + size - ext_size, ext, ext_size) != 0)
            continue;
        if (dot || path[size - ext_size - 1] == '.')
            return true;
    }
    return false;
}

// 1: told; 0: not; -errno. *ret_enter: not skipped.
static int
filter(const struct walk *w, const char *path, bool *ret_enter)
{
    int r = any_matches(&w->skip, path);
    *ret_enter = r == 0;
    if (r != 0)
        return r < 0 ? r : 0;
    if (w->exts != NULL && !has_ext(w->exts, path))
        return 0;
    return w->has_match ? any_matches(&w->match, path) : 1;
}

// Entries.

// 1: there is room for more; 0: there is none.
static int
tell(struct walk *w, const struct tree_entry *e)
{
    buf_clear(&w->text);
    tree_entry_write(&w->text, e);
    return outqueue_push(w->out, buf_bytes(&w->text), buf_size(&w->text)) ? 1 : 0;
}

// A directory, the root or one beneath it: tells it and enters it. As tell.
static int
visit_dir(struct walk *w, const struct tree_entry *e, const char *open_name, bool by_path)
{
    bool enter;
    int r = filter(w, e->path, &enter);
    if (r < 0)
        return r;
    int room = r == 1 && w->include_dirs ? tell(w, e) : 1;
    if (!enter || (double)w->tree.depth >= w->max_depth)
        return room;
    // What was told as "." has children without a directory before them.
    const char *shown = strcmp(e->path, ".") == 0 ? "" : e->path;
    r = tree_push(&w->tree, open_name, by_path, shown);
    if (r < 0) {
        free(w->failed);
        w->failed = xstrdup(e->path);
        return r;
    }
    return room;
}

static int
visit_other(struct walk *w, const struct tree_entry *e, bool included)
{
    bool enter;
    int r = included ? filter(w, e->path, &enter) : 0;
    return r == 1 ? tell(w, e) : r < 0 ? r : 1;
}

// A symbolic link, followed. The link's own flags stand for what is no directory.
static int
visit_link(struct walk *w, struct tree_entry *e)
{
    static char real[PATH_MAX];
    struct app_path path;
    struct stat st;
    int r = app_path_set(&path, e->path);
    if (r < 0)
        return r;
    if (realpath(path.text, real) == NULL || lstat(real, &st) < 0)
        return -errno;
    if (w->canonicalize)
        e->path = real;
    if (!S_ISDIR(st.st_mode))
        return visit_other(w, e, w->include_files);
    const char *slash = strrchr(e->path, '/');
    struct tree_entry dir = {.path = e->path, .is_directory = true};
    dir.name = slash != NULL ? slash + 1 : e->path;
    if (!tree_holds(&w->tree, st.st_dev, st.st_ino))
        return visit_dir(w, &dir, real, true);
    bool enter;
    r = w->include_dirs ? filter(w, dir.path, &enter) : 0;
    return r == 1 ? tell(w, &dir) : r < 0 ? r : 1;
}

// 1: more is left and there is room; 0: there is no room; -ENODATA: all is done; other -errno.
static int
advance(struct walk *w)
{
    static char path[PATH_MAX];
    const char *name;
    unsigned char type;
    if (!w->root_done) {
        w->root_done = true;
        return visit_dir(w, &w->root, w->opened.text, true);
    }
    if (w->tree.depth == 0)
        return -ENODATA;
    int r = tree_next(&w->tree, &name, &type);
    if (r == 0)
        tree_pop(&w->tree);
    if (r <= 0)
        return r == 0 ? 1 : r;
    r = tree_join(path, w->tree.levels[w->tree.depth - 1].path, name);
    if (r < 0)
        return r;
    struct tree_entry e = {.path = path,
                           .name = name,
                           .is_file = type == DT_REG,
                           .is_directory = type == DT_DIR,
                           .is_symlink = type == DT_LNK};
    if (e.is_symlink && w->follow)
        return visit_link(w, &e);
    if (e.is_directory)
        return visit_dir(w, &e, name, false);
    return visit_other(w, &e, e.is_symlink ? w->include_symlinks : w->include_files);
}

// The end of the walk, which is not used any more.
static void
finish(struct walk *w, int r)
{
    if (r == -ENODATA) {
        outqueue_end(w->out);
    } else if (r == -ETIMEDOUT) {
        outqueue_fail(w->out, error_object("RangeError", NULL,
                                           "A regular expression takes too long on a path"));
    } else {
        const char *at = w->failed != NULL   ? w->failed
                         : w->tree.depth > 0 ? w->tree.levels[w->tree.depth - 1].path
                                             : w->given;
        outqueue_fail(w->out, error_object_errno(-r, OP, *at == '\0' ? "." : at, NULL));
    }
    walk_free(w);
}

static bool
walk_step(void *user)
{
    struct walk *w = user;
    bool matched = w->match.count + w->skip.count > 0;
    struct loop_slice slice = {.left = matched ? WALK_SLICE_MATCHED : WALK_SLICE};
    int r = 1;
    {
        AS_APP_SCOPE();
        while (r == 1 && loop_slice_next(&slice))
            r = advance(w);
    }
    if (r < 0)
        finish(w, r);
    return r == 1;
}

static void
walk_wanted(void *user)
{
    struct walk *w = user;
    loop_task_start(w->loop, &w->task);
}

static void
walk_gone(void *user)
{
    struct walk *w = user;
    loop_task_stop(&w->task);
    walk_free(w);
}

static const struct outqueue_events walk_events = {.wanted = walk_wanted, .gone = walk_gone};

// Start. NULL or an error object.

static json_t *
compile(struct regexes *r, const json_t *sources)
{
    json_t *error = NULL;
    if (json_array_size(sources) > WALK_REGEXES_MAX)
        return error_object("RangeError", NULL, "Too many regular expressions");
    for (size_t i = 0; i < json_array_size(sources) && error == NULL; i++) {
        const json_t *one = json_array_get(sources, i);
        const json_t *source = json_object_get(one, "source");
        struct regex *regex = regex_new(json_string_value(source), json_string_length(source),
                                        json_string_value(json_object_get(one, "flags")), &error);
        if (regex != NULL)
            r->all[r->count++] = regex;
    }
    return error;
}

static json_t *
take_options(struct walk *w, const json_t *o)
{
    w->max_depth = INFINITY;
    (void)param_number(o, "maxDepth", &w->max_depth);
    // A depth that is no whole number reaches as far as the next one.
    w->max_depth = floor(w->max_depth);
    w->include_files = param_flag(o, "includeFiles", true);
    w->include_dirs = param_flag(o, "includeDirs", true);
    w->include_symlinks = param_flag(o, "includeSymlinks", true);
    w->follow = param_flag(o, "followSymlinks", false);
    w->canonicalize = param_flag(o, "canonicalize", true);
    const json_t *exts = param_value(o, "exts");
    if (json_array_size(exts) > WALK_EXTS_MAX)
        return error_object("RangeError", NULL, "Too many extensions");
    w->exts = exts != NULL ? json_deep_copy(exts) : NULL;
    w->has_match = param_value(o, "match") != NULL;
    json_t *error = compile(&w->match, param_value(o, "match"));
    return error != NULL ? error : compile(&w->skip, param_value(o, "skip"));
}

static json_t *
find_root(struct walk *w)
{
    struct stat st = {0};
    int r = app_path_set(&w->opened, w->given);
    if (r == 0)
        r = tree_normalize(w->root_path, w->given);
    if (r == 0 && w->max_depth >= 0) {
        AS_APP_SCOPE();
        r = stat(w->opened.text, &st) < 0 ? -errno : 0;
    }
    if (r < 0)
        return error_object_errno(-r, OP, w->given, NULL);
    if (w->max_depth < 0) {
        w->root_done = true;
        return NULL;
    }
    if (*w->root_path == '\0')
        memcpy(w->root_path, ".", 2);
    const char *slash = strrchr(w->root_path, '/');
    w->root =
        (struct tree_entry){.path = w->root_path,
                            .name = slash != NULL && slash[1] != '\0' ? slash + 1 : w->root_path,
                            .is_file = S_ISREG(st.st_mode),
                            .is_directory = S_ISDIR(st.st_mode)};
    return NULL;
}

void
walk_start(struct call *call, const json_t *params)
{
    struct walk *w = xcalloc(1, sizeof *w);
    const json_t *options = param_value(params, "options");
    buf_init(&w->text, FRAME_CHUNK_MAX);
    w->given = xstrdup(param_text(params, "path"));
    json_t *error = take_options(w, options != NULL ? options : params);
    if (error == NULL)
        error = find_root(w);
    if (error == NULL) {
        w->out = outqueue_new(call->channel, &walk_events, w);
        error = w->out == NULL ? error_object_errno(EMFILE, OP, w->given, NULL) : NULL;
    }
    if (error != NULL) {
        walk_free(w);
        call_fail(call, error);
        return;
    }
    w->loop = call_guest(call)->loop;
    w->task = (struct loop_task){.step = walk_step, .user = w};
    list_init(&w->task.link);
    outqueue_answer(w->out, call, json_object());
}
