// SPDX-License-Identifier: Apache-2.0
// Files that a client holds open: known to that client alone, by numbers that are never used again,
// and closed with its connection. All that is done with them is done as app.
#pragma once

#include "init/call.h"
#include "init/params.h"

extern const struct param handles_open_params[];
extern const struct param handles_only_params[]; // for the methods that take a handle alone
extern const struct param handles_read_params[];
extern const struct param handles_write_params[];
extern const struct param handles_seek_params[];
extern const struct param handles_truncate_params[];
extern const struct param handles_utime_params[];
void handles_open(struct call *call, const json_t *params);
void handles_create(struct call *call, const json_t *params);
void handles_close(struct call *call, const json_t *params);
void handles_read(struct call *call, const json_t *params);
void handles_write(struct call *call, const json_t *params);
void handles_seek(struct call *call, const json_t *params);
void handles_stat(struct call *call, const json_t *params);
void handles_sync(struct call *call, const json_t *params);
void handles_sync_data(struct call *call, const json_t *params);
void handles_truncate(struct call *call, const json_t *params);
void handles_utime(struct call *call, const json_t *params);

// handles-lock.c
extern const struct param handles_lock_params[];
void handles_lock(struct call *call, const json_t *params);
void handles_unlock(struct call *call, const json_t *params);

// The descriptor of a handle, or -1.
int handle_fd(const struct channel *c, uint64_t number);
// The descriptor that the call names; -1: it is answered.
int handle_take(struct call *call, const json_t *params, const char *op);

void handles_drop(struct channel *c); // the client is gone
