// SPDX-License-Identifier: Apache-2.0
// The kernel's file-descriptor mount interface (fsopen(2), open_tree(2), mount_setattr(2)): mounts
// that hang nowhere until whoever holds their descriptor attaches them.
#pragma once

#include "base/error.h"

// Options of a file system as pairs of strings, ended by a NULL name; a NULL value is a flag.
struct mount_option {
    const char *name;
    const char *value;
};

// A new, detached mount of a file system; attributes are MOUNT_ATTR_*. Returns its descriptor or
// -1.
int mounts_new(const char *type, const struct mount_option *options, unsigned attributes,
               struct error *err);
// A detached copy of the mount that holds path beneath dir_fd ("" for dir_fd itself).
int mounts_clone(int dir_fd, const char *path, struct error *err);
// Shows the ids of a detached mount through a user namespace's map.
int mounts_set_idmap(int mount_fd, int userns_fd, struct error *err);
int mounts_set_attributes(int mount_fd, unsigned attributes, struct error *err);
// Attaches a detached mount at path beneath dir_fd; symbolic links are not followed.
int mounts_attach(int mount_fd, int dir_fd, const char *path, struct error *err);
