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

// Clones the child into the cgroup; it waits. Its parent is the caller's parent, the launcher.
int guest_start(struct guest *ret, const struct guest_plan *plan, int cgroup_fd, struct error *err);
// Its ids are mapped, its network is built, and here are the layers of its root.
int guest_go(const struct guest *g, int base_fd, int disk_fd, struct error *err);
// It has joined all its cgroups: init may be executed.
int guest_release(const struct guest *g, struct error *err);
// Waits until init is executed, or brings what failed.
int guest_await_exec(const struct guest *g, struct error *err);
