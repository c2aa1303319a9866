// SPDX-License-Identifier: Apache-2.0
// A stream over a kernel socket. Bytes to write are tried at once and only what the socket does not
// take is copied and queued, so an idle connection holds no buffer; all streams of a process share
// one read buffer, for libuv reads one socket at a time.
//
// libuv has one write at a time (out); what comes meanwhile is gathered behind it (waiting). A
// write request for each would cost some hundred bytes for two of a Pong, and a peer that sends
// Pings and reads nothing would make memory grow by that factor. It is gathered in chunks and not
// in one buffer: a buffer that grows is for a moment there twice, and up to half empty for long.
//
// A peer that has closed may have said something before (a server that refuses a body it has not
// read): where a write meets a connection that is reset, what came before the reset is still read,
// and then the reset itself.
#include "net/stream.h"

#include "base/mem.h"
#include "net/chunks.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_BUFFER_SIZE = 64 * 1024,
    // What waits for a peer that does not read. Users stop far earlier; this stops one that forgot.
    QUEUE_MAX = 64 * 1024 * 1024,
    // Chunks that are written by one request.
    WRITE_CHUNKS = 16,
};

struct tcp_stream {
    struct stream base;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    uv_write_t write;
    struct chunks out;     // being written
    struct chunks waiting; // to be written next
    bool writing;
    bool is_tcp;
    bool connected;
    bool reading; // wanted by the user
    bool full;    // a write returned 1 and no drain was told since
    bool closing;
    bool reset;
    bool read_ended;
    bool write_ended;
    bool broken;      // the peer takes no more bytes: the reader will tell why
    bool flushed;     // and what was queued before has left
    struct error why; // code ERR_NONE: closed without a reason
};

static struct tcp_stream *
tcp_of(struct stream *s)
{
    return (struct tcp_stream *)s;
}

static void
on_closed(uv_handle_t *handle)
{
    struct tcp_stream *t = handle->data;
    if (t->base.events != NULL && t->base.events->on_close != NULL)
        t->base.events->on_close(t->base.user, t->why.code != ERR_NONE ? &t->why : NULL);
    chunks_clear(&t->out);
    chunks_clear(&t->waiting);
    free(t);
}

static void
tcp_close(struct stream *s)
{
    struct tcp_stream *t = tcp_of(s);
    if (t->closing)
        return;
    t->closing = true;
    if (t->reset && t->is_tcp && uv_tcp_close_reset(&t->uv.tcp, on_closed) == 0)
        return;
    uv_close(&t->uv.handle, on_closed);
}

static void
fail(struct tcp_stream *t, int uv_error, const char *what)
{
    if (t->closing)
        return;
    (void)error_set_errno(&t->why, -uv_error, "%s", what);
    tcp_close(&t->base);
}

static void
fail_write(struct tcp_stream *t, int uv_error)
{
    if (t->reading && !t->read_ended && (uv_error == UV_EPIPE || uv_error == UV_ECONNRESET)) {
        t->broken = true;
        chunks_clear(&t->waiting);
    } else {
        fail(t, uv_error, "write");
    }
}

static void
close_if_both_ended(struct tcp_stream *t)
{
    if (t->read_ended && t->flushed)
        tcp_close(&t->base);
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char shared[READ_BUFFER_SIZE];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(shared, sizeof shared);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct tcp_stream *t = stream->data;
    if (n > 0) {
        bool sealed = t->base.events->sealed; // before the user changes hands
        if (t->base.events->on_data != NULL)
            t->base.events->on_data(t->base.user, (const uint8_t *)buf->base, (size_t)n);
        if (!sealed)
            explicit_bzero(buf->base, (size_t)n); // shared, and it may have held a secret
    } else if (n == UV_EOF) {
        t->read_ended = true;
        if (t->base.events->on_end != NULL)
            t->base.events->on_end(t->base.user);
        close_if_both_ended(t);
    } else if (n < 0) {
        fail(t, (int)n, "read");
    }
}

static void
start_reading(struct tcp_stream *t)
{
    if (!t->connected || t->closing || t->read_ended)
        return;
    int r = uv_read_start(&t->uv.stream, on_alloc, on_read);
    if (r < 0 && r != UV_EALREADY)
        fail(t, r, "read");
}

static void
tcp_read_start(struct stream *s)
{
    struct tcp_stream *t = tcp_of(s);
    t->reading = true;
    start_reading(t);
}

static void
tcp_read_stop(struct stream *s)
{
    struct tcp_stream *t = tcp_of(s);
    t->reading = false;
    if (t->connected && !t->closing)
        (void)uv_read_stop(&t->uv.stream);
}

static size_t
tcp_queued(const struct stream *s)
{
    const struct tcp_stream *t = (const struct tcp_stream *)s;
    return t->closing ? 0 : uv_stream_get_write_queue_size(&t->uv.stream) + t->waiting.size;
}

static void
on_shutdown(uv_shutdown_t *request, int status)
{
    struct tcp_stream *t = request->data;
    if (status < 0 && status != UV_ECANCELED && status != UV_ENOTCONN) {
        fail(t, status, "shut down");
        return;
    }
    t->flushed = true;
    close_if_both_ended(t);
}

// After what libuv has been given.
static void
begin_shutdown(struct tcp_stream *t)
{
    t->shutdown.data = t;
    int r = uv_shutdown(&t->shutdown, &t->uv.stream, on_shutdown);
    if (r < 0)
        fail(t, r, "shut down");
}

static void on_written(uv_write_t *request, int status);

static int
write_waiting(struct tcp_stream *t)
{
    uv_buf_t bufs[WRITE_CHUNKS];
    unsigned n = 0;
    chunks_move(&t->out, &t->waiting, WRITE_CHUNKS);
    for (struct chunk *c = t->out.first; c != NULL; c = c->next)
        bufs[n++] = uv_buf_init((char *)c->bytes, c->size);
    t->write.data = t;
    int r = uv_write(&t->write, &t->uv.stream, bufs, n, on_written);
    if (r < 0) {
        chunks_clear(&t->out);
        fail_write(t, r);
        return -1;
    }
    t->writing = true;
    return 0;
}

static void
on_written(uv_write_t *request, int status)
{
    struct tcp_stream *t = request->data;
    t->writing = false;
    chunks_clear(&t->out);
    if (status < 0) {
        if (status != UV_ECANCELED)
            fail_write(t, status);
        return;
    }
    if (t->closing || (t->waiting.size > 0 && write_waiting(t) < 0))
        return;
    if (t->write_ended && !t->writing)
        begin_shutdown(t);
    if (t->full && tcp_queued(&t->base) < STREAM_HIGH_MARK / 2) {
        t->full = false;
        if (t->base.events->on_drain != NULL)
            t->base.events->on_drain(t->base.user);
    }
}

static int
queue_write(struct tcp_stream *t, const uint8_t *data, size_t size)
{
    if (size > QUEUE_MAX - t->waiting.size) {
        fail(t, UV_ENOBUFS, "write");
        return -1;
    }
    chunks_append(&t->waiting, data, size);
    return t->writing ? 0 : write_waiting(t);
}

static int
tcp_write(struct stream *s, const void *data, size_t size)
{
    struct tcp_stream *t = tcp_of(s);
    const uint8_t *p = data;
    if (t->closing || t->write_ended || t->broken)
        return -1;
    if (t->connected && tcp_queued(s) == 0) {
        uv_buf_t buf = uv_buf_init((char *)(uintptr_t)p, (unsigned)size);
        int n = uv_try_write(&t->uv.stream, &buf, 1);
        if (n < 0 && n != UV_EAGAIN) {
            fail_write(t, n);
            return -1;
        }
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        }
    }
    if (size > 0 && queue_write(t, p, size) < 0)
        return -1;
    if (tcp_queued(s) > STREAM_HIGH_MARK)
        t->full = true;
    return t->full ? 1 : 0;
}

static void
tcp_shutdown(struct stream *s)
{
    struct tcp_stream *t = tcp_of(s);
    if (t->closing || t->write_ended)
        return;
    t->write_ended = true;
    if (!t->writing)
        begin_shutdown(t);
}

static bool
tcp_is_quiet(const struct stream *s)
{
    const struct tcp_stream *t = (const struct tcp_stream *)s;
    uv_os_fd_t fd;
    char byte;
    if (t->closing || !t->connected || t->broken || t->read_ended || t->write_ended ||
        tcp_queued(s) > 0 || uv_fileno(&t->uv.handle, &fd) < 0)
        return false;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static const struct stream_ops tcp_ops = {
    .write = tcp_write,
    .read_start = tcp_read_start,
    .read_stop = tcp_read_stop,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
    .queued = tcp_queued,
    .is_quiet = tcp_is_quiet,
};

void
stream_set_reset(struct stream *s)
{
    if (s->ops == &tcp_ops)
        tcp_of(s)->reset = true;
}

int
stream_detach(struct stream *s, struct error *err)
{
    struct tcp_stream *t = tcp_of(s);
    uv_os_fd_t fd;
    if (s->ops != &tcp_ops || t->closing || !t->connected || t->broken || tcp_queued(s) > 0 ||
        uv_fileno(&t->uv.handle, &fd) < 0)
        return error_set(err, ERR_INTERNAL, "this stream's socket cannot be had");
    int taken = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (taken < 0)
        return error_set_errno(err, errno, "take a stream's socket");
    t->base.events = NULL;
    t->reset = false;
    tcp_close(s);
    return taken;
}

static struct tcp_stream *
new_stream(uv_loop_t *loop, bool is_tcp)
{
    struct tcp_stream *t = xcalloc(1, sizeof *t);
    t->base.ops = &tcp_ops;
    t->is_tcp = is_tcp;
    if (is_tcp)
        (void)uv_tcp_init(loop, &t->uv.tcp);
    else
        (void)uv_pipe_init(loop, &t->uv.pipe, 0);
    t->uv.handle.data = t;
    return t;
}

static void
discard(uv_handle_t *handle)
{
    free(handle->data);
}

int
stream_from_fd(uv_loop_t *loop, int fd, struct stream **ret, struct error *err)
{
    struct sockaddr_storage addr = {0};
    socklen_t size = sizeof addr;
    if (getsockname(fd, (struct sockaddr *)&addr, &size) < 0) {
        int sys = errno;
        (void)close(fd);
        return error_set_errno(err, sys, "take over a socket");
    }
    struct tcp_stream *t = new_stream(loop, addr.ss_family != AF_UNIX);
    int r = t->is_tcp ? uv_tcp_open(&t->uv.tcp, fd) : uv_pipe_open(&t->uv.pipe, fd);
    if (r < 0) {
        (void)close(fd);
        uv_close(&t->uv.handle, discard);
        return error_set_errno(err, -r, "take over a socket");
    }
    if (t->is_tcp)
        (void)uv_tcp_nodelay(&t->uv.tcp, 1);
    t->connected = true;
    *ret = &t->base;
    return 0;
}

static void
on_connected(uv_connect_t *request, int status)
{
    struct tcp_stream *t = request->data;
    if (t->closing)
        return;
    if (status < 0) {
        fail(t, status, "connect");
        return;
    }
    t->connected = true;
    (void)uv_tcp_nodelay(&t->uv.tcp, 1);
    if (t->base.events->on_open != NULL)
        t->base.events->on_open(t->base.user);
    if (t->reading)
        start_reading(t);
}

int
stream_connect(uv_loop_t *loop, const struct sockaddr *addr, struct stream **ret, struct error *err)
{
    struct tcp_stream *t = new_stream(loop, true);
    t->connect.data = t;
    int r = uv_tcp_connect(&t->connect, &t->uv.tcp, addr, on_connected);
    if (r < 0) {
        uv_close(&t->uv.handle, discard);
        return error_set_errno(err, -r, "connect");
    }
    *ret = &t->base;
    return 0;
}
