// SPDX-License-Identifier: Apache-2.0
// Going through a tree of directories, depth first, by descriptors and without recursion, and the
// entries that clients get of it. The caller acts as app.
#pragma once

#include "base/buf.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum {
    // Directories open at a time, in one tree and in all: both bound descriptors and memory.
    TREE_DEPTH_MAX = 1024,
    TREE_OPEN_MAX = 8192,
    TREE_PATH_MAX = PATH_MAX - 1, // longer ones no client could use
};

struct tree_level {
    DIR *dir;
    char *path; // as the client is to see it; "" for the working directory
    dev_t dev;
    ino_t ino;
};

struct tree {
    size_t depth;
    struct tree_level levels[TREE_DEPTH_MAX];
};

struct tree_entry {
    const char *path;
    const char *name;
    bool is_file, is_directory, is_symlink;
};

// Opens a directory that counts against TREE_OPEN_MAX; flags are added. 0 or -errno.
int tree_open_dir(int above, const char *name, int flags, DIR **ret);
void tree_close_dir(DIR *dir);

// Enters a directory: by name beneath the one at the top, or by path if by_path. Its entries will
// be at the path shown. 0 or -errno.
int tree_push(struct tree *t, const char *name, bool by_path, const char *shown);
void tree_pop(struct tree *t);
void tree_done(struct tree *t);

// The next entry but . and .. of the directory at the top: 1, 0 at its end, -errno. Its name is
// valid until the next call, type is a DT_*.
int tree_next(struct tree *t, const char **ret_name, unsigned char *ret_type);

// True if this directory is open already: going in again would have no end.
bool tree_holds(const struct tree *t, dev_t dev, ino_t ino);

// dir/name, or name if dir is "". 0 or -ENAMETOOLONG.
int tree_join(char ret[PATH_MAX], const char *dir, const char *name);
// The path without empty, "." and inner ".." segments, by its text alone; "." is "". 0 or -errno.
int tree_normalize(char ret[PATH_MAX], const char *path);

// The JSON document that stands for an entry.
void tree_entry_write(struct buf *out, const struct tree_entry *e);
