// SPDX-License-Identifier: Apache-2.0
// Disk images of sandboxes: one sparse ext4 file each, its size the quota, a copy of a template
// that is made once a size. Ids on disk are 0..65535; the mount maps them.
//
// All lies beneath two folders of the state directory that only root may enter: disks/ID.ext4 and
// templates/. Every operation goes through descriptors of these, so that whoever owns the state
// directory can swap nothing.
#pragma once

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

enum {
    // Below this much free space no sandbox is made: the disks of those that run may still grow.
    DISK_FREE_MIN_MIB = 1024,
    // Sizes that templates are kept of: stops a client of many sizes from filling the disk.
    DISK_TEMPLATES_MAX = 32,
};

struct disk_store {
    int disks_fd;
    int templates_fd;
};

// Opens name beneath dir_fd, makes it if needed; refuses a folder that others than root may touch.
int disk_open_private_dir(int dir_fd, const char *name, struct error *err);

int disk_store_open(struct disk_store *ret, int state_fd, struct error *err);
// Unlinks every image; returns how many, or -1.
int disk_store_sweep(const struct disk_store *store, struct error *err);

// ERR_UNAVAILABLE when too little space is free.
int disk_check_space(const struct disk_store *store, struct error *err);

// Makes the image of a sandbox and returns a descriptor of it. Takes a while when the size is new.
int disk_create(const struct disk_store *store, const char *id, uint32_t size_mib,
                struct error *err);
int disk_unlink(const struct disk_store *store, const char *id, struct error *err);

// A detached mount of the image, with the number of the loop device behind it.
int disk_mount(int image_fd, int *ret_loop, struct error *err);
