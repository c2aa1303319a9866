// SPDX-License-Identifier: Apache-2.0
#include "init/files/files-internal.h"

#include "base/cleanup.h"
#include "base/ident.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const struct param files_link_params[] = {{"target", PARAM_NAME}, {"path", PARAM_NAME}, {0}};

static const struct param symlink_options[] = {{"type", PARAM_STRING, .optional = true}, {0}};
const struct param files_symlink_params[] = {
    {"target", PARAM_NAME},
    {"path", PARAM_NAME},
    {"options", PARAM_OBJECT, .optional = true, .members = symlink_options},
    {0},
};

static void
answer_link(struct call *call, const json_t *params, const char *op, int r)
{
    if (r < 0)
        call_fail_errno2(call, -r, op, param_text(params, "target"), param_text(params, "path"));
    else
        call_ok_null(call);
}

void
files_link(struct call *call, const json_t *params)
{
    struct app_path target;
    struct app_path path;
    if (!files_take_path(call, params, "target", "link", &target) ||
        !files_take_path(call, params, "path", "link", &path))
        return;
    int r;
    {
        AS_APP_SCOPE();
        r = link(target.text, path.text) < 0 ? -errno : 0;
    }
    answer_link(call, params, "link", r);
}

void
files_symlink(struct call *call, const json_t *params)
{
    struct app_path path;
    if (!files_take_path(call, params, "path", "symlink", &path))
        return;
    int r;
    {
        AS_APP_SCOPE();
        r = symlink(param_text(params, "target"), path.text) < 0 ? -errno : 0;
    }
    answer_link(call, params, "symlink", r);
}

void
files_read_link(struct call *call, const json_t *params)
{
    struct app_path path;
    char target[PATH_MAX];
    if (!files_take_path(call, params, "path", "readlink", &path))
        return;
    ssize_t n;
    {
        AS_APP_SCOPE();
        n = readlink(path.text, target, sizeof target);
        n = n < 0 ? -errno : n;
    }
    if (n < 0)
        call_fail_errno(call, (int)-n, "readlink", param_text(params, "path"));
    else
        call_ok(call, error_json_text(target, (size_t)n));
}

void
files_real_path(struct call *call, const json_t *params)
{
    struct app_path path;
    if (!files_take_path(call, params, "path", "realpath", &path))
        return;
    cleanup_free char *real = NULL;
    int r;
    {
        AS_APP_SCOPE();
        real = realpath(path.text, NULL);
        r = real == NULL ? -errno : 0;
    }
    if (r < 0)
        call_fail_errno(call, -r, "realpath", param_text(params, "path"));
    else
        call_ok(call, error_json_text(real, strlen(real)));
}

// makeTempDir, makeTempFile.

static const struct param make_temp_options[] = {
    {"dir", PARAM_NAME, .optional = true},
    {"prefix", PARAM_NAME, .optional = true},
    {"suffix", PARAM_NAME, .optional = true},
    {0},
};
const struct param files_make_temp_params[] = {
    {"options", PARAM_OBJECT, .optional = true, .members = make_temp_options}, {0}};

enum { TEMP_RANDOM = 12, TEMP_TRIES = 8 };

static int
make_directory(const char *path)
{
    return mkdir(path, 0700);
}

static int
make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -1 : close(fd);
}

static int
make_temp(struct app_path *ret, const char *dir, const json_t *options,
          int (*make)(const char *path))
{
    const char *prefix = param_text(options, "prefix");
    const char *suffix = param_text(options, "suffix");
    AS_APP_SCOPE();
    for (int i = 0; i < TEMP_TRIES; i++) {
        char random[TEMP_RANDOM + 1] = "";
        ident_base62(random, TEMP_RANDOM);
        int n = snprintf(ret->text, PATH_MAX, "%s/%s%s%s", dir, prefix != NULL ? prefix : "",
                         random, suffix != NULL ? suffix : "");
        if (n < 0 || n >= PATH_MAX)
            return -ENAMETOOLONG;
        if (make(ret->text) == 0)
            return 0;
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

static void
answer_temp(struct call *call, const json_t *params, int (*make)(const char *path))
{
    static const char op[] = "maketemp";
    struct app_path dir;
    struct app_path path;
    const json_t *options = param_value(params, "options");
    const char *given = param_text(options, "dir");
    if (given == NULL)
        given = "/tmp";
    int r = app_path_set(&dir, given);
    r = r < 0 ? r : make_temp(&path, dir.text, options, make);
    if (r < 0)
        call_fail_errno(call, -r, op, given);
    else
        call_ok(call, error_json_text(path.text, strlen(path.text)));
}

void
files_make_temp_dir(struct call *call, const json_t *params)
{
    answer_temp(call, params, make_directory);
}

void
files_make_temp_file(struct call *call, const json_t *params)
{
    answer_temp(call, params, make_file);
}
