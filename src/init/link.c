// SPDX-License-Identifier: Apache-2.0
#include "init/link.h"

#include "base/fd.h"
#include "base/log.h"
#include "wire/pack.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LINK_WRITES_A_TURN = 8, // then events get a look-in
};

static void
fail(struct link *l, const char *why)
{
    if (!l->failed)
        log_info("data channel ended", "reason", why);
    l->failed = true;
}

static void
read_some(struct link *l)
{
    uint8_t *room = buf_reserve(&l->in, LINK_IN_SIZE);
    if (room == NULL) {
        fail(l, "out of memory");
        return;
    }
    ssize_t n = recv(l->watch.fd, room, LINK_IN_SIZE, MSG_DONTWAIT);
    if (n > 0)
        buf_commit(&l->in, (size_t)n);
    else if (n == 0)
        fail(l, "end of file");
    else if (errno != EAGAIN && errno != EINTR)
        fail(l, "read error");
}

static void
take_frames(struct link *l)
{
    while (!l->failed) {
        struct frame f;
        size_t size;
        enum frame_status status = frame_decode(&l->in, &f, &size);
        if (status == FRAME_STATUS_MORE)
            return;
        if (status == FRAME_STATUS_BAD || l->events->frame(l->user, &f) < 0) {
            fail(l, "protocol error");
            return;
        }
        buf_consume(&l->in, size);
    }
}

static void
link_ready(void *user, uint32_t events)
{
    struct link *l = user;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        read_some(l);
        take_frames(l);
    }
}

void
link_init(struct link *l, struct loop *loop, const struct link_events *events, void *user)
{
    *l = (struct link){.loop = loop, .events = events, .user = user};
    l->watch = (struct loop_watch){.fd = -1, .ready = link_ready, .user = l};
    buf_init(&l->in, FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX + LINK_IN_SIZE);
    buf_init(&l->out, LINK_OUT_HIGH + 2 * (FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX));
}

static void
send_hello(struct link *l)
{
    struct buf payload;
    buf_init(&payload, FRAME_PAYLOAD_MAX);
    (void)pack_u32(&payload, FRAME_PROTOCOL_VERSION);
    link_send(l, &(struct frame){.kind = FRAME_HELLO,
                                 .payload = buf_bytes(&payload),
                                 .size = buf_size(&payload)});
    buf_done(&payload);
}

void
link_attach(struct link *l, int sock)
{
    link_close(l);
    l->watch.fd = sock;
    l->wants_out = false;
    if (fd_set_nonblock(sock) < 0 || loop_watch_add(l->loop, &l->watch, EPOLLIN) < 0) {
        fail(l, "not a socket");
        return;
    }
    send_hello(l);
}

void
link_close(struct link *l)
{
    if (l->watch.fd < 0)
        return;
    loop_watch_remove(l->loop, &l->watch);
    (void)close(l->watch.fd);
    l->watch.fd = -1;
    l->failed = false;
    buf_done(&l->in);
    buf_done(&l->out);
    l->events->gone(l->user);
}

bool
link_is_open(const struct link *l)
{
    return l->watch.fd >= 0 && !l->failed;
}

void
link_send(struct link *l, const struct frame *f)
{
    if (link_is_open(l) && frame_encode(&l->out, f) < 0)
        fail(l, "out of memory");
}

static void
set_wants_out(struct link *l, bool wants_out)
{
    if (l->wants_out == wants_out)
        return;
    l->wants_out = wants_out;
    loop_watch_change(l->loop, &l->watch, wants_out ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

// False when the socket takes no more.
static bool
write_some(struct link *l)
{
    ssize_t n =
        send(l->watch.fd, buf_bytes(&l->out), buf_size(&l->out), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
        buf_consume(&l->out, (size_t)n);
        return true;
    }
    if (errno != EAGAIN && errno != EINTR)
        fail(l, "write error");
    return false;
}

bool
link_flush(struct link *l)
{
    for (int i = 0; i < LINK_WRITES_A_TURN && link_is_open(l); i++) {
        while (buf_size(&l->out) < LINK_OUT_HIGH && l->events->produce(l->user))
            ;
        if (buf_size(&l->out) == 0) {
            set_wants_out(l, false);
            return false;
        }
        if (link_is_open(l) && !write_some(l)) {
            if (link_is_open(l))
                set_wants_out(l, true);
            break;
        }
    }
    if (l->failed) {
        link_close(l);
        return true;
    }
    return link_is_open(l) && !l->wants_out;
}
