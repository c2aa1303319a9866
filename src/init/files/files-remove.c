// SPDX-License-Identifier: Apache-2.0
// Removing a tree goes down by descriptors, never by paths, and never through a symbolic link, so a
// tree that changes underneath leads nowhere else. It is a task: other clients are served between
// its slices.
#include "init/files/files-internal.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "init/files/tree.h"
#include "init/guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
    REMOVE_DEPTH_MAX = 1024, // open directories at a time: bounds descriptors and their buffers
    REMOVE_SLICE = 256,      // entries
};

static const char OP[] = "remove";

static const struct param remove_options[] = {{"recursive", PARAM_BOOL, .optional = true}, {0}};
const struct param files_remove_params[] = {
    {"path", PARAM_NAME},
    {"options", PARAM_OBJECT, .optional = true, .members = remove_options},
    {0}};

struct level {
    DIR *dir;
    char *name; // in the level above; NULL: the root, which has a path
};

struct remover {
    struct loop_task task;
    struct call *call;
    struct app_path path;
    char *given;
    size_t depth;
    struct level levels[REMOVE_DEPTH_MAX];
};

static void
pop(struct remover *m)
{
    struct level *l = &m->levels[--m->depth];
    tree_close_dir(l->dir);
    free(l->name);
}

static void
remover_free(struct remover *m)
{
    while (m->depth > 0)
        pop(m);
    free(m->given);
    free(m);
}

// 0 or -errno.
static int
push(struct remover *m, int parent, const char *name)
{
    DIR *dir;
    if (m->depth == REMOVE_DEPTH_MAX)
        return -ENAMETOOLONG;
    int r = tree_open_dir(parent, name, O_NOFOLLOW, &dir);
    if (r < 0)
        return r;
    m->levels[m->depth++] =
        (struct level){.dir = dir, .name = parent == AT_FDCWD ? NULL : xstrdup(name)};
    return 0;
}

// -ENOTEMPTY for a directory that has entries.
static int
remove_one(int dir_fd, const char *name)
{
    if (unlinkat(dir_fd, name, 0) == 0)
        return 0;
    if (errno != EISDIR)
        return -errno;
    return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

// One entry, or the way up. 1: all is done; 0: more is left; -errno.
static int
advance(struct remover *m)
{
    struct level *l = &m->levels[m->depth - 1];
    errno = 0;
    const struct dirent *e = readdir(l->dir);
    if (e == NULL && errno != 0)
        return -errno;
    if (e != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            return 0;
        int r = remove_one(dirfd(l->dir), e->d_name);
        if (r == -ENOTEMPTY)
            r = push(m, dirfd(l->dir), e->d_name);
        return r == -ENOENT ? 0 : r;
    }
    cleanup_free char *name = TAKE_PTR(l->name);
    pop(m);
    if (name == NULL)
        return unlinkat(AT_FDCWD, m->path.text, AT_REMOVEDIR) < 0 ? -errno : 1;
    int dir_fd = dirfd(m->levels[m->depth - 1].dir);
    return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static bool
remover_step(void *user)
{
    struct remover *m = user;
    struct loop_slice slice = {.left = REMOVE_SLICE};
    int r = 0;
    {
        AS_APP_SCOPE();
        while (r == 0 && loop_slice_next(&slice))
            r = advance(m);
    }
    if (r == 0)
        return true;
    m->call->stop = NULL;
    files_answer(m->call, r, OP, m->given);
    remover_free(m);
    return false;
}

static void
remover_stop(struct call *call, void *user)
{
    (void)call;
    struct remover *m = user;
    loop_task_stop(&m->task);
    remover_free(m);
}

static void
remove_tree(struct call *call, const struct app_path *path, const char *given)
{
    struct remover *m = xcalloc(1, sizeof *m);
    m->path = *path;
    int r;
    {
        AS_APP_SCOPE();
        r = push(m, AT_FDCWD, path->text);
    }
    if (r < 0) {
        remover_free(m);
        call_fail_errno(call, -r, OP, given);
        return;
    }
    m->given = xstrdup(given);
    m->call = call;
    m->task.step = remover_step;
    m->task.user = m;
    call->stop = remover_stop;
    call->user = m;
    loop_task_start(call_guest(call)->loop, &m->task);
}

void
files_remove(struct call *call, const json_t *params)
{
    struct app_path path;
    const char *given = param_text(params, "path");
    if (!files_take_path(call, params, "path", OP, &path))
        return;
    int r;
    {
        AS_APP_SCOPE();
        r = remove_one(AT_FDCWD, path.text);
    }
    if (r == -ENOTEMPTY && param_flag(param_value(params, "options"), "recursive", false))
        remove_tree(call, &path, given);
    else
        files_answer(call, r, OP, given);
}
