// SPDX-License-Identifier: Apache-2.0
// Making a process: fork, the child's way to exec, and the report of what went wrong on it.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn_plan {
    const char *command; // without "/": searched in the PATH of env
    char *const *argv;
    char *const *env;
    const char *cwd; // absolute
    int stdio[3];
    int inherited; // becomes its descriptor 3; 0: none
    int program;   // to execute, of which command is then just the name; 0: command
};

enum spawn_stage { SPAWN_STAGE_PREPARE, SPAWN_STAGE_CWD, SPAWN_STAGE_EXEC, SPAWN_STAGE_MAX };

// What the child writes when it does not get as far as the program; at exec the pipe just ends.
struct spawn_report {
    int32_t sys; // errno
    int32_t stage;
};

// To be called once before the first spawn: remembers what children must not inherit from init.
void spawn_init(void);
// The child runs as app, in a session of its own, with default signals and only its stdio. Returns
// its pid, or -errno; *ret_report is a non-blocking descriptor that the child's report comes from.
// Does not wait for the child: another process may have stopped it.
pid_t spawn_process(const struct spawn_plan *plan, int *ret_report);
