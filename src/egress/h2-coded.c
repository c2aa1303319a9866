// SPDX-License-Identifier: Apache-2.0
// A response of a host with secrets that came in a content coding: it is decoded for the filter,
// and goes on decoded. Flow control counts coded bytes, and one of them may become a hundred; so
// what came waits coded, at most a stream's window of it, and is decoded only while the client has
// less than H2_DECODED_AHEAD of what it became. The host gets its window back for what was decoded,
// when the client has taken that.
//
// The head waits until the first bytes proved decodable: what cannot be decoded from its beginning
// on is refused in words, anything later is reset, and so never looks whole.
#include "egress/h2-internal.h"

#include "base/mem.h"

#include <stdlib.h>

struct h2_coded {
    struct decode *decode;
    struct buf waiting;
    bool ended; // nothing follows what waits but the trailer section
    bool has_trailer;
    struct h2_fields head;    // until it is sent
    struct h2_fields trailer; // as the host sent it
};

void
h2_coded_begin(struct h2_stream *s, enum decode_coding coding, struct h2_fields *head)
{
    struct h2_coded *c = xcalloc(1, sizeof *c);
    c->decode = decode_new(coding);
    buf_init_secret(&c->waiting, H2_STREAM_WINDOW);
    h2_fields_init(&c->trailer, HEAD_MAX);
    c->head = *head;
    h2_fields_init(head, HEAD_WRITTEN_MAX);
    s->coded = c;
}

void
h2_coded_free(struct h2_coded *c)
{
    if (c == NULL)
        return;
    decode_free(c->decode);
    buf_done(&c->waiting);
    h2_fields_clear(&c->head);
    h2_fields_clear(&c->trailer);
    free(c);
}

bool
h2_coded_is_waiting(const struct h2_coded *c)
{
    return buf_size(&c->waiting) > 0;
}

bool
h2_coded_has_ended(const struct h2_coded *c)
{
    return c->ended;
}

void
h2_coded_drop(struct h2_stream *s)
{
    size_t size = buf_size(&s->coded->waiting);
    buf_done(&s->coded->waiting);
    h2_pipe_owe(s, H2_UPSTREAM, size);
}

// Decodes one span. False: there is none until more comes, or the answer was given up.
static bool
decode_span(struct h2_stream *s)
{
    struct h2_coded *c = s->coded;
    size_t used;
    struct h1_span plain;
    struct h1_span clean;
    if (decode_feed(c->decode, buf_bytes(&c->waiting), buf_size(&c->waiting), &used, &plain) != 0) {
        h2_stream_give_up(s, decode_problem(c->decode));
        return false;
    }
    if (plain.size > 0) {
        redact_expect_more(s->redact, true);
        if (redact_feed(s->redact, (const uint8_t *)plain.data, plain.size, false, &clean) != 0 ||
            h2_pipe_put(s, H2_UPSTREAM, clean.data, clean.size) != 0) {
            h2_stream_give_up(s, "the host's response cannot be passed on");
            return false;
        }
    }
    buf_consume(&c->waiting, used);
    h2_pipe_owe(s, H2_UPSTREAM, used);
    return used > 0 || plain.size > 0;
}

static void
finish(struct h2_stream *s)
{
    struct h2_coded *c = s->coded;
    if (decode_is_complete(c->decode))
        h2_stream_finish_response(s, c->has_trailer ? &c->trailer : NULL);
    else
        h2_stream_give_up(s, "the coded response ends too early");
}

// The head goes before the first bytes.
static void
answer(struct h2_stream *s)
{
    if (s->answered || s->refused || (buf_size(&s->response.data) == 0 && !s->response.ended))
        return;
    if (h2_stream_answer(s, &s->coded->head, true) != 0) {
        s->answered = false;
        h2_stream_give_up(s, "the host's response head cannot be passed on");
    }
    h2_fields_clear(&s->coded->head);
}

void
h2_coded_pump(struct h2_stream *s)
{
    bool all = false;
    if (!s->client_open || s->refused || s->response.ended)
        return;
    while (!all && buf_size(&s->response.data) < H2_DECODED_AHEAD)
        all = !decode_span(s);
    if (s->refused)
        return;
    if (all && s->coded->ended)
        finish(s);
    else if (all && s->paused)
        s->h2->any_paused = true; // it could not be settled while bytes waited
    answer(s);
}

void
h2_coded_take(struct h2_stream *s, const uint8_t *data, size_t size)
{
    if (buf_append(&s->coded->waiting, data, size) != 0) {
        h2_stream_give_up(s, "the host sent more than its window");
        h2_pipe_owe(s, H2_UPSTREAM, size);
        return;
    }
    h2_coded_pump(s);
}

void
h2_coded_end(struct h2_stream *s, const struct h2_fields *trailer)
{
    struct h2_coded *c = s->coded;
    c->ended = true;
    for (size_t i = 0; trailer != NULL && i < trailer->count; i++) {
        struct h1_field field = h2_fields_at(trailer, i);
        if (h2_fields_add(&c->trailer, field.name.data, field.name.size, field.value.data,
                          field.value.size, trailer->items[i].sensitive) != 0) {
            h2_stream_give_up(s, "the host's trailer section cannot be passed on");
            return;
        }
    }
    c->has_trailer = trailer != NULL;
    h2_coded_pump(s);
}
