// SPDX-License-Identifier: Apache-2.0
// Theory of operation.
//
// wslay takes frames apart and puts them together; the order of frames is judged here. wslay pulls:
// a read of the stream is lent to it through `lent`, and it is asked for frames until it wants
// more.
//
// States: OPEN -> CLOSING (our Close is sent, the client's is awaited; what it sends is thrown
// away) -> ENDING (the handshake is done or given up: FIN is sent, everything that comes is thrown
// away) -> the stream's on_close frees all. Each state but OPEN has a time limit, after which the
// stream is closed hard. A client that ends its direction without Close goes straight to ENDING.
//
// wslay hands out what it reads in small pieces; those of one read go up as one.
//
// Outgoing text is gathered until the message ends or a fragment is full, so that a usual message
// is one frame and one write; one that comes in one piece is not gathered at all. A frame is put
// together in a buffer that all connections share, for its bytes leave it before anything else
// happens: an idle connection holds none. While more than the stream's high mark waits, on_sent is
// held back: whoever produces by credit then stops.
#include "api/websocket.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <wslay/wslay.h>

enum {
    CONTROL_MAX = 125, // RFC 6455 5.5
    FRAME_HEAD_MAX = 14,
    GATHERED_MAX = 64 * 1024, // as much as is read at a time
};

enum state { STATE_OPEN, STATE_CLOSING, STATE_ENDING, STATE_MAX };

struct websocket {
    struct stream *stream;
    const struct websocket_events *events;
    void *user;
    wslay_frame_context_ptr frames;
    enum state state;
    uv_timer_t timer;

    const uint8_t *lent; // what wslay may read now
    size_t lent_size;

    // The frame and the message that are being received.
    uint64_t frame_got;
    bool in_message;
    uint64_t message_size; // of the frames announced so far
    uint8_t control[CONTROL_MAX];
    size_t control_size;

    struct buf fragment; // outgoing text, not yet framed
    bool fragmented;     // a fragment of the present message is out
    size_t unsent;       // text bytes that on_sent is yet to tell of
    bool full;           // the stream said so and has not drained

    bool paused;
    bool alive;  // something came since the last tick
    bool pinged; // a keep-alive Ping is out
};

static void
set_state(struct websocket *w, enum state next)
{
    static const bool legal[STATE_MAX][STATE_MAX] = {
        [STATE_OPEN] = {[STATE_CLOSING] = true, [STATE_ENDING] = true},
        [STATE_CLOSING] = {[STATE_ENDING] = true},
    };
    assert(legal[w->state][next]);
    w->state = next;
}

static void
on_hard_limit(uv_timer_t *timer)
{
    struct websocket *w = timer->data;
    stream_close(w->stream);
}

static void
arm_hard_limit(struct websocket *w, uint64_t ms)
{
    (void)uv_timer_start(&w->timer, on_hard_limit, ms, 0);
}

// The handshake is over, or there will be none: our FIN, and then the client's or the limit.
static void
end_stream(struct websocket *w)
{
    if (w->state == STATE_ENDING)
        return;
    set_state(w, STATE_ENDING);
    stream_read_start(w->stream); // its FIN, also if we were paused
    stream_shutdown(w->stream);
    arm_hard_limit(w, WEBSOCKET_SHUTDOWN_WAIT_MS);
}

static struct buf frame_out = {.cap = WEBSOCKET_FRAGMENT_SIZE + FRAME_HEAD_MAX};

static ssize_t
take_frame_bytes(const uint8_t *data, size_t size, int flags, void *user)
{
    (void)flags;
    (void)user;
    return buf_append(&frame_out, data, size) < 0 ? -1 : (ssize_t)size;
}

// Frames the payload and writes it. Returns false if the stream is no longer there.
static bool
write_frame(struct websocket *w, uint8_t opcode, bool fin, const void *data, size_t size)
{
    struct wslay_frame_iocb frame = {
        .fin = fin,
        .opcode = opcode,
        .payload_length = size,
        .data = data,
        .data_length = size,
    };
    if (wslay_frame_send(w->frames, &frame) != (ssize_t)size) {
        buf_clear(&frame_out);
        stream_close(w->stream); // out of memory; framing would be lost
        return false;
    }
    int status = stream_write(w->stream, buf_bytes(&frame_out), buf_size(&frame_out));
    buf_clear(&frame_out);
    if (status > 0)
        w->full = true;
    if (stream_queued(w->stream) > WEBSOCKET_QUEUE_MAX)
        stream_close(w->stream);
    return status >= 0;
}

static void
tell_sent(struct websocket *w)
{
    if (w->full || w->unsent == 0 || w->state != STATE_OPEN)
        return;
    size_t size = w->unsent;
    w->unsent = 0;
    w->events->on_sent(w->user, size);
}

static void
write_fragment(struct websocket *w, bool last, const void *data, size_t size)
{
    uint8_t opcode = w->fragmented ? WSLAY_CONTINUATION_FRAME : WSLAY_TEXT_FRAME;
    bool written = write_frame(w, opcode, last, data, size);
    w->fragmented = !last;
    w->unsent += size;
    if (written)
        tell_sent(w);
}

static void
flush_fragment(struct websocket *w, bool last)
{
    struct buf fragment cleanup_buf = w->fragment;
    size_t size = buf_size(&fragment);
    buf_init(&w->fragment, WEBSOCKET_FRAGMENT_SIZE);
    write_fragment(w, last, size > 0 ? buf_bytes(&fragment) : NULL, size);
}

void
websocket_send_text(struct websocket *w, const void *data, size_t size, bool first, bool last)
{
    const uint8_t *p = data;
    assert(!first || (!w->fragmented && buf_size(&w->fragment) == 0));
    if (first && last && size <= WEBSOCKET_FRAGMENT_SIZE) {
        if (w->state == STATE_OPEN)
            write_fragment(w, true, size > 0 ? data : NULL, size);
        return;
    }
    while (w->state == STATE_OPEN) {
        size_t room = WEBSOCKET_FRAGMENT_SIZE - buf_size(&w->fragment);
        size_t n = size < room ? size : room;
        if (n > 0 && buf_append(&w->fragment, p, n) < 0) {
            stream_close(w->stream); // out of memory
            return;
        }
        p += n;
        size -= n;
        if (size == 0 && last)
            flush_fragment(w, true);
        else if (buf_size(&w->fragment) == WEBSOCKET_FRAGMENT_SIZE)
            flush_fragment(w, false);
        if (size == 0)
            return;
    }
}

void
websocket_ping(struct websocket *w, uint64_t token)
{
    uint8_t payload[8];
    for (int i = 0; i < 8; i++)
        payload[i] = (uint8_t)(token >> (56 - 8 * i));
    if (w->state == STATE_OPEN)
        (void)write_frame(w, WSLAY_PING, true, payload, sizeof payload);
}

static void
write_close(struct websocket *w, uint16_t code, const char *reason, size_t reason_size)
{
    uint8_t payload[CONTROL_MAX] = {(uint8_t)(code >> 8), (uint8_t)code};
    size_t n = reason_size < CONTROL_MAX - 2 ? reason_size : CONTROL_MAX - 2;
    if (n > 0)
        memcpy(payload + 2, reason, n);
    (void)write_frame(w, WSLAY_CONNECTION_CLOSE, true, payload, code != 0 ? n + 2 : 0);
}

void
websocket_close(struct websocket *w, uint16_t code, const char *reason)
{
    if (w->state != STATE_OPEN)
        return;
    set_state(w, STATE_CLOSING);
    write_close(w, code, reason, strlen(reason));
    stream_read_start(w->stream);
    arm_hard_limit(w, WEBSOCKET_CLOSE_WAIT_MS);
}

void
websocket_pause(struct websocket *w, bool paused)
{
    if (w->paused == paused || w->state != STATE_OPEN)
        return;
    w->paused = paused;
    w->alive = true; // silence while we did not listen says nothing
    if (paused)
        stream_read_stop(w->stream);
    else
        stream_read_start(w->stream);
}

// The client broke the protocol: our Close, and no waiting for an answer that makes sense.
static void
violate(struct websocket *w, uint16_t code, const char *reason)
{
    if (w->state == STATE_OPEN)
        write_close(w, code, reason, strlen(reason));
    end_stream(w);
}

// RFC 6455 7.4: codes that may stand in a Close frame.
static bool
close_code_is_valid(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static void
receive_close(struct websocket *w)
{
    uint16_t code = 0;
    if (w->control_size >= 2)
        code = (uint16_t)(w->control[0] << 8 | w->control[1]);
    if (w->control_size == 1 || (w->control_size >= 2 && !close_code_is_valid(code)))
        violate(w, WEBSOCKET_CLOSE_PROTOCOL, "bad Close frame");
    else if (w->control_size > 2 && !utf8_is_valid(w->control + 2, w->control_size - 2))
        violate(w, WEBSOCKET_CLOSE_BAD_TEXT, "bad Close reason");
    else {
        if (w->state == STATE_OPEN)
            write_close(w, code, "", 0);
        end_stream(w);
    }
}

static void
receive_pong(struct websocket *w)
{
    uint64_t token = 0;
    if (w->control_size != 8)
        return;
    for (int i = 0; i < 8; i++)
        token = token << 8 | w->control[i];
    w->events->on_pong(w->user, token);
}

static void
receive_control(struct websocket *w, uint8_t opcode)
{
    if (opcode == WSLAY_CONNECTION_CLOSE)
        receive_close(w);
    else if (w->state != STATE_OPEN)
        return;
    else if (opcode == WSLAY_PONG)
        receive_pong(w);
    else
        (void)write_frame(w, WSLAY_PONG, true, w->control, w->control_size);
    w->control_size = 0;
}

// Judges a frame by its head, once, when its first bytes are here. Returns false if it ends us.
static bool
check_frame(struct websocket *w, const struct wslay_frame_iocb *f)
{
    bool control = wslay_is_ctrl_frame(f->opcode);
    bool known = f->opcode <= WSLAY_BINARY_FRAME ||
                 (f->opcode >= WSLAY_CONNECTION_CLOSE && f->opcode <= WSLAY_PONG);
    if (f->mask == 0 || f->rsv != 0 || !known) {
        violate(w, WEBSOCKET_CLOSE_PROTOCOL, "bad frame");
        return false;
    }
    if (control)
        return true;
    if (w->in_message != (f->opcode == WSLAY_CONTINUATION_FRAME)) {
        violate(w, WEBSOCKET_CLOSE_PROTOCOL, "bad order of fragments");
        return false;
    }
    if (f->opcode == WSLAY_BINARY_FRAME) {
        violate(w, WEBSOCKET_CLOSE_UNSUPPORTED, "only text messages are understood");
        return false;
    }
    if (!w->in_message)
        w->message_size = 0;
    if (f->payload_length > WEBSOCKET_MESSAGE_MAX - w->message_size) {
        violate(w, WEBSOCKET_CLOSE_TOO_BIG, "message too big");
        return false;
    }
    w->message_size += f->payload_length;
    w->in_message = true;
    return true;
}

// Text of the read in hand that the user has not got. Of whichever connection is read: nothing of
// it is left when its read is over.
static uint8_t gathered[GATHERED_MAX];
static size_t gathered_size;

static void
flush_gathered(struct websocket *w, bool last)
{
    size_t size = gathered_size;
    gathered_size = 0;
    if (w->state == STATE_OPEN && (size > 0 || last))
        w->events->on_text(w->user, gathered, size, last);
}

static void
gather(struct websocket *w, const uint8_t *data, size_t size, bool last)
{
    if (size > sizeof gathered - gathered_size)
        flush_gathered(w, false);
    assert(size <= sizeof gathered - gathered_size);
    if (size > 0)
        memcpy(gathered + gathered_size, data, size);
    gathered_size += size;
    if (last)
        flush_gathered(w, true);
}

static void
receive_piece(struct websocket *w, const struct wslay_frame_iocb *f)
{
    if (w->frame_got == 0 && !check_frame(w, f))
        return;
    w->frame_got += f->data_length;
    bool whole = w->frame_got == f->payload_length;
    if (whole)
        w->frame_got = 0;
    if (wslay_is_ctrl_frame(f->opcode)) {
        // wslay refuses control frames over 125 bytes.
        assert(f->data_length <= sizeof w->control - w->control_size);
        if (f->data_length > 0)
            memcpy(w->control + w->control_size, f->data, f->data_length);
        w->control_size += f->data_length;
        if (whole)
            receive_control(w, f->opcode);
        return;
    }
    bool last = whole && f->fin;
    if (last)
        w->in_message = false;
    gather(w, f->data, f->data_length, last);
}

static ssize_t
lend_bytes(uint8_t *buf, size_t size, int flags, void *user)
{
    struct websocket *w = user;
    size_t n = size < w->lent_size ? size : w->lent_size;
    (void)flags;
    if (n == 0)
        return -1;
    memcpy(buf, w->lent, n);
    w->lent += n;
    w->lent_size -= n;
    return (ssize_t)n;
}

static void
on_data(void *user, const uint8_t *data, size_t size)
{
    struct websocket *w = user;
    w->alive = true;
    w->lent = data;
    w->lent_size = size;
    while (w->state != STATE_ENDING) {
        struct wslay_frame_iocb frame = {0};
        ssize_t n = wslay_frame_recv(w->frames, &frame);
        if (n == WSLAY_ERR_WANT_READ)
            break;
        if (n < 0)
            violate(w, WEBSOCKET_CLOSE_PROTOCOL, "bad frame");
        else
            receive_piece(w, &frame);
    }
    flush_gathered(w, false);
    w->lent = NULL;
    w->lent_size = 0;
}

static void
on_end(void *user)
{
    end_stream(user);
}

static void
on_drain(void *user)
{
    struct websocket *w = user;
    w->full = false;
    tell_sent(w);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct websocket *w = handle->data;
    w->events->on_gone(w->user);
    wslay_frame_context_free(w->frames);
    buf_done(&w->fragment);
    free(w);
}

static void
on_close(void *user, const struct error *why)
{
    struct websocket *w = user;
    (void)why;
    if (w->state != STATE_ENDING)
        set_state(w, STATE_ENDING);
    uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}

static const struct stream_events stream_callbacks = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_close = on_close,
};

static void
on_tick(uv_timer_t *timer)
{
    struct websocket *w = timer->data;
    if (w->alive || w->paused) {
        w->alive = false;
        w->pinged = false;
    } else if (!w->pinged) {
        w->pinged = true;
        (void)write_frame(w, WSLAY_PING, true, NULL, 0);
    } else {
        stream_close(w->stream);
    }
}

struct websocket *
websocket_new(uv_loop_t *loop, struct stream *stream, const struct websocket_events *events,
              void *user)
{
    static const struct wslay_frame_callbacks callbacks = {
        .send_callback = take_frame_bytes,
        .recv_callback = lend_bytes,
    };
    struct websocket *w = xcalloc(1, sizeof *w);
    w->stream = stream;
    w->events = events;
    w->user = user;
    if (wslay_frame_context_init(&w->frames, &callbacks, w) != 0)
        abort();
    buf_init(&w->fragment, WEBSOCKET_FRAGMENT_SIZE);
    (void)uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    (void)uv_timer_start(&w->timer, on_tick, WEBSOCKET_SILENCE_MS, WEBSOCKET_SILENCE_MS);
    stream_set_user(stream, &stream_callbacks, w);
    return w;
}

void
websocket_start(struct websocket *w, const void *early, size_t size)
{
    if (size > 0)
        on_data(w, early, size);
    if (w->state != STATE_ENDING && !w->paused)
        stream_read_start(w->stream);
}
