// SPDX-License-Identifier: Apache-2.0
// Streams to a client: the read end of a pipe, read only as fast as the client takes it.
#pragma once

#include "init/outport.h"

enum outstream_state {
    OUTSTREAM_GATED,   // announced; the client may not be ready for it
    OUTSTREAM_OPEN,    // flows
    OUTSTREAM_DISCARD, // nobody wants it any more, but its writer shall not notice
    OUTSTREAM_STATE_MAX
};

struct outstream;

struct outstream_events {
    // All that was in the pipe when outstream_expect_end was called is sent, or nobody wants it.
    void (*drained)(void *user);
    // End of file; the stream is freed right afterwards.
    void (*ended)(void *user, struct outstream *s);
};

struct outstream {
    struct outport port; // first; removed once discarded
    struct loop *loop;
    struct loop_watch watch;
    struct loop_task discard;
    enum outstream_state state;
    bool end_expected;
    bool drained;
    uint64_t drain_left;
    const struct outstream_events *events;
    void *user;
};

// Takes fd (non-blocking). The stream lives until the end of the file, whatever becomes of the
// channel. NULL: out of descriptors to watch with, fd is closed.
struct outstream *outstream_new(struct channel *c, int fd, const struct outstream_events *events,
                                void *user);
static inline uint32_t
outstream_number(const struct outstream *s)
{
    return s != NULL ? s->port.number : 0;
}

void outstream_open(struct outstream *s); // opens the gate, once
// The writer ended: what is in the pipe now is the last it wrote. Others may still hold the pipe.
void outstream_expect_end(struct outstream *s);
// From now on what comes is thrown away, and no frame leaves.
void outstream_discard(struct outstream *s);
