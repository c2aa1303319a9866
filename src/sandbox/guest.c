// SPDX-License-Identifier: Apache-2.0
// The data channel to casemate-init: one stream socket a sandbox, frames both ways (wire/frame.h).
// What comes from the guest is believed only as far as it is checked; the first frame that cannot
// be ends the sandbox. What a guest does not read makes its own clients wait, nobody else.
#include "sandbox/sandbox-internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "wire/pack.h"

#include <string.h>
#include <sys/socket.h>

enum {
    GUEST_IN_MAX = 2 * (FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX),
    GUEST_ENV_MAX = 1024 * 1024,
    // A tiny frame may cost a message to a client: a flood of them must not hold up the other
    // sandboxes, so the guest's turn is over after so many, and the next one comes after a rest.
    GUEST_TURN_FRAMES = 256,
    GUEST_REST_MS = 1,
    // Clients that wait for the guest are not read from, so that their end is not seen either: a
    // guest that reads nothing could live on without them.
    GUEST_STALL_MS = 60 * 1000,
    // What waits for a guest. Clients are held back far earlier, but credit and the like are not.
    GUEST_QUEUE_MAX = 16 * 1024 * 1024,
};

static void
pause_clients(struct sandbox *s, bool paused)
{
    if (!paused && s->paused_ms == 0)
        return;
    if (!paused)
        s->paused_ms = 0;
    else if (s->paused_ms == 0)
        s->paused_ms = clock_monotonic_ms();
    channels_pause(s, paused);
}

void
guest_send(struct sandbox *s, const struct frame *f)
{
    if (s->guest == NULL)
        return;
    // For all sandboxes: empty between calls.
    static struct buf out = {.cap = FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX};
    if (frame_encode(&out, f) < 0)
        return;
    int r = stream_write(s->guest, buf_bytes(&out), buf_size(&out));
    if (f->kind == FRAME_MESSAGE)
        explicit_bzero(buf_bytes(&out), buf_size(&out));
    buf_clear(&out);
    if (r == 1)
        pause_clients(s, true);
}

void
guest_check(struct sandbox *s, int64_t now_ms)
{
    secret_counts_tell(s);
    bool stalled = s->paused_ms > 0 && now_ms - s->paused_ms > GUEST_STALL_MS;
    if (s->guest != NULL && (stalled || stream_queued(s->guest) > GUEST_QUEUE_MAX))
        sandbox_fault(s, "the guest does not read");
}

static int
check_hello(const struct frame *f)
{
    struct unpack u;
    unpack_init(&u, f->payload, f->size);
    uint32_t version = unpack_u32(&u);
    return unpack_complete(&u) && version == FRAME_PROTOCOL_VERSION ? 0 : -1;
}

static void
take_frame(struct sandbox *s, const struct frame *f)
{
    if (!s->guest_hello) {
        if (f->kind != FRAME_HELLO || check_hello(f) < 0) {
            sandbox_fault(s, "the guest did not greet");
            return;
        }
        s->guest_hello = true;
        sandbox_maybe_running(s);
        return;
    }
    if (f->kind < FRAME_RESULT) {
        sandbox_fault(s, "the guest sent a frame that is not its to send");
        return;
    }
    struct channel *c = channel_by_number(s, f->channel);
    if (c != NULL)
        channel_frame(c, f);
    else if (f->channel == 0 || f->channel >= s->next_channel)
        sandbox_fault(s, "the guest wrote to a channel that never was");
}

// Returns false if frames are left for the next turn.
static bool
take_turn(struct sandbox *s)
{
    for (unsigned n = 0; n < GUEST_TURN_FRAMES; n++) {
        struct frame f;
        size_t used = 0;
        enum frame_status status = frame_decode(&s->guest_in, &f, &used);
        if (status == FRAME_STATUS_MORE)
            return true;
        if (status == FRAME_STATUS_BAD)
            sandbox_fault(s, "the guest sent what is no frame");
        else
            take_frame(s, &f);
        if (s->guest == NULL)
            return true;
        buf_consume(&s->guest_in, used);
    }
    return false;
}

static void
on_rest_over(uv_timer_t *timer)
{
    struct sandbox *s = timer->data;
    if (!take_turn(s))
        (void)uv_timer_start(timer, on_rest_over, GUEST_REST_MS, 0);
    else if (s->guest != NULL)
        stream_read_start(s->guest);
}

static void
on_guest_data(void *user, const uint8_t *data, size_t size)
{
    struct sandbox *s = user;
    if (buf_append(&s->guest_in, data, size) < 0) {
        sandbox_fault(s, "out of memory for what the guest sent");
        return;
    }
    if (take_turn(s))
        return;
    stream_read_stop(s->guest);
    (void)uv_timer_start(s->guest_rest, on_rest_over, GUEST_REST_MS, 0);
}

static void
on_guest_drain(void *user)
{
    pause_clients(user, false);
}

static void
on_guest_end(void *user)
{
    sandbox_fault(user, "the guest closed its channel");
}

static void
on_guest_close(void *user, const struct error *why)
{
    struct sandbox *s = user;
    s->guest = NULL;
    sandbox_fault(s, why != NULL ? "the channel to the guest broke" : "the guest is gone");
}

static const struct stream_events guest_events = {
    .on_data = on_guest_data,
    .on_drain = on_guest_drain,
    .on_end = on_guest_end,
    .on_close = on_guest_close,
};

// A stream that outlives its sandbox's interest in it.
static const struct stream_events orphan_events = {0};

int
guest_open(struct sandbox *s, struct error *err)
{
    int pair[2];
    int r = fd_socketpair(SOCK_STREAM, pair);
    if (r < 0)
        return error_set_errno(err, -r, "make a data channel");
    cleanup_fd int theirs = pair[1];
    struct launch_message m = {.type = LAUNCH_CHANNEL};
    memcpy(m.id, s->id, sizeof m.id);
    if (launch_send(s->manager->launcher, &m, &theirs, 1, err) < 0) {
        (void)close(pair[0]);
        return -1;
    }
    buf_init(&s->guest_in, GUEST_IN_MAX);
    if (stream_from_fd(s->manager->loop, pair[0], &s->guest, err) < 0)
        return -1;
    s->guest_rest = xcalloc(1, sizeof *s->guest_rest);
    (void)uv_timer_init(s->manager->loop, s->guest_rest);
    s->guest_rest->data = s;
    stream_set_user(s->guest, &guest_events, s);
    stream_read_start(s->guest);
    return 0;
}

static void
free_handle(uv_handle_t *handle)
{
    free(handle);
}

void
guest_close(struct sandbox *s)
{
    if (s->guest_rest != NULL)
        uv_close((uv_handle_t *)TAKE_PTR(s->guest_rest), free_handle);
    if (s->guest != NULL) {
        stream_set_user(s->guest, &orphan_events, NULL);
        stream_close(TAKE_PTR(s->guest));
    }
    buf_done(&s->guest_in);
}

int
guest_add_env(struct sandbox *s, const char *name, const char *value, struct error *err)
{
    cleanup_buf struct buf pair;
    buf_init(&pair, FRAME_PAYLOAD_MAX);
    if (s->env.cap == 0)
        buf_init(&s->env, GUEST_ENV_MAX);
    struct frame f = {.kind = FRAME_ENV};
    if (pack_str(&pair, name) == 0 && pack_str(&pair, value) == 0) {
        f.payload = buf_bytes(&pair);
        f.size = buf_size(&pair);
        if (frame_encode(&s->env, &f) == 0)
            return 0;
    }
    return error_set(err, ERR_INVALID_CONFIG,
                     "the environment is too large: a variable may have %d bytes, all together %d",
                     FRAME_PAYLOAD_MAX - 8, GUEST_ENV_MAX);
}

static void
send_trust(struct sandbox *s, uint64_t which, const struct buf *pem)
{
    const uint8_t *p = buf_bytes(pem);
    size_t left = buf_size(pem);
    do {
        size_t n = left < FRAME_PAYLOAD_MAX ? left : FRAME_PAYLOAD_MAX;
        left -= n;
        struct frame f = {.kind = FRAME_TRUST, .number = which, .payload = p, .size = n};
        f.flags = left > 0 ? FRAME_MORE : 0;
        guest_send(s, &f);
        p += n;
    } while (left > 0);
}

void
guest_set_up(struct sandbox *s)
{
    (void)stream_write(s->guest, buf_bytes(&s->env), buf_size(&s->env));
    buf_done(&s->env);
    send_trust(s, 0, &s->manager->trust);
    send_trust(s, 1, &s->ca);
    guest_send(s, &(struct frame){.kind = FRAME_SETUP_DONE});
}
