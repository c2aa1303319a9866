// SPDX-License-Identifier: Apache-2.0
// What feeds a process' standard input from a client's stream, however slowly the process reads:
// what the pipe does not take waits in memory, and beyond FEED_MEMORY_MAX in an unlinked file on
// the sandbox's own disk, so the bound is that disk's.
#pragma once

#include "init/instream.h"
#include "init/loop.h"

enum {
    FEED_MEMORY_MAX = 1024 * 1024, // stops a client's input from growing init
};

struct feed;

// Takes fd, the non-blocking write end of the pipe. input is called for each chunk from the client.
// NULL: no room to watch the pipe with, fd is closed.
struct feed *feed_new(struct loop *loop, int fd, void (*input)(void *user), void *user);
// Connects the client's stream, delivering what has come already.
void feed_connect(struct feed *f, struct instream *source);
// In place of a source: what the caller has itself. 0, -EPIPE (nobody reads any more) or -ENOSPC
// (the disk is full, and what came is not whole).
int feed_push(struct feed *f, const uint8_t *data, size_t size);
void feed_finish(struct feed *f); // no more comes: closes the pipe behind what there is
// The process is gone: closes the pipe, and tells the client to stop unless its stream is over.
void feed_free(struct feed *f);
