// SPDX-License-Identifier: Apache-2.0
// The data channel in use: one stream socket that carries the frames of all client channels. It
// holds little: whoever has something to send is asked for it when there is room, frame by frame.
#pragma once

#include "init/loop.h"
#include "wire/frame.h"

enum {
    // Frames waiting for the socket. Past this nobody is asked for more, so a daemon that does not
    // read
    // costs the sandbox no memory.
    LINK_OUT_HIGH = 256 * 1024,
    LINK_IN_SIZE = 256 * 1024, // read at a time
};

struct link_events {
    // A frame came in. 0, or -1 when the peer broke the protocol: the link is closed.
    int (*frame)(void *user, const struct frame *f);
    // Sends at most one frame; false when there is nothing to send.
    bool (*produce)(void *user);
    // The link is closed; it is ready for another socket.
    void (*gone)(void *user);
};

struct link {
    struct loop *loop;
    const struct link_events *events;
    void *user;
    struct loop_watch watch; // fd -1: no socket
    bool wants_out;
    bool failed; // closed at the end of the turn, where nobody is in the midst of using it
    struct buf in;
    struct buf out;
};

void link_init(struct link *l, struct loop *loop, const struct link_events *events, void *user);
// Takes the socket, after closing the one before, and sends FRAME_HELLO.
void link_attach(struct link *l, int sock);
void link_close(struct link *l); // calls gone unless there was no socket

bool link_is_open(const struct link *l);
void link_send(struct link *l, const struct frame *f); // dropped when the link is not open

// Asks for frames and writes them. True if it stopped only to give others a turn.
bool link_flush(struct link *l);
