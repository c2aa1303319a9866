// SPDX-License-Identifier: Apache-2.0
#include "launcher/caps.h"

#include "base/cleanup.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Why each stays with the launcher:
static const int launcher_caps[] = {
    CAP_SYS_ADMIN,        // namespaces, mounts, loop devices, cgroups, loading the capture program
    CAP_NET_ADMIN,        // attaching the capture program; addresses and routes of a sandbox
    CAP_NET_BIND_SERVICE, // the worker's sockets
    CAP_SETUID,           // maps of ids; the worker's user
    CAP_SETGID,           //
    CAP_DAC_OVERRIDE,     // a state directory that belongs to the daemon's user
    CAP_MKNOD,            // the device nodes of a sandbox
    CAP_CHOWN,            // mkfs.ext4 copies owners
    CAP_FOWNER,           //
    CAP_KILL,             // workers and sandboxes run as other users
    CAP_SYS_PTRACE,       // opening the namespaces of a child that cannot be dumped
    CAP_SYS_RESOURCE,     // raising limits on descriptors
    CAP_SETPCAP,          // dropping capabilities from bounding sets
};

static const int sandbox_caps[] = {
    CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FSETID,  CAP_FOWNER,           CAP_SETGID,
    CAP_SETUID, CAP_SETFCAP,      CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT,
    CAP_KILL,   CAP_AUDIT_WRITE,
};

static bool
in_list(const int *list, size_t count, int cap)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == cap)
            return true;
    }
    return false;
}

// Drops every capability that the kernel knows and the list does not.
static int
bound(const int *list, size_t count, struct error *err)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if (!in_list(list, count, cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return error_set_errno(err, errno, "drop capability %d", cap);
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return error_set_errno(err, errno, "clear the ambient capabilities");
    return 0;
}

static int
get(struct __user_cap_data_struct data[2], struct error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    if (syscall(SYS_capget, &header, data) < 0)
        return error_set_errno(err, errno, "read capabilities");
    return 0;
}

static int
set(const struct __user_cap_data_struct data[2], struct error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    if (syscall(SYS_capset, &header, data) < 0)
        return error_set_errno(err, errno, "set capabilities");
    return 0;
}

int
caps_reduce_launcher(struct error *err)
{
    if (bound(launcher_caps, ARRAY_SIZE(launcher_caps), err) < 0)
        return -1;
    struct __user_cap_data_struct data[2] = {0};
    if (get(data, err) < 0)
        return -1;
    uint32_t keep[2] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(launcher_caps); i++)
        keep[launcher_caps[i] / 32] |= 1U << (launcher_caps[i] % 32);
    for (int i = 0; i < 2; i++) {
        data[i].permitted &= keep[i];
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    return set(data, err);
}

int
caps_raise(struct error *err)
{
    struct __user_cap_data_struct data[2] = {0};
    if (get(data, err) < 0)
        return -1;
    data[0].effective = data[0].permitted;
    data[1].effective = data[1].permitted;
    return set(data, err);
}

int
caps_bound_sandbox(struct error *err)
{
    struct __user_cap_data_struct data[2] = {0};
    if (bound(sandbox_caps, ARRAY_SIZE(sandbox_caps), err) < 0 || get(data, err) < 0)
        return -1;
    data[0].inheritable = 0;
    data[1].inheritable = 0;
    return set(data, err);
}

int
caps_bound_worker(struct error *err)
{
    return bound(NULL, 0, err);
}

int
caps_clear(struct error *err)
{
    const struct __user_cap_data_struct none[2] = {0};
    return set(none, err);
}
