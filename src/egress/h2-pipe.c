// SPDX-License-Identifier: Apache-2.0
// A body between two sessions. Flow control is what bounds it: a sender gets its window back only
// for what the other side's session has taken into a frame, so a pipe never holds more than the
// window, and all of a session never more than its. The filter may make a body longer or shorter;
// what it held back or removed is given back when the pipe runs empty.
#include "egress/h2-internal.h"

#include <string.h>

void
h2_pipe_init(struct h2_pipe *p)
{
    buf_init(&p->data, H2_PIPE_MAX); // placeholders, on either way
    h2_fields_init(&p->trailer, HEAD_WRITTEN_MAX);
}

void
h2_pipe_done(struct h2_pipe *p)
{
    buf_done(&p->data);
    h2_fields_clear(&p->trailer);
}

static struct h2_peer *
sender_of(struct h2_stream *s, enum h2_role from)
{
    return from == H2_CLIENT ? &s->h2->client : &s->h2->upstream;
}

static struct h2_peer *
taker_of(struct h2_stream *s, enum h2_role from)
{
    return from == H2_CLIENT ? &s->h2->upstream : &s->h2->client;
}

struct h2_pipe *
h2_pipe_of(struct h2_stream *s, enum h2_role from)
{
    return from == H2_CLIENT ? &s->request : &s->response;
}

static void
give_back(struct h2_stream *s, enum h2_role from, size_t size)
{
    struct h2_pipe *p = h2_pipe_of(s, from);
    struct h2_peer *sender = sender_of(s, from);
    size_t n = size < p->owed ? size : p->owed;
    p->owed -= n;
    // Also of a stream that is closed by now: the session's window is one for all.
    if (n > 0 && sender->session != NULL && !sender->failed)
        (void)nghttp2_session_consume(sender->session,
                                      from == H2_CLIENT ? s->client_id : s->upstream_id, n);
}

void
h2_pipe_wake(struct h2_stream *s, enum h2_role from)
{
    struct h2_pipe *p = h2_pipe_of(s, from);
    if (!p->asleep)
        return;
    p->asleep = false;
    struct h2_peer *taker = taker_of(s, from);
    if (taker->session != NULL && !taker->failed)
        (void)nghttp2_session_resume_data(taker->session,
                                          from == H2_CLIENT ? s->upstream_id : s->client_id);
}

void
h2_pipe_owe(struct h2_stream *s, enum h2_role from, size_t size)
{
    struct h2_pipe *p = h2_pipe_of(s, from);
    p->owed += size;
    if (p->closed || buf_size(&p->data) == 0)
        give_back(s, from, p->owed);
}

int
h2_pipe_put(struct h2_stream *s, enum h2_role from, const void *data, size_t size)
{
    struct h2_pipe *p = h2_pipe_of(s, from);
    if (p->closed || size == 0)
        return 0;
    if (buf_append(&p->data, data, size) != 0)
        return -1;
    *(from == H2_CLIENT ? &s->bytes_up : &s->bytes_down) += size;
    h2_pipe_wake(s, from);
    return 0;
}

void
h2_pipe_end(struct h2_stream *s, enum h2_role from)
{
    h2_pipe_of(s, from)->ended = true;
    h2_pipe_wake(s, from);
}

void
h2_pipe_close(struct h2_stream *s, enum h2_role from)
{
    struct h2_pipe *p = h2_pipe_of(s, from);
    p->closed = true;
    buf_done(&p->data);
    give_back(s, from, p->owed);
}

// The taker's session makes a DATA frame.
static ssize_t
read_pipe(struct h2_stream *s, enum h2_role from, nghttp2_session *session, int32_t id,
          uint8_t *out, size_t size, uint32_t *flags)
{
    struct h2_pipe *p = h2_pipe_of(s, from);
    if (from == H2_UPSTREAM && s->coded != NULL && !s->refused) {
        h2_coded_pump(s);
        if (s->refused) // and so the stream is being reset
            return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = buf_size(&p->data) < size ? buf_size(&p->data) : size;
    if (n > 0) {
        memcpy(out, buf_bytes(&p->data), n);
        buf_consume(&p->data, n);
        give_back(s, from, buf_size(&p->data) == 0 ? p->owed : n);
    }
    if (buf_size(&p->data) > 0)
        return (ssize_t)n;
    buf_done(&p->data); // an idle stream holds no buffer
    if (!p->ended) {
        p->asleep = n == 0;
        return n == 0 ? NGHTTP2_ERR_DEFERRED : (ssize_t)n;
    }
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (p->has_trailer) {
        nghttp2_nv list[H2_FIELDS_MAX];
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, id, list, h2_fields_list(&p->trailer, list)) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        h2_fields_clear(&p->trailer);
    }
    return (ssize_t)n;
}

static ssize_t
read_request(nghttp2_session *session, int32_t id, uint8_t *out, size_t size, uint32_t *flags,
             nghttp2_data_source *source, void *user)
{
    (void)user;
    return read_pipe(source->ptr, H2_CLIENT, session, id, out, size, flags);
}

static ssize_t
read_response(nghttp2_session *session, int32_t id, uint8_t *out, size_t size, uint32_t *flags,
              nghttp2_data_source *source, void *user)
{
    (void)user;
    return read_pipe(source->ptr, H2_UPSTREAM, session, id, out, size, flags);
}

nghttp2_data_provider
h2_pipe_provider(struct h2_stream *s, enum h2_role from)
{
    return (nghttp2_data_provider){
        .source = {.ptr = s},
        .read_callback = from == H2_CLIENT ? read_request : read_response,
    };
}
