// SPDX-License-Identifier: Apache-2.0
#include "launcher/mounts.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mount.h>

int
mounts_new(const char *type, const struct mount_option *options, unsigned attributes,
           struct error *err)
{
    cleanup_fd int context = fsopen(type, FSOPEN_CLOEXEC);
    if (context < 0)
        return error_set_errno(err, errno, "open file system %s", type);
    for (const struct mount_option *o = options; o->name != NULL; o++) {
        unsigned command = o->value != NULL ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        if (fsconfig(context, command, o->name, o->value, 0) < 0)
            return error_set_errno(err, errno, "set option %s of %s", o->name, type);
    }
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return error_set_errno(err, errno, "set up file system %s", type);
    int fd = fsmount(context, FSMOUNT_CLOEXEC, attributes);
    return fd < 0 ? error_set_errno(err, errno, "mount %s", type) : fd;
}

int
mounts_clone(int dir_fd, const char *path, struct error *err)
{
    int fd = open_tree(dir_fd, path,
                       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    return fd < 0 ? error_set_errno(err, errno, "copy mount %s", path) : fd;
}

int
mounts_set_idmap(int mount_fd, int userns_fd, struct error *err)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
    if (mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
        return error_set_errno(err, errno, "map the ids of a mount");
    return 0;
}

int
mounts_set_attributes(int mount_fd, unsigned attributes, struct error *err)
{
    struct mount_attr attr = {.attr_set = attributes};
    if (mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
        return error_set_errno(err, errno, "set attributes of a mount");
    return 0;
}

int
mounts_attach(int mount_fd, int dir_fd, const char *path, struct error *err)
{
    if (move_mount(mount_fd, "", dir_fd, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return error_set_errno(err, errno, "attach a mount at %s", path);
    return 0;
}
