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

// What a process is started for, if not for its client alone.
struct process_role {
    // It has ended, or could not be started: the last that the role hears of it.
    void (*ended)(void *user);
};

struct process_request {
    const char *command;
    const json_t *args; // array of strings, or NULL; the caller's
    int inherited;      // descriptor that becomes its 3, the caller's; 0: none
    const struct process_role *role;
    void *user;
    bool has_watcher; // its result names one
    uint32_t watcher; // number of a stream; 0: null
};

extern const char *const process_output_choices[];
// Of every method that starts a process.
#define PROCESS_START_PARAMS                                                                       \
    {"env", PARAM_NAME_MAP, .optional = true}, {"clearEnv", PARAM_BOOL, .optional = true},         \
        {"cwd", PARAM_NAME, .optional = true}, {"stdinStreamId", PARAM_INDEX, .optional = true},   \
        {"stdout", PARAM_CHOICE, .choices = process_output_choices},                               \
    {                                                                                              \
        "stderr", PARAM_CHOICE, .choices = process_output_choices                                  \
    }

// Answers the call when the program runs or cannot. role->ended is called once, whatever happens.
void process_start(struct call *call, const json_t *params, const struct process_request *r);
// What a running process was started with, if that was this role; else NULL.
void *process_role_user(const struct processes *ps, uint64_t pid, const struct process_role *role);
void process_terminate(const struct processes *ps, uint64_t pid); // SIGKILL, if it runs

extern const struct param process_spawn_params[];
extern const struct param process_wait_params[];
extern const struct param process_kill_params[];
void process_spawn(struct call *call, const json_t *params);
void process_wait(struct call *call, const json_t *params);
void process_kill(struct call *call, const json_t *params);
