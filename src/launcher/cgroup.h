// SPDX-License-Identifier: Apache-2.0
// Control groups: version 2 is the reference (cgroup v2 documentation of the kernel); where a
// controller sits on a version 1 hierarchy (hybrid hosts), its group there is used, per controller.
//
// Every sandbox has a group ROOT/casemate-INSTANCE/ID in the version 2 hierarchy, which its first
// process is cloned into and which accounts CPU time and kills; and one in the hierarchy of each
// version 1 controller. The first write of a pid to cgroup.procs after idle takes about 15 ms, so
// cgroup_join_v1 belongs off the critical path.
#pragma once

#include "base/error.h"
#include "base/ident.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum cgroup_controller { CGROUP_CPU, CGROUP_MEMORY, CGROUP_PIDS, CGROUP_CONTROLLER_MAX };

enum { CGROUP_PATH_MAX = 256, CGROUP_INSTANCE_SIZE = 16 };

struct cgroup_layout {
    char v2[CGROUP_PATH_MAX];                        // mount point of the version 2 hierarchy
    char v1[CGROUP_CONTROLLER_MAX][CGROUP_PATH_MAX]; // "" where the controller is on version 2
    char instance[CGROUP_INSTANCE_SIZE + 1];
};

struct cgroup_limits {
    uint32_t memory_mib;
    uint32_t cpu_millis;
    uint32_t pids_max;
};

const char *cgroup_controller_name(enum cgroup_controller controller);

// Finds the hierarchies in the text of /proc/self/mountinfo (proc(5)). Fails without version 2.
int cgroup_layout_parse(struct cgroup_layout *layout, const char *mountinfo, struct error *err);
// True if name is one of the words of a cgroup.controllers file.
bool cgroup_controllers_has(const char *text, const char *name);

// Start-up: finds the hierarchies, makes the instance's groups, and gives them the controllers.
int cgroup_layout_init(struct cgroup_layout *layout, const char *instance, struct error *err);
// "v2" or "v2, v1: memory cpu"
void cgroup_layout_describe(const struct cgroup_layout *layout, char *out, size_t capacity);
// Kills every process of every sandbox, and waits for nothing.
void cgroup_layout_kill(const struct cgroup_layout *layout);
// Kills and removes what an earlier run left; how many groups that were goes to *ret_count.
int cgroup_layout_sweep(const struct cgroup_layout *layout, unsigned *ret_count, struct error *err);
void cgroup_layout_remove(const struct cgroup_layout *layout);

// Makes the groups of a sandbox with their limits; returns an O_PATH descriptor of the version 2
// group for clone3(2), or -1.
int cgroup_create(const struct cgroup_layout *layout, const char *id,
                  const struct cgroup_limits *limits, struct error *err);
bool cgroup_layout_has_v1(const struct cgroup_layout *layout);
int cgroup_join_v1(const struct cgroup_layout *layout, const char *id, pid_t pid,
                   struct error *err);
// Read-only descriptors of counters: cpu.stat, memory in use, memory events with "oom_kill N".
int cgroup_open_cpu(const struct cgroup_layout *layout, const char *id, struct error *err);
int cgroup_open_memory(const struct cgroup_layout *layout, const char *id, struct error *err);
int cgroup_open_memory_events(const struct cgroup_layout *layout, const char *id,
                              struct error *err);

// CPU time used so far, in microseconds; 0 if there is no such group.
uint64_t cgroup_read_cpu_usec(const struct cgroup_layout *layout, const char *id);
void cgroup_kill(const struct cgroup_layout *layout, const char *id);
// Removes the groups; 1 when they are gone, 0 when one is busy still, -1 on error.
int cgroup_remove(const struct cgroup_layout *layout, const char *id, struct error *err);
