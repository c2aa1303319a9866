// SPDX-License-Identifier: Apache-2.0
// Between process.c (the table, exit, waiting) and process-spawn.c (starting).
#pragma once

#include "init/feed.h"
#include "init/outstream.h"
#include "init/process/process.h"

#include <sys/types.h>

struct processes {
    struct loop *loop;
    int memory_events;
    struct map by_pid;  // the latest process of each pid
    struct list exited; // oldest first
    size_t exited_count;
    struct loop_watch child_signal;
    struct loop_task reap;
};

// Freed when it is out of the table and nothing waits for it or flows from it any more.
struct process {
    uint64_t pid;
    struct list link; // in exited
    struct processes *owner;
    bool in_table;
    bool exited;
    int code;
    int signal; // 0: none
    bool oom;
    int pidfd;
    bool has_oom_count;
    uint64_t oom_count; // when it started
    struct outstream *out[2];
    struct feed *feed;
    struct list waiters;
    const struct process_role *role; // NULL once it has been told of the end
    void *role_user;
    bool has_watcher;
    uint32_t watcher;
    struct loop_timer gate;
    int64_t last_input_ms;
    // While starting.
    bool starting;
    struct loop_watch report;
    struct call *spawn_call; // NULL: the client is gone
    char *command;
    char *cwd;
};

extern const struct outstream_events process_stream_events[2];
void process_insert(struct process *p);
void process_end_role(struct process *p);
void process_forget(struct process *p);                             // out of the table; may free it
void process_open_gate(struct process *p, const struct channel *c); // NULL: of any channel
bool process_oom_count(const struct processes *ps, uint64_t *ret);
