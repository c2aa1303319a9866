// SPDX-License-Identifier: Apache-2.0
#include "init/files/tree.h"

#include "base/json-text.h"
#include "base/mem.h"
#include "wire/frame.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// At worst each byte is written as \u001f; the rest of an entry is short.
static_assert((TREE_PATH_MAX + NAME_MAX) * 6 + 256 <= FRAME_CHUNK_MAX, "an entry is one frame");

static size_t open_dirs; // in all trees

int
tree_open_dir(int above, const char *name, int flags, DIR **ret)
{
    if (open_dirs == TREE_OPEN_MAX)
        return -EMFILE;
    int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC | flags);
    if (fd < 0)
        return -errno;
    *ret = fdopendir(fd);
    if (*ret == NULL) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    open_dirs++;
    return 0;
}

void
tree_close_dir(DIR *dir)
{
    (void)closedir(dir);
    open_dirs--;
}

int
tree_push(struct tree *t, const char *name, bool by_path, const char *shown)
{
    struct stat st;
    if (t->depth == TREE_DEPTH_MAX)
        return -ENAMETOOLONG;
    // Only a path that was given may lead through a link at its end.
    int above = by_path ? AT_FDCWD : dirfd(t->levels[t->depth - 1].dir);
    DIR *dir = NULL;
    int r = tree_open_dir(above, name, by_path ? 0 : O_NOFOLLOW, &dir);
    if (dir == NULL)
        return r;
    if (fstat(dirfd(dir), &st) < 0) {
        r = -errno;
        tree_close_dir(dir);
        return r;
    }
    t->levels[t->depth++] =
        (struct tree_level){.dir = dir, .path = xstrdup(shown), .dev = st.st_dev, .ino = st.st_ino};
    return 0;
}

void
tree_pop(struct tree *t)
{
    struct tree_level *l = &t->levels[--t->depth];
    tree_close_dir(l->dir);
    free(l->path);
}

void
tree_done(struct tree *t)
{
    while (t->depth > 0)
        tree_pop(t);
}

int
tree_next(struct tree *t, const char **ret_name, unsigned char *ret_type)
{
    DIR *dir = t->levels[t->depth - 1].dir;
    const struct dirent *e;
    struct stat st;
    do {
        errno = 0;
        e = readdir(dir);
    } while (e != NULL && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0));
    if (e == NULL)
        return -errno;
    *ret_name = e->d_name;
    *ret_type = e->d_type;
    if (e->d_type == DT_UNKNOWN && fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        *ret_type = IFTODT(st.st_mode);
    return 1;
}

bool
tree_holds(const struct tree *t, dev_t dev, ino_t ino)
{
    for (size_t i = 0; i < t->depth; i++)
        if (t->levels[i].dev == dev && t->levels[i].ino == ino)
            return true;
    return false;
}

int
tree_join(char ret[PATH_MAX], const char *dir, const char *name)
{
    size_t dir_size = strlen(dir);
    size_t name_size = strlen(name);
    bool slash = dir_size > 0 && dir[dir_size - 1] != '/';
    if (dir_size + slash + name_size > TREE_PATH_MAX)
        return -ENAMETOOLONG;
    memmove(ret, dir, dir_size);
    if (slash)
        ret[dir_size] = '/';
    memcpy(ret + dir_size + slash, name, name_size + 1);
    return 0;
}

// Takes the last segment off, if it is one that ".." undoes.
static bool
drop_segment(char *path, size_t *size, size_t root)
{
    size_t at = *size;
    while (at > root && path[at - 1] != '/')
        at--;
    if (*size == root || (*size - at == 2 && memcmp(path + at, "..", 2) == 0))
        return false;
    *size = at > root ? at - 1 : root;
    return true;
}

int
tree_normalize(char ret[PATH_MAX], const char *path)
{
    size_t root = *path == '/' ? 1 : 0;
    size_t size = root;
    if (strlen(path) > TREE_PATH_MAX)
        return -ENAMETOOLONG;
    ret[0] = '/';
    for (const char *at = path; *at != '\0';) {
        size_t segment = strcspn(at, "/");
        bool dots = segment == 2 && memcmp(at, "..", 2) == 0;
        bool nothing = segment == 0 || (segment == 1 && *at == '.');
        if (!nothing && !(dots && (drop_segment(ret, &size, root) || root == 1))) {
            if (size > root)
                ret[size++] = '/';
            memcpy(ret + size, at, segment);
            size += segment;
        }
        at += segment;
        at += *at == '/' ? 1 : 0;
    }
    ret[size] = '\0';
    return 0;
}

void
tree_entry_write(struct buf *out, const struct tree_entry *e)
{
    static const char *const words[] = {"false", "true"};
    if (buf_append_str(out, "{\"path\":") < 0 ||
        json_text_string(out, e->path, strlen(e->path)) < 0 ||
        buf_append_str(out, ",\"name\":") < 0 ||
        json_text_string(out, e->name, strlen(e->name)) < 0 ||
        buf_append_fmt(out, ",\"isFile\":%s,\"isDirectory\":%s,\"isSymlink\":%s}",
                       words[e->is_file], words[e->is_directory], words[e->is_symlink]) < 0)
        abort();
}
