// SPDX-License-Identifier: Apache-2.0
// A byte stream over libuv: plain TCP (or any stream socket), or TLS on top of another stream. All
// look alike to their user. Everything happens on the loop that the stream was made with; no
// callback runs inside the call that makes the stream.
//
// Life: made -> (connecting) -> open -> closed. on_close is always the last callback and always
// comes, after which the stream frees itself; stream_close() may be called at any time, also from a
// callback.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct stream;

struct stream_events {
    // Connected, and for TLS: handshake done and peer verified. NULL allowed for accepted streams.
    void (*on_open)(void *user);
    // Bytes came; only between stream_read_start and stream_read_stop.
    void (*on_data)(void *user, const uint8_t *data, size_t size);
    // The peer sent its last byte (FIN, or close_notify). Writing goes on.
    void (*on_end)(void *user);
    // Queued bytes fell below half of the high mark after stream_write had returned "full".
    void (*on_drain)(void *user);
    // The end. why is NULL after stream_close and after both directions ended; otherwise the
    // reason.
    void (*on_close)(void *user, const struct error *why);
    // What comes is ciphertext: it need not be wiped from the buffer in which it came.
    bool sealed;
};

// What a kind of stream implements; users never call these.
struct stream_ops {
    int (*write)(struct stream *s, const void *data, size_t size);
    void (*read_start)(struct stream *s);
    void (*read_stop)(struct stream *s);
    void (*shutdown)(struct stream *s);
    void (*close)(struct stream *s);
    size_t (*queued)(const struct stream *s);
    bool (*is_quiet)(const struct stream *s);
};

enum { STREAM_HIGH_MARK = 256 * 1024 };

struct stream {
    const struct stream_ops *ops;
    const struct stream_events *events;
    void *user;
};

// Sets who is told; the events struct must outlive the stream. Callable again at any time, as when
// a connection changes hands.
void stream_set_user(struct stream *s, const struct stream_events *events, void *user);

void stream_read_start(struct stream *s);
void stream_read_stop(struct stream *s);

// Takes a copy of the bytes. 0: go on; 1: taken, but the queue is over STREAM_HIGH_MARK: wait for
// on_drain; -1: the stream is closing and the bytes are dropped.
int stream_write(struct stream *s, const void *data, size_t size);
size_t stream_queued(const struct stream *s);

// Whether it is open both ways, nothing waits to be written, and nothing that the peer sent (an end
// included) waits to be read. Asks the kernel; true of an idle connection that may be used again.
bool stream_is_quiet(const struct stream *s);

// Ends our direction after what is queued (FIN; TLS: close_notify first).
void stream_shutdown(struct stream *s);
// Ends both at once; queued bytes are dropped.
void stream_close(struct stream *s);

// A stream over a connected socket (AF_INET, AF_INET6 or AF_UNIX SOCK_STREAM), which it owns from
// now on, also on failure.
int stream_from_fd(uv_loop_t *loop, int fd, struct stream **ret, struct error *err);
// A stream to addr; on_open or on_close(why) follows.
int stream_connect(uv_loop_t *loop, const struct sockaddr *addr, struct stream **ret,
                   struct error *err);
// Takes the socket out of a plain stream that is open and has nothing queued. The result is the
// caller's; the stream is gone without a sign to the peer, and without on_close.
int stream_detach(struct stream *s, struct error *err);
// Makes stream_close send RST instead of FIN on a TCP stream (a refusal that the peer sees at
// once).
void stream_set_reset(struct stream *s);
