// SPDX-License-Identifier: Apache-2.0
// The processes that clients started, from fork until their exit status is forgotten, and the
// methods spawn, processWait and processKill. Reaps every other child, too: PID 1 inherits all
// orphans.
#pragma once

#include "init/call.h"
#include "init/env.h"
#include "init/loop.h"
#include "init/params.h"

enum {
    // Exit statuses kept for a late processWait: bounds what a spawning loop leaves behind.
    PROCESS_EXITED_MAX = 65536,
    // Those and all that the sandbox's limit of processes can let run.
    PROCESSES_MAX = 2 * 65536,
    // Output of a process whose client neither waits for it nor feeds it flows after this time.
    PROCESS_GATE_MS = 10000,
};

struct processes;

// memory_events: descriptor with the line "oom_kill N", or -1.
struct processes *processes_new(struct loop *loop, int memory_events);
// A process that a client started and that has not ended.
bool processes_has(const struct processes *ps, uint64_t pid);

extern const struct param process_spawn_params[];
extern const struct param process_wait_params[];
extern const struct param process_kill_params[];
void process_spawn(struct call *call, const json_t *params);
void process_wait(struct call *call, const json_t *params);
void process_kill(struct call *call, const json_t *params);
