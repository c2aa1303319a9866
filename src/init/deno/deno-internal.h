// SPDX-License-Identifier: Apache-2.0
// What the parts of the Deno methods share.
#pragma once

#include "init/deno/deno.h"
#include "init/loop.h"

#include <limits.h>

struct deno {
    struct loop *loop;
    // denoHttpWait: one timer looks after all of them.
    struct list waits;
    size_t wait_count;
    struct loop_timer poll;
    int64_t poll_ms;
};

void deno_http_init(struct deno *d);

// Notices of a process that `deno run --watch` starts anew: a module that it loads before each
// start writes a byte into a pipe.
struct watch;

// folder is where the module is put; the pipe's end for the process is *ret_fd, the caller's. 0 or
// -errno.
int watch_new(struct channel *c, const char *folder, struct watch **ret, int *ret_fd);
uint32_t watch_number(const struct watch *w); // 0: there is none
void watch_end(struct watch *w);              // its process has ended

#define WATCH_MODULE "notify.mjs"

// What a REPL is told first, and then to show what became of an evaluation: JSON text.
extern const char repl_prelude[];
extern const char repl_show_value[];
extern const char repl_show_error[];
