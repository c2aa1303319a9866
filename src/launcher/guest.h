// SPDX-License-Identifier: Apache-2.0
// From clone3(2) to casemate-init: the child that builds the sandbox from inside. It is our code
// until it executes init; nothing of the guest runs before all is in force.
#pragma once

#include "base/error.h"
#include "launcher/workshop.h"

#include <stdint.h>
#include <sys/types.h>

struct guest_plan {
    const struct workshop *shop;
    pid_t launcher; // the caller's parent
    uid_t owner;    // of its user namespace: an id of its own range
    const char *id;
    uint32_t memory_mib;
    unsigned cpus;        // that it may run on
    unsigned first_cpu;   // to spread sandboxes over the host's
    int control_fd;       // guest's end of the control socket
    int memory_events_fd; // see wire/control.h
};

struct guest {
    pid_t pid;
    int pidfd;
    int sync; // to the child, until it executes init
};

// Clones the child into the cgroup; it waits. Its parent is the launcher.
//
// What the kernel counts per user (inotify instances, queued signals, message queues, locked
// memory: user_namespaces(7), RLIMIT_SIGPENDING) it also counts for the owner of the user
// namespace. Were that root, one sandbox could use up what all sandboxes and the host share.
int guest_start(struct guest *ret, const struct guest_plan *plan, int cgroup_fd, struct error *err);
// When the host runs out of memory, sandboxes go before the host's own programs.
int guest_offer_to_oom(const struct guest *g, struct error *err);
// Its ids are mapped, its network is built, and here are the mounts for its root (rootfs.h).
int guest_go(const struct guest *g, int base_fd, int disk_fd, int devices_fd, struct error *err);
// It has joined all its cgroups: init may be executed.
int guest_release(const struct guest *g, struct error *err);
// Waits until init is executed, or brings what failed.
int guest_await_exec(const struct guest *g, struct error *err);
