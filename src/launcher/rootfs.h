// SPDX-License-Identifier: Apache-2.0
// The file tree of a sandbox, built from within its user and mount namespaces.
#pragma once

#include "base/error.h"

#include <stdint.h>

struct rootfs_plan {
    int base_fd; // detached, idmapped mount of the base image
    int disk_fd; // detached, idmapped mount of the sandbox's disk
    uint32_t memory_mib;
};

// Overlay of both, /proc, /dev, /run; then makes it the root and lets go of the host's tree.
int rootfs_enter(const struct rootfs_plan *plan, struct error *err);
