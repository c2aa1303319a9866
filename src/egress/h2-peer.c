// SPDX-License-Identifier: Apache-2.0
// One nghttp2 session: how it is set up, what its callbacks make of frames, and its bytes in and
// out. nghttp2 refuses what is no HTTP/2 (framing, HPACK, pseudo-header fields, content-length);
// the limits on what is, but costs, are the options and ratelimits here.
//
// A peer's session is only fed from its stream's on_data and only written from h2_peer_flush, so
// that no session is ever entered again from its own callbacks.
#include "egress/h2-internal.h"

#include "base/cleanup.h"
#include "egress/audit.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum {
    FLUSH_BLOCK = 64 * 1024,
    FRAME_HEADER = 9,
    GOAWAY_SIZE = 8,
};

// Frames on their way to stream_write; empty outside of h2_peer_flush.
static uint8_t block[FLUSH_BLOCK];

// --- memory: heads with values pass through the upstream session ---

static void *
mem_malloc(size_t size, void *user)
{
    (void)user;
    return malloc(size);
}

static void
mem_free(void *p, void *user)
{
    (void)user;
    if (p != NULL)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *
mem_calloc(size_t count, size_t size, void *user)
{
    (void)user;
    return calloc(count, size);
}

static void *
mem_realloc(void *p, size_t size, void *user)
{
    size_t old = p == NULL ? 0 : malloc_usable_size(p);
    if (size <= old)
        return p;
    void *fresh = malloc(size);
    if (fresh == NULL)
        return NULL;
    if (p != NULL)
        memcpy(fresh, p, old);
    mem_free(p, user);
    return fresh;
}

// --- floods ---

static int64_t
now_of(const struct h2_peer *p)
{
    return (int64_t)uv_now(p->h2->w->loop);
}

static void
earn(struct h2_peer *p)
{
    p->control.thousandths += H2_CONTROL_EARNED * 1000;
}

void
h2_peer_abort(struct h2_peer *p, uint32_t code)
{
    if (p->abused)
        return;
    p->abused = true;
    (void)audit_emit(p->h2->w->audit, AUDIT_LIMIT, &p->h2->to, "reason",
                     p->role == H2_CLIENT ? "http/2 flood" : "http/2 flood by the host", NULL);
    (void)nghttp2_session_terminate_session(p->session, code);
}

// A host that is within a DATA frame does not pause.
static void
note_pause(const struct h2_peer *p, nghttp2_session *session, const nghttp2_frame_hd *hd, bool is)
{
    if (p->role != H2_UPSTREAM || hd->type != NGHTTP2_DATA)
        return;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, hd->stream_id);
    if (s == NULL)
        return;
    s->paused = is;
    s->h2->any_paused = s->h2->any_paused || is;
}

// Every frame that carries no message costs one.
static int
on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct h2_peer *p = user;
    note_pause(p, session, hd, false);
    if (hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_CONTINUATION ||
        (hd->type == NGHTTP2_DATA && (hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM))))
        return 0;
    if (!ratelimit_take(&p->control, now_of(p)))
        h2_peer_abort(p, NGHTTP2_ENHANCE_YOUR_CALM);
    return 0;
}

// --- receiving ---

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_peer *p = user;
    h2_fields_clear(&p->head);
    p->head_too_large = false;
    p->head_decoded = 0;
    p->head_since_ms = uv_now(p->h2->w->loop);
    if (p->role != H2_CLIENT || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (p->h2->stream_count >= H2_STREAMS_HELD_MAX)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    struct h2_stream *s = h2_stream_new(p->h2, frame->hd.stream_id);
    (void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
    return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
          size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags, void *user)
{
    (void)session;
    (void)frame;
    struct h2_peer *p = user;
    p->head_decoded += name_size + value_size + H2_FIELD_OVERHEAD;
    if (p->head_decoded > H2_HEAD_BOMB) {
        h2_peer_abort(p, NGHTTP2_ENHANCE_YOUR_CALM);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (p->head_decoded > HEAD_MAX || p->head.count >= H1_FIELDS_MAX ||
        h2_fields_add(&p->head, name, name_size, value, value_size,
                      (flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0) != 0)
        p->head_too_large = true;
    return 0;
}

// A field that nghttp2 would leave out: a request that holds one is refused.
static int
on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                  size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                  void *user)
{
    (void)session;
    (void)frame;
    (void)name;
    (void)name_size;
    (void)value;
    (void)value_size;
    (void)flags;
    (void)user;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void
take_client_head(struct h2_peer *p, const nghttp2_frame *frame, struct h2_stream *s)
{
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        if (p->head_too_large) {
            s->number = ++p->h2->number;
            s->request_ended = end;
            h2_stream_refuse_text(s, 431, "HEADER_TOO_LARGE", "the request head is too large");
            return;
        }
        h2_stream_take_request(s, &p->head, end);
        return;
    }
    if (p->head_too_large)
        h2_peer_reset(p, s->client_id, NGHTTP2_ENHANCE_YOUR_CALM);
    else
        h2_stream_take_request_trailer(s, &p->head);
}

static void
take_upstream_head(struct h2_peer *p, const nghttp2_frame *frame, struct h2_stream *s)
{
    if (p->head_too_large) {
        s->broken = true;
        h2_peer_reset(p, s->upstream_id, NGHTTP2_ENHANCE_YOUR_CALM);
        return;
    }
    h2_stream_take_head(s, &p->head, (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_peer *p = user;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    note_pause(p, session, &frame->hd, true);
    if (frame->hd.type == NGHTTP2_HEADERS) {
        p->head_since_ms = 0;
        earn(p);
        h2_touch(p->h2);
        if (s != NULL && p->role == H2_CLIENT)
            take_client_head(p, frame, s);
        else if (s != NULL)
            take_upstream_head(p, frame, s);
        h2_fields_clear(&p->head);
    } else if (frame->hd.type == NGHTTP2_SETTINGS && !p->greeted) {
        p->greeted = true;
        p->head_since_ms = 0;
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        // From upstream: streams that it will not answer are closed by nghttp2, as refused.
        h2_drain(p->h2);
    } else if (frame->hd.type == NGHTTP2_RST_STREAM && p->role == H2_UPSTREAM) {
        if (!ratelimit_take(&p->resets, now_of(p)))
            h2_peer_abort(p, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (frame->hd.type == NGHTTP2_DATA && s != NULL &&
               (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && p->role == H2_UPSTREAM) {
        h2_stream_end_response(s);
    }
    // Of a request's either frame.
    if (p->role == H2_CLIENT && s != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
        (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA))
        h2_stream_end_request(s);
    return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t size,
        void *user)
{
    (void)flags;
    struct h2_peer *p = user;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s == NULL) {
        (void)nghttp2_session_consume(session, id, size);
        return 0;
    }
    h2_touch(p->h2);
    if (p->role == H2_CLIENT)
        h2_stream_take_request_body(s, data, size);
    else
        h2_stream_take_response_body(s, data, size);
    return 0;
}

static int
on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    (void)code;
    struct h2_peer *p = user;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s != NULL && p->role == H2_UPSTREAM)
        s->broken = true;
    return 0;
}

static int
on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_peer *p = user;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s == NULL)
        return 0;
    if (p->role == H2_CLIENT)
        h2_stream_client_closed(s, code);
    else
        h2_stream_upstream_closed(s, code);
    if (!s->client_open && !s->upstream_open)
        h2_stream_free(s);
    return 0;
}

// --- sending ---

static int
on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_peer *p = user;
    // Streams that the peer makes us reset cost as much as those that it resets.
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR &&
        p->role == H2_CLIENT && !ratelimit_take(&p->resets, now_of(p)))
        h2_peer_abort(p, NGHTTP2_ENHANCE_YOUR_CALM);
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    earn(p);
    h2_touch(p->h2);
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s != NULL && p->role == H2_CLIENT && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        h2_stream_sent_end(s);
    return 0;
}

// A head that could not be sent, as when the session ends before its turn.
static int
on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    struct h2_peer *p = user;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (frame->hd.type != NGHTTP2_HEADERS || s == NULL)
        return 0;
    bool request = p->role == H2_UPSTREAM && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    if (!request) {
        h2_peer_reset(p, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
        return 0;
    }
    // nghttp2 closes a stream that never was without a callback.
    (void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, NULL);
    h2_stream_upstream_closed(s, code == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED
                                     ? NGHTTP2_REFUSED_STREAM
                                     : NGHTTP2_INTERNAL_ERROR);
    if (!s->client_open)
        h2_stream_free(s);
    return 0;
}

void
h2_peer_reset(struct h2_peer *p, int32_t stream_id, uint32_t code)
{
    if (p->session != NULL && !p->failed)
        (void)nghttp2_submit_rst_stream(p->session, NGHTTP2_FLAG_NONE, stream_id, code);
}

static void
write_block(struct h2_peer *p, const uint8_t *data, size_t size)
{
    if (size == 0 || p->spent)
        return;
    if (p->role == H2_UPSTREAM && !worker_may_send(p->h2->w, size)) {
        (void)audit_emit(p->h2->w->audit, AUDIT_LIMIT, &p->h2->to, "reason", "max_tx_bytes", NULL);
        p->spent = true;
        return;
    }
    if (stream_write(p->stream, data, size) == 1)
        p->full = true;
}

bool
h2_peer_flush(struct h2_peer *p)
{
    size_t used = 0;
    size_t most = 0;
    bool any = false;
    while (p->stream != NULL && p->session != NULL && !p->full && !p->failed && !p->spent) {
        const uint8_t *frame;
        ssize_t size = nghttp2_session_mem_send(p->session, &frame);
        if (size <= 0)
            break;
        any = true;
        if ((size_t)size > sizeof block - used) {
            write_block(p, block, used);
            used = 0;
        }
        if ((size_t)size > sizeof block) {
            write_block(p, frame, (size_t)size);
        } else {
            memcpy(block + used, frame, (size_t)size);
            used += (size_t)size;
            most = used > most ? used : most;
        }
    }
    if (p->stream != NULL)
        write_block(p, block, used);
    if (p->role == H2_UPSTREAM) // values of swapped fields
        explicit_bzero(block, most);
    return any;
}

bool
h2_peer_is_over(const struct h2_peer *p)
{
    return p->session == NULL || p->failed || p->spent ||
           (!nghttp2_session_want_read(p->session) && !nghttp2_session_want_write(p->session));
}

// A session that failed may not be used again, so its last frame is written by hand. What was sent
// so far ended with a whole frame.
static void
write_goaway(struct h2_peer *p, uint32_t code)
{
    uint8_t frame[FRAME_HEADER + GOAWAY_SIZE] = {0, 0, GOAWAY_SIZE, NGHTTP2_GOAWAY};
    int32_t last = nghttp2_session_get_last_proc_stream_id(p->session);
    for (unsigned i = 0; i < sizeof last; i++) {
        frame[FRAME_HEADER + i] = (uint8_t)((uint32_t)last >> (24 - 8 * i));
        frame[FRAME_HEADER + sizeof last + i] = (uint8_t)(code >> (24 - 8 * i));
    }
    (void)stream_write(p->stream, frame, sizeof frame);
}

void
h2_peer_receive(struct h2_peer *p, const uint8_t *data, size_t size)
{
    if (p->session == NULL || p->abused)
        return;
    ssize_t rc = nghttp2_session_mem_recv(p->session, data, size);
    if (rc >= 0)
        return;
    p->abused = true;
    if (p->stream != NULL)
        write_goaway(p, rc == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? NGHTTP2_PROTOCOL_ERROR
                                                           : NGHTTP2_ENHANCE_YOUR_CALM);
    (void)audit_emit(p->h2->w->audit, AUDIT_LIMIT, &p->h2->to, "reason", nghttp2_strerror((int)rc),
                     NULL);
    p->failed = true;
}

// --- setting up ---

static int
set_callbacks(nghttp2_session_callbacks **ret)
{
    nghttp2_session_callbacks *c;
    if (nghttp2_session_callbacks_new(&c) != 0)
        return -1;
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_not_sent);
    *ret = c;
    return 0;
}

static int
set_options(nghttp2_option **ret)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return -1;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_continuations(o, H2_CONTINUATIONS_MAX);
    nghttp2_option_set_stream_reset_rate_limit(o, H2_RESETS_BURST, H2_RESETS_RATE);
    nghttp2_option_set_max_outbound_ack(o, H2_ACKS_WAITING_MAX);
    nghttp2_option_set_max_settings(o, H2_SETTINGS_ENTRIES_MAX);
    nghttp2_option_set_max_send_header_block_length(o, HEAD_WRITTEN_MAX + HEAD_MAX);
    nghttp2_option_set_peer_max_concurrent_streams(o, H2_STREAMS_MAX);
    *ret = o;
    return 0;
}

static int
make_session(struct h2_peer *p)
{
    nghttp2_mem mem = {
        .malloc = mem_malloc, .free = mem_free, .calloc = mem_calloc, .realloc = mem_realloc};
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *options = NULL;
    int rc = -1;
    if (set_callbacks(&callbacks) == 0 && set_options(&options) == 0)
        rc = p->role == H2_CLIENT
                 ? nghttp2_session_server_new3(&p->session, callbacks, p, options, &mem)
                 : nghttp2_session_client_new3(&p->session, callbacks, p, options, &mem);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(options);
    return rc;
}

int
h2_peer_open(struct h2_peer *p, struct error *err)
{
    // Without a tree of priorities there is none to churn.
    static const nghttp2_settings_entry to_client[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEAD_MAX},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    static const nghttp2_settings_entry to_upstream[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEAD_MAX},
    };
    bool client = p->role == H2_CLIENT;
    h2_fields_init(&p->head, HEAD_MAX);
    ratelimit_init(&p->control, H2_CONTROL_RATE, H2_CONTROL_BURST, now_of(p));
    ratelimit_init(&p->resets, H2_RESETS_RATE, H2_RESETS_BURST, now_of(p));
    p->head_since_ms = uv_now(p->h2->w->loop); // of the preface
    if (make_session(p) != 0 ||
        nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, client ? to_client : to_upstream,
                                client ? ARRAY_SIZE(to_client) : ARRAY_SIZE(to_upstream)) != 0 ||
        nghttp2_session_set_local_window_size(p->session, NGHTTP2_FLAG_NONE, 0,
                                              H2_SESSION_WINDOW) != 0)
        return error_set(err, ERR_INTERNAL, "cannot begin an HTTP/2 session");
    return 0;
}

void
h2_peer_move(struct h2_peer *from, struct h2_peer *to, struct h2 *owner)
{
    *to = *from;
    to->h2 = owner;
    nghttp2_session_set_user_data(to->session, to);
    from->session = NULL;
    from->stream = NULL;
    h2_fields_init(&from->head, HEAD_MAX);
}

void
h2_peer_done(struct h2_peer *p)
{
    nghttp2_session_del(p->session);
    p->session = NULL;
    h2_fields_clear(&p->head);
}
