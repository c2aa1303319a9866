// SPDX-License-Identifier: Apache-2.0
#include "init/files/files-internal.h"

#include "base/cleanup.h"
#include "base/json-text.h"
#include "init/files/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

const struct param files_path_params[] = {{"path", PARAM_NAME}, {0}};

bool
files_take_path(struct call *call, const json_t *params, const char *name, const char *op,
                struct app_path *ret)
{
    const char *path = param_text(params, name);
    int r = app_path_set(ret, path);
    if (r < 0)
        call_fail_errno(call, -r, op, path);
    return r == 0;
}

void
files_answer(struct call *call, int r, const char *op, const char *path)
{
    if (r < 0)
        call_fail_errno(call, -r, op, path);
    else
        call_ok_null(call);
}

int
files_open_regular(const char *path, int flags, mode_t mode)
{
    cleanup_fd int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    return S_ISREG(st.st_mode) ? TAKE_FD(fd) : -ENOTSUP;
}

// FileInfo.

// Clamped to the years that have four digits: a file may carry any time.
static json_t *
date_json(const struct statx_timestamp *t)
{
    static const int64_t LAST = 253402300799;  // 9999-12-31T23:59:59Z
    static const int64_t FIRST = -62167219200; // 0000-01-01T00:00:00Z
    int64_t clamped = t->tv_sec > LAST ? LAST : t->tv_sec < FIRST ? FIRST : t->tv_sec;
    time_t seconds = (time_t)clamped;
    struct tm tm = {0};
    (void)gmtime_r(&seconds, &tm);
    char text[64];
    (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   t->tv_nsec / 1000000 % 1000);
    return json_string(text);
}

json_t *
files_info_json(const struct statx *st)
{
    mode_t mode = st->stx_mode;
    const struct statx_timestamp *birth =
        st->stx_mask & STATX_BTIME ? &st->stx_btime : &st->stx_ctime;
    json_t *info = json_pack(
        "{s:b, s:b, s:b, s:I, s:o, s:o, s:o, s:o, s:I, s:I}", "isFile", S_ISREG(mode),
        "isDirectory", S_ISDIR(mode), "isSymlink", S_ISLNK(mode), "size", (json_int_t)st->stx_size,
        "mtime", date_json(&st->stx_mtime), "atime", date_json(&st->stx_atime), "birthtime",
        date_json(birth), "ctime", date_json(&st->stx_ctime), "mode", (json_int_t)mode, "dev",
        (json_int_t)makedev(st->stx_dev_major, st->stx_dev_minor));
    json_t *rest = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:b}", "ino",
                             (json_int_t)st->stx_ino, "nlink", (json_int_t)st->stx_nlink, "uid",
                             (json_int_t)st->stx_uid, "gid", (json_int_t)st->stx_gid, "rdev",
                             (json_int_t)makedev(st->stx_rdev_major, st->stx_rdev_minor), "blksize",
                             (json_int_t)st->stx_blksize, "blocks", (json_int_t)st->stx_blocks,
                             "isBlockDevice", S_ISBLK(mode), "isCharDevice", S_ISCHR(mode),
                             "isFifo", S_ISFIFO(mode), "isSocket", S_ISSOCK(mode));
    (void)json_object_update(info, rest);
    json_decref(rest);
    return info;
}

static void
answer_info(struct call *call, const json_t *params, const char *op, int flags)
{
    struct app_path path;
    struct statx st;
    if (!files_take_path(call, params, "path", op, &path))
        return;
    int r;
    {
        AS_APP_SCOPE();
        r = statx(AT_FDCWD, path.text, flags, STATX_BASIC_STATS | STATX_BTIME, &st) < 0 ? -errno
                                                                                        : 0;
    }
    if (r < 0)
        call_fail_errno(call, -r, op, param_text(params, "path"));
    else
        call_ok(call, files_info_json(&st));
}

void
files_stat(struct call *call, const json_t *params)
{
    answer_info(call, params, "stat", 0);
}

void
files_lstat(struct call *call, const json_t *params)
{
    answer_info(call, params, "lstat", AT_SYMLINK_NOFOLLOW);
}

// readDir.

static unsigned char
entry_type(DIR *dir, const struct dirent *e)
{
    struct stat st;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type;
    if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return DT_UNKNOWN;
    return IFTODT(st.st_mode);
}

static int
append_entry(struct buf *text, const char *name, unsigned char type)
{
    if (buf_append_str(text, "{\"name\":") < 0 || json_text_string(text, name, strlen(name)) < 0)
        return -1;
    return buf_append_fmt(text, ",\"isFile\":%s,\"isDirectory\":%s,\"isSymlink\":%s}",
                          type == DT_REG ? "true" : "false", type == DT_DIR ? "true" : "false",
                          type == DT_LNK ? "true" : "false");
}

// 0, -errno, or -EFBIG when text is full. The caller acts as app.
static int
list_entries(const char *path, struct buf *text)
{
    DIR *dir;
    int r = tree_open_dir(AT_FDCWD, path, 0, &dir);
    if (r < 0)
        return r;
    r = buf_append_str(text, "[");
    const char *separator = "";
    const struct dirent *e;
    for (errno = 0; r == 0 && (e = readdir(dir)) != NULL; errno = 0) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        r = buf_append_str(text, separator) < 0 ? -1
                                                : append_entry(text, e->d_name, entry_type(dir, e));
        separator = ",";
    }
    int sys = errno;
    tree_close_dir(dir);
    if (r < 0 || buf_append_str(text, "]") < 0)
        return -EFBIG;
    return -sys;
}

void
files_read_dir(struct call *call, const json_t *params)
{
    struct app_path path;
    if (!files_take_path(call, params, "path", "readdir", &path))
        return;
    struct buf text cleanup_buf;
    call_text_init(call, &text);
    int r;
    {
        AS_APP_SCOPE();
        r = list_entries(path.text, &text);
    }
    if (r == -EFBIG)
        call_fail_too_large(call);
    else if (r < 0)
        call_fail_errno(call, -r, "readdir", param_text(params, "path"));
    else
        call_ok_text(call, &text);
}

// mkdir, rename.

static const struct param mkdir_options[] = {
    {"recursive", PARAM_BOOL, .optional = true}, {"mode", PARAM_INDEX, .optional = true}, {0}};
const struct param files_mkdir_params[] = {
    {"path", PARAM_NAME},
    {"options", PARAM_OBJECT, .optional = true, .members = mkdir_options},
    {0}};

// path is changed on the way and restored.
static int
make_parents(char *path, mode_t mode)
{
    for (char *slash = path + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        int r = mkdir(path, mode) < 0 ? -errno : 0;
        *slash = '/';
        if (r < 0 && r != -EEXIST)
            return r;
    }
    return 0;
}

static int
make_directory(char *path, mode_t mode, bool recursive)
{
    if (mkdir(path, mode) == 0)
        return 0;
    if (!recursive || (errno != ENOENT && errno != EEXIST) || *path == '\0')
        return -errno;
    int r = make_parents(path, mode);
    if (r < 0 || mkdir(path, mode) == 0)
        return r;
    struct stat st;
    r = -errno;
    return r == -EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? 0 : r;
}

void
files_mkdir(struct call *call, const json_t *params)
{
    struct app_path path;
    uint64_t mode = 0777;
    const json_t *options = param_value(params, "options");
    if (!files_take_path(call, params, "path", "mkdir", &path))
        return;
    (void)param_index(options, "mode", &mode);
    int r;
    {
        AS_APP_SCOPE();
        r = make_directory(path.text, (mode_t)(mode & 07777),
                           param_flag(options, "recursive", false));
    }
    files_answer(call, r, "mkdir", param_text(params, "path"));
}

const struct param files_rename_params[] = {{"oldPath", PARAM_NAME}, {"newPath", PARAM_NAME}, {0}};

void
files_rename(struct call *call, const json_t *params)
{
    struct app_path from;
    struct app_path to;
    if (!files_take_path(call, params, "oldPath", "rename", &from) ||
        !files_take_path(call, params, "newPath", "rename", &to))
        return;
    int r;
    {
        AS_APP_SCOPE();
        r = rename(from.text, to.text) < 0 ? -errno : 0;
    }
    if (r < 0)
        call_fail_errno2(call, -r, "rename", param_text(params, "oldPath"),
                         param_text(params, "newPath"));
    else
        call_ok_null(call);
}
