// SPDX-License-Identifier: Apache-2.0
#include "init/files/files-internal.h"

#include "base/cleanup.h"
#include "init/files/dates.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

const struct param files_chmod_params[] = {{"path", PARAM_NAME}, {"mode", PARAM_INDEX}, {0}};

void
files_chmod(struct call *call, const json_t *params)
{
    struct app_path path;
    uint64_t mode = 0;
    if (!files_take_path(call, params, "path", "chmod", &path))
        return;
    (void)param_index(params, "mode", &mode);
    int r;
    {
        AS_APP_SCOPE();
        r = chmod(path.text, (mode_t)(mode & 07777)) < 0 ? -errno : 0;
    }
    files_answer(call, r, "chmod", param_text(params, "path"));
}

const struct param files_chown_params[] = {
    {"path", PARAM_NAME},
    {"uid", PARAM_INDEX, .optional = true},
    {"gid", PARAM_INDEX, .optional = true},
    {0},
};

// An id parameter; none is -1, which leaves the owner. false: out of range.
static bool
take_id(const json_t *params, const char *name, uint32_t *ret)
{
    uint64_t id = UINT32_MAX;
    if (param_index(params, name, &id) && id >= UINT32_MAX)
        return false;
    *ret = (uint32_t)id;
    return true;
}

void
files_chown(struct call *call, const json_t *params)
{
    struct app_path path;
    uint32_t uid;
    uint32_t gid;
    if (!files_take_path(call, params, "path", "chown", &path))
        return;
    int r = -EINVAL;
    if (take_id(params, "uid", &uid) && take_id(params, "gid", &gid)) {
        AS_APP_SCOPE();
        r = chown(path.text, uid, gid) < 0 ? -errno : 0;
    }
    files_answer(call, r, "chown", param_text(params, "path"));
}

// "len" is the older name.
const struct param files_truncate_params[] = {
    {"name", PARAM_NAME},
    {"length", PARAM_INDEX, .optional = true},
    {"len", PARAM_INDEX, .optional = true},
    {0},
};

void
files_truncate(struct call *call, const json_t *params)
{
    struct app_path path;
    uint64_t length = 0;
    if (!files_take_path(call, params, "name", "truncate", &path))
        return;
    if (!param_index(params, "length", &length))
        (void)param_index(params, "len", &length);
    int r;
    {
        AS_APP_SCOPE();
        // Not truncate(2), which waits for whoever has a lease of the file to give it up.
        cleanup_fd int fd = files_open_regular(path.text, O_WRONLY, 0);
        r = fd < 0 ? fd : ftruncate(fd, (off_t)length) < 0 ? -errno : 0;
    }
    files_answer(call, r, "truncate", param_text(params, "name"));
}

const struct param files_umask_params[] = {{"mask", PARAM_INDEX, .optional = true}, {0}};

void
files_umask(struct call *call, const json_t *params)
{
    mode_t old = umask(0);
    uint64_t mask = old;
    (void)param_index(params, "mask", &mask);
    (void)umask((mode_t)(mask & 0777));
    call_ok(call, json_integer((json_int_t)old));
}

const struct param files_utime_params[] = {
    {"path", PARAM_NAME}, {"atime", PARAM_DATE}, {"mtime", PARAM_DATE}, {0}};

bool
files_take_times(struct call *call, const json_t *params, struct timespec ret[2])
{
    static const char *const names[2] = {"atime", "mtime"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = param_value(params, names[i]);
        if (date_from_json(v, &ret[i]) < 0) {
            call_invalid_param(call, "date string", names[i], v);
            return false;
        }
    }
    return true;
}

void
files_utime(struct call *call, const json_t *params)
{
    struct app_path path;
    struct timespec times[2];
    if (!files_take_times(call, params, times))
        return;
    if (!files_take_path(call, params, "path", "utime", &path))
        return;
    int r;
    {
        AS_APP_SCOPE();
        r = utimensat(AT_FDCWD, path.text, times, 0) < 0 ? -errno : 0;
    }
    files_answer(call, r, "utime", param_text(params, "path"));
}
