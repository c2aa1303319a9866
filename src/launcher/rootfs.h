// SPDX-License-Identifier: Apache-2.0
// The file tree of a sandbox, built from within its user and mount namespaces.
#pragma once

#include "base/error.h"

#include <stdint.h>

struct rootfs_plan {
    int base_fd;    // detached, idmapped mount of the base image
    int disk_fd;    // detached, idmapped mount of the sandbox's disk
    int devices_fd; // rootfs_make_devices
    uint32_t memory_mib;
};

// On the host: a detached mount with the device nodes of one sandbox. Its own, since locks and
// watches (flock(2), inotify(7)) hold for an inode, whoever reaches it by whatever mount: with the
// host's nodes, sandboxes could block and watch each other and the host.
int rootfs_make_devices(struct error *err);

// Overlay of both, /proc, /dev, /run; then makes it the root and lets go of the host's tree.
int rootfs_enter(const struct rootfs_plan *plan, struct error *err);
