// SPDX-License-Identifier: Apache-2.0
#include "launcher/landlock.h"

#include "base/cleanup.h"
#include "launcher/syscalls.h"

#include <errno.h>
#include <fcntl.h>

enum { LANDLOCK_ABI_MIN = 2 };

int
landlock_probe(struct error *err)
{
    int abi = sys_landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 0)
        return error_set_errno(err, errno, "ask for Landlock");
    if (abi < LANDLOCK_ABI_MIN)
        return error_set(err, ERR_UNAVAILABLE, "Landlock ABI %d, need %d", abi, LANDLOCK_ABI_MIN);
    return abi;
}

// Rights are numbered in the order in which the ABI versions brought them.
static uint64_t
rights_of(int abi)
{
    if (abi >= 5)
        return (1ULL << 16) - 1; // IOCTL_DEV
    if (abi >= 3)
        return (1ULL << 15) - 1; // TRUNCATE
    return (1ULL << 14) - 1;     // REFER
}

int
landlock_restrict_self(int abi, struct error *err)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs = rights_of(abi)};
    cleanup_fd int ruleset = sys_landlock_create_ruleset(&attr, sizeof attr, 0);
    if (ruleset < 0)
        return error_set_errno(err, errno, "make Landlock rules");
    cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return error_set_errno(err, errno, "open /");
    struct landlock_path_beneath_attr beneath = {.allowed_access = attr.handled_access_fs,
                                                 .parent_fd = root};
    if (sys_landlock_add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath) < 0)
        return error_set_errno(err, errno, "add a Landlock rule");
    if (sys_landlock_restrict_self(ruleset) < 0)
        return error_set_errno(err, errno, "enforce Landlock rules");
    return 0;
}
