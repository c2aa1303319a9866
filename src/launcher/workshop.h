// SPDX-License-Identifier: Apache-2.0
// What start-up prepares once and every build then uses: folders, the mounted base image, the
// programs, the cgroup layout, the filters. Read-only after workshop_open.
#pragma once

#include "base/error.h"
#include "base/log.h"
#include "launcher/cgroup.h"
#include "launcher/disk.h"
#include "launcher/seccomp-filter.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

// A folder of the host that exists only as a place to mount on, in mount namespaces of our own.
#define WORKSHOP_STAGE "/run/casemate/stage"

struct launcher_options {
    const char *state_dir;
    const char *image;
    const char *init;
    const char *fetch;
    const char *worker;
    const char *worker_user;
    unsigned sandboxes_max; // at once
    enum log_level log_level;
};

struct workshop {
    char state_dir[PATH_MAX]; // real path
    int lock_fd;              // of STATE/launcher.lock
    int ids_fd;               // /run/casemate/ids
    int base_fd;              // root of the base image's mount
    int init_fd;              // sealed memfd of casemate-init
    int fetch_fd;             // sealed memfd of casemate-fetch
    int worker_fd;            // casemate-proxy
    uid_t worker_uid;
    gid_t worker_gid;
    int landlock_abi;
    unsigned sandboxes_max; // the operator's, whatever casemated asks for
    struct disk_store disks;
    struct cgroup_layout cgroups;
    struct seccomp_filter filter;
};

// Enters a private mount namespace, sweeps what an earlier run left, and prepares all of the above.
int workshop_open(struct workshop *ret, const struct launcher_options *options, struct error *err);
void workshop_close(struct workshop *w);
