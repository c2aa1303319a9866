// SPDX-License-Identifier: Apache-2.0
// One direction of a relay between two sockets, moved within the kernel by splice(2). Bytes pass
// through a pipe that the direction holds only while there is something in it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    // In the pipe at once. Stops a reader that takes nothing from pinning more of the kernel's
    // memory than this for each direction.
    SPLICE_HELD_MAX = 128 * 1024,
    SPLICE_SPARE_MAX = 4, // empty pipes that wait for the next direction
};

struct splice {
    int pipe[2]; // valid while has_pipe
    bool has_pipe;
    size_t held;    // in the pipe
    bool ended;     // the sender has sent its all
    bool shut;      // and the receiver was told
    uint64_t bytes; // taken from the sender
};

enum splice_wants {
    SPLICE_READ,   // nothing to move until the sender sends
    SPLICE_WRITE,  // nothing to move until the receiver takes
    SPLICE_TURN,   // it could go on; let others have theirs
    SPLICE_DONE,   // all that the sender sent is with the receiver, its end too
    SPLICE_BROKEN, // one of both is gone, or there is no pipe: errno
};

// Moves what can be moved without waiting, up to a bound. may_send is asked of every piece before
// it leaves; false breaks the direction with EDQUOT.
enum splice_wants splice_move(struct splice *s, int from, int to,
                              bool (*may_send)(void *user, size_t size), void *user);
// Gives back what it holds; callable again.
void splice_done(struct splice *s);
