// SPDX-License-Identifier: Apache-2.0
// A pipe that became empty goes back to a few spare ones, which all directions of this process
// share: bytes of one connection never meet those of another, for only empty pipes are handed on.
#include "egress/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TURN_MAX = 8 * SPLICE_HELD_MAX }; // stops one fast connection from starving the others

static int spare[SPLICE_SPARE_MAX][2];
static size_t spare_count;

static int
take_pipe(struct splice *s)
{
    if (s->has_pipe)
        return 0;
    if (spare_count > 0) {
        spare_count--;
        s->pipe[0] = spare[spare_count][0];
        s->pipe[1] = spare[spare_count][1];
    } else if (pipe2(s->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -1;
    }
    s->has_pipe = true;
    return 0;
}

static void
give_pipe(struct splice *s)
{
    if (!s->has_pipe)
        return;
    s->has_pipe = false;
    if (s->held == 0 && spare_count < SPLICE_SPARE_MAX) {
        spare[spare_count][0] = s->pipe[0];
        spare[spare_count][1] = s->pipe[1];
        spare_count++;
        return;
    }
    (void)close(s->pipe[0]);
    (void)close(s->pipe[1]);
}

void
splice_done(struct splice *s)
{
    give_pipe(s);
    s->held = 0;
}

static ssize_t
splice_once(int from, int to, size_t size)
{
    ssize_t n;
    do
        n = splice(from, NULL, to, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    return n;
}

// False: nothing more can come now, or it is over.
static bool
fill(struct splice *s, int from, enum splice_wants *ret_why)
{
    if (take_pipe(s) < 0) {
        *ret_why = SPLICE_BROKEN;
        return false;
    }
    ssize_t n = splice_once(from, s->pipe[1], SPLICE_HELD_MAX);
    if (n > 0) {
        s->held = (size_t)n;
        s->bytes += (uint64_t)n;
        return true;
    }
    *ret_why = n < 0 ? errno == EAGAIN ? SPLICE_READ : SPLICE_BROKEN : SPLICE_DONE;
    s->ended = n == 0;
    return false;
}

static bool
drain(struct splice *s, int to, enum splice_wants *ret_why)
{
    while (s->held > 0) {
        ssize_t n = splice_once(s->pipe[0], to, s->held);
        if (n <= 0) {
            *ret_why = n < 0 && errno == EAGAIN ? SPLICE_WRITE : SPLICE_BROKEN;
            return false;
        }
        s->held -= (size_t)n;
    }
    return true;
}

static enum splice_wants
end(struct splice *s, int to)
{
    if (!s->shut && shutdown(to, SHUT_WR) < 0)
        return SPLICE_BROKEN;
    s->shut = true;
    return SPLICE_DONE;
}

enum splice_wants
splice_move(struct splice *s, int from, int to, bool (*may_send)(void *user, size_t size),
            void *user)
{
    enum splice_wants why = SPLICE_TURN;
    size_t moved = 0;
    while (why == SPLICE_TURN && !s->ended && moved < TURN_MAX && drain(s, to, &why) &&
           fill(s, from, &why)) {
        moved += s->held;
        if (!may_send(user, s->held)) {
            errno = EDQUOT;
            return SPLICE_BROKEN;
        }
    }
    if (why == SPLICE_TURN || why == SPLICE_DONE)
        (void)drain(s, to, &why);
    if (s->held == 0)
        give_pipe(s);
    return s->ended && s->held == 0 && why != SPLICE_BROKEN ? end(s, to) : why;
}
