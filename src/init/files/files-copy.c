// SPDX-License-Identifier: Apache-2.0
#include "init/files/files-internal.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mem.h"
#include "init/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    COPY_PIECE = 256 * 1024,
    COPY_SLICE = 16, // pieces; then others get a turn
};

const struct param files_copy_params[] = {{"fromPath", PARAM_NAME}, {"toPath", PARAM_NAME}, {0}};

struct copier {
    struct loop_task task;
    struct call *call;
    int from;
    int to;
    char *from_path;
    char *to_path;
};

static void
copier_free(struct copier *c)
{
    if (c->from >= 0)
        (void)close(c->from);
    if (c->to >= 0)
        (void)close(c->to);
    free(c->from_path);
    free(c->to_path);
    free(c);
}

static void
copier_answer(struct copier *c, int r)
{
    c->call->stop = NULL;
    if (r < 0)
        call_fail_errno2(c->call, -r, "copy", c->from_path, c->to_path);
    else
        call_ok_null(c->call);
    copier_free(c);
}

// 1: a piece is copied; 0: all is; -errno.
static int
copy_piece(const struct copier *c)
{
    static uint8_t data[COPY_PIECE];
    ssize_t n = read(c->from, data, sizeof data);
    if (n < 0)
        return errno == EINTR ? 1 : -errno;
    if (n == 0)
        return 0;
    int r = fd_write_all(c->to, data, (size_t)n);
    return r < 0 ? r : 1;
}

static bool
copier_step(void *user)
{
    struct copier *c = user;
    struct loop_slice slice = {.left = COPY_SLICE};
    int r = 1;
    {
        AS_APP_SCOPE();
        while (r > 0 && loop_slice_next(&slice))
            r = copy_piece(c);
        if (r == 0) {
            r = close(c->to) < 0 ? -errno : 0;
            c->to = -1;
        }
    }
    if (r > 0)
        return true;
    copier_answer(c, r);
    return false;
}

static void
copier_stop(struct call *call, void *user)
{
    (void)call;
    struct copier *c = user;
    loop_task_stop(&c->task);
    copier_free(c);
}

// 1: there is something to copy; 0: from and to are the same file; -errno. The caller acts as app.
static int
copier_open(struct copier *c, const char *from, const char *to)
{
    struct stat source;
    struct stat target;
    c->from = files_open_regular(from, O_RDONLY, 0);
    if (c->from < 0)
        return c->from;
    if (fstat(c->from, &source) < 0)
        return -errno;
    c->to = files_open_regular(to, O_WRONLY | O_CREAT, source.st_mode & 0777);
    if (c->to < 0)
        return c->to;
    if (fstat(c->to, &target) < 0)
        return -errno;
    if (source.st_dev == target.st_dev && source.st_ino == target.st_ino)
        return 0;
    if (ftruncate(c->to, 0) < 0 || fchmod(c->to, source.st_mode & 0777) < 0)
        return -errno;
    return 1;
}

void
files_copy(struct call *call, const json_t *params)
{
    struct app_path from;
    struct app_path to;
    if (!files_take_path(call, params, "fromPath", "copy", &from) ||
        !files_take_path(call, params, "toPath", "copy", &to))
        return;
    struct copier *c = xcalloc(1, sizeof *c);
    *c = (struct copier){.call = call, .from = -1, .to = -1};
    c->from_path = xstrdup(param_text(params, "fromPath"));
    c->to_path = xstrdup(param_text(params, "toPath"));
    int r;
    {
        AS_APP_SCOPE();
        r = copier_open(c, from.text, to.text);
    }
    if (r <= 0) {
        copier_answer(c, r);
        return;
    }
    c->task = (struct loop_task){.step = copier_step, .user = c};
    call->stop = copier_stop;
    call->user = c;
    loop_task_start(call_guest(call)->loop, &c->task);
}
