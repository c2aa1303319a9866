// SPDX-License-Identifier: Apache-2.0
// The methods about Deno: spawnDeno, denoHttpWait, spawnDenoRepl, denoReplEval, denoReplCall,
// denoReplClose. They run the `deno` that the PATH of the sandbox finds.
#pragma once

#include "init/call.h"
#include "init/params.h"

enum {
    // Calls of denoHttpWait at once: each is looked after in turn.
    DENO_HTTP_WAITS_MAX = 1024,
    // Evaluations that wait for their turn in one REPL, and the bytes of their code.
    DENO_REPL_QUEUE_MAX = 1024,
    DENO_REPL_QUEUED_MAX = 64 * 1024 * 1024,
    // What a REPL may answer: more ends it.
    DENO_REPL_REPLY_MAX = 64 * 1024 * 1024,
    // A REPL that is told to end is killed after this time.
    DENO_REPL_END_MS = 2000,
};

struct deno;

struct deno *deno_new(struct loop *loop);

extern const struct param deno_run_params[];
extern const struct param deno_repl_params[];
extern const struct param deno_pid_params[];
extern const struct param deno_repl_eval_params[];
extern const struct param deno_repl_call_params[];
void deno_run(struct call *call, const json_t *params);
void deno_http_wait(struct call *call, const json_t *params);
void deno_repl(struct call *call, const json_t *params);
void deno_repl_eval(struct call *call, const json_t *params);
void deno_repl_call(struct call *call, const json_t *params);
void deno_repl_close(struct call *call, const json_t *params);
