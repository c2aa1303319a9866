// SPDX-License-Identifier: Apache-2.0
// The response's way, from upstream through the filter to the client.
#include "egress/exchange-internal.h"

#include <string.h>

static void
flush_client(struct exchange *x)
{
    exchange_write_client(x, buf_bytes(&x->out), buf_size(&x->out));
    buf_clear(&x->out);
}

static int
append_chunks(struct exchange *x, struct h1_span clean, bool last)
{
    int rc = 0;
    if (clean.size > 0)
        rc = buf_append_fmt(&x->out, "%zx\r\n", clean.size) |
             buf_append(&x->out, clean.data, clean.size) | buf_append_str(&x->out, "\r\n");
    if (last)
        rc |= buf_append_str(&x->out, "0\r\n") |
              head_write_trailers(&x->trailers, x->redact, &x->out) |
              buf_append_str(&x->out, "\r\n");
    return rc;
}

// Behind what waits in out: a head, which so leaves together with what came with it. What was coded
// waits until all of the block is decoded, so that a block that cannot be is still refused.
static void
send_clean(struct exchange *x, struct h1_span clean, bool last)
{
    int rc = 0;
    if (x->framing == HEAD_CHUNKED)
        rc = append_chunks(x, clean, last);
    else if (x->framing != HEAD_NO_BODY && buf_size(&x->out) == 0 && x->decode == NULL)
        exchange_write_client(x, clean.data, clean.size);
    else if (x->framing != HEAD_NO_BODY)
        rc = buf_append(&x->out, clean.data, clean.size);
    if (rc != 0)
        exchange_cut_client(x);
    else if (x->decode == NULL)
        flush_client(x);
}

static void
finish_response(struct exchange *x)
{
    bool extra = buf_size(&x->from) > 0;
    bool whole = x->request == REQUEST_SENT;
    if (exchange_audit_request(x, NULL) != 0)
        x->close_after = true;
    if (exchange_audit_redacted(x) != 0)
        x->close_after = true;
    x->response = RESPONSE_NONE;
    if (extra || !whole || !x->upstream_reusable)
        exchange_drop_upstream(x);
    if (x->close_after || !whole) {
        exchange_end_client(x);
        return;
    }
    x->request = REQUEST_HEAD;
    x->searched = 0;
    exchange_client_pump(x);
}

// Feeds a part of the body through the filter. False: the exchange has ended.
static bool
pass_plain(struct exchange *x, struct h1_span content, bool last)
{
    struct h1_span clean;
    if (content.size == 0 && !last)
        return true;
    redact_expect_more(x->redact, true); // until exchange_settle() says that it is not so
    clean = redact_release(x->redact, (const uint8_t *)content.data, content.size);
    if (clean.size > 0)
        send_clean(x, clean, false);
    if (x->ending)
        return false;
    if (redact_feed(x->redact, (const uint8_t *)content.data, content.size, last, &clean) != 0) {
        exchange_cut_client(x);
        return false;
    }
    if (clean.size > 0 || last)
        send_clean(x, clean, last);
    return !x->ending;
}

// The same for what is coded.
static bool
pass_coded(struct exchange *x, struct h1_span content, bool last)
{
    size_t at = 0;
    size_t used = 0;
    struct h1_span plain = {0};
    do {
        if (decode_feed(x->decode, (const uint8_t *)content.data + at, content.size - at, &used,
                        &plain) != 0) {
            exchange_lose_upstream(x, decode_problem(x->decode));
            return false;
        }
        at += used;
        if (!pass_plain(x, plain, false))
            return false;
    } while (used > 0 || plain.size > 0);
    if (last && !decode_is_complete(x->decode)) {
        exchange_lose_upstream(x, "the coded response ends too early");
        return false;
    }
    return !last || pass_plain(x, (struct h1_span){"", 0}, true);
}

static bool
pass_content(struct exchange *x, struct h1_span content, bool last)
{
    if (x->decode == NULL)
        return pass_plain(x, content, last);
    size_t head = buf_size(&x->out);
    if (!pass_coded(x, content, last))
        return false;
    if (x->answered || last || buf_size(&x->out) > head) {
        flush_client(x);
        x->answered = true;
    }
    return !x->ending;
}

static void
settle_tunnel(struct exchange *x)
{
    if (x->frames == NULL || x->ending)
        return;
    if (websocket_settle(x->frames, &x->out) != 0)
        exchange_cut_client(x);
    else
        flush_client(x);
}

void
exchange_settle(struct exchange *x)
{
    struct h1_span clean;
    if (x->tunnel) {
        settle_tunnel(x);
        return;
    }
    if (x->response != RESPONSE_BODY || x->ending || h1_body_is_within(&x->response_body))
        return;
    redact_expect_more(x->redact, false);
    if (redact_feed(x->redact, (const uint8_t *)"", 0, false, &clean) != 0) {
        exchange_cut_client(x);
    } else if (clean.size > 0) {
        send_clean(x, clean, false);
        if (x->decode != NULL && !x->ending) {
            flush_client(x);
            x->answered = true;
        }
    }
}

void
exchange_take_response_body(struct exchange *x, const uint8_t *data, size_t size)
{
    size_t at = 0;
    for (;;) {
        size_t used = 0;
        struct h1_span content;
        enum h1_status r = h1_body_feed(&x->response_body, data + at, size - at, &used, &content);
        if (r == H1_BAD) {
            exchange_lose_upstream(x, "the host's response is not framed as it should be");
            return;
        }
        at += used;
        if (!pass_content(x, content, r == H1_OK))
            return;
        if (r == H1_OK) {
            (void)buf_append(&x->from, data + at, size - at); // what must not be there
            finish_response(x);
            return;
        }
        if (at == size) {
            if (redact_holds(x->redact) && !h1_body_is_within(&x->response_body))
                exchange_settle_soon(x);
            return;
        }
    }
}

// The host sends what is no WebSocket, where that is what was agreed upon.
static void
end_tunnel(struct exchange *x)
{
    const char *problem = websocket_problem(x->frames);
    (void)exchange_audit_request(x, problem);
    if (problem == NULL || websocket_write_close(problem, &x->out) != 0) {
        exchange_cut_client(x);
        return;
    }
    flush_client(x);
    exchange_end_client(x);
}

// Without secrets of its host it is any protocol's.
void
exchange_pass_tunnel(struct exchange *x, const uint8_t *data, size_t size)
{
    if (x->ending)
        return;
    if (x->frames == NULL) {
        exchange_write_client(x, data, size);
        return;
    }
    if (websocket_feed(x->frames, data, size, &x->out) != 0) {
        end_tunnel(x);
        return;
    }
    flush_client(x);
    if (websocket_holds(x->frames))
        exchange_settle_soon(x);
}

static void
start_tunnel(struct exchange *x, struct buf *rest)
{
    x->tunnel = true;
    x->status = 101;
    (void)exchange_audit_request(x, NULL);
    redact_reset(x->redact);
    if (redact_is_active(x->redact))
        x->frames = websocket_new(x->w->policy, x->w->patterns, x->to.name, x->to.name_size);
    exchange_pass_tunnel(x, buf_bytes(rest), buf_size(rest));
    buf_clear(rest);
    exchange_client_pump(x);
}

static enum head_framing
choose_framing(const struct exchange *x, const struct h1_head *head)
{
    if (head->framing == H1_BODY_NONE)
        return HEAD_NO_BODY;
    if (head->framing == H1_BODY_LENGTH && redact_keeps_length(x->redact) && x->decode == NULL)
        return HEAD_LENGTH;
    return x->old_client ? HEAD_UNTIL_CLOSE : HEAD_CHUNKED;
}

// Interim responses are passed on, if the client knows of them.
static bool
pass_interim(struct exchange *x, const struct h1_head *head)
{
    if (++x->interim > INTERIM_MAX)
        return false;
    if (x->old_client)
        return true;
    if (head_write_response(head, x->redact, HEAD_NO_BODY, false, false, &x->out) != 0)
        return false;
    flush_client(x);
    return true;
}

// Chooses how the body of a response is read. False: it cannot be.
static bool
begin_decoding(struct exchange *x, const struct h1_head *head)
{
    enum { PARTIAL_CONTENT = 206 };
    decode_free(x->decode);
    x->decode = NULL;
    if (head->framing == H1_BODY_NONE || !redact_is_active(x->redact))
        return true;
    for (size_t i = 0; i < head->field_count; i++) {
        if (h1_span_is_nocase(head->fields[i].name, "content-type") &&
            head_hides_text(head->fields[i].value)) {
            exchange_lose_upstream(x, "the host sent a character set that hides values");
            return false;
        }
    }
    enum decode_coding coding = head_coding(head);
    if (coding == DECODE_IDENTITY)
        return true;
    if (coding == DECODE_UNKNOWN || head->status == PARTIAL_CONTENT) {
        exchange_lose_upstream(x, "the host sent a content coding that was not asked for");
        return false;
    }
    x->decode = decode_new(coding);
    return true;
}

static bool
begin_response(struct exchange *x, const struct h1_head *head)
{
    if (!begin_decoding(x, head))
        return false;
    x->framing = choose_framing(x, head);
    x->status = head->status;
    x->upstream_reusable = head->keep_alive && head->framing != H1_BODY_UNTIL_CLOSE;
    if (x->framing == HEAD_UNTIL_CLOSE || x->request != REQUEST_SENT)
        x->close_after = true;
    if (head_write_response(head, x->redact, x->framing, x->decode != NULL, x->close_after,
                            &x->out) != 0) {
        buf_clear(&x->out);
        exchange_lose_upstream(x, "the host's response head is too large");
        return false;
    }
    x->answered = x->decode == NULL;
    h1_body_init(&x->response_body, head);
    buf_clear(&x->trailers);
    x->response_body.trailers = &x->trailers;
    redact_reset(x->redact);
    x->unsettled = false;
    x->response = RESPONSE_BODY;
    return true;
}

// One head of from has been parsed. True: go on with what follows it.
static bool
take_response_head(struct exchange *x)
{
    struct h1_head head;
    struct h1_problem problem = {0};
    size_t used = 0;
    struct h1_span method = {x->method, x->method_size};
    size_t size = buf_size(&x->from);
    // As for requests: what drips in without the end of a line is not read anew each time.
    bool line =
        memchr(buf_bytes(&x->from) + x->from_searched, '\n', size - x->from_searched) != NULL;
    x->from_searched = size;
    if (!line && size < HEAD_MAX)
        return false;
    switch (h1_parse_response(buf_bytes(&x->from), size, method, &head, &used, &problem)) {
    case H1_MORE:
        if (size >= HEAD_MAX)
            exchange_lose_upstream(x, "the host's response head is too large");
        return false;
    case H1_BAD:
        exchange_lose_upstream(x, problem.reason);
        return false;
    case H1_OK:
        break;
    }
    if (head.status == 101 ? !x->websocket : head.status < 200 && !pass_interim(x, &head)) {
        exchange_lose_upstream(x, "the host's interim response has no place here");
        return false;
    }
    if (head.status == 101 && redact_is_active(x->redact) &&
        h1_find(&head, "sec-websocket-extensions", NULL) != NULL) {
        exchange_lose_upstream(x, "the host chose a WebSocket extension that was not asked for");
        return false;
    }
    bool final = head.status >= 200;
    if (final && !begin_response(x, &head))
        return false;
    if (head.status == 101 && !pass_interim(x, &head)) {
        exchange_lose_upstream(x, "the host's response head is too large");
        return false;
    }
    buf_consume(&x->from, used);
    x->from_searched = 0;
    if (head.status == 101)
        start_tunnel(x, &x->from);
    return !x->tunnel;
}

void
exchange_upstream_pump(struct exchange *x)
{
    while (x->upstream != NULL && x->response == RESPONSE_HEAD && !x->tunnel &&
           buf_size(&x->from) > 0) {
        if (!take_response_head(x))
            return;
    }
    if (x->response == RESPONSE_BODY && x->upstream != NULL) {
        struct buf rest = x->from;
        buf_init_secret(&x->from, FROM_MAX);
        x->from_searched = 0;
        exchange_take_response_body(x, buf_bytes(&rest), buf_size(&rest));
        buf_done(&rest);
        // A head that came alone leaves alone, unless its body has yet to prove decodable.
        if (x->response == RESPONSE_BODY && !x->ending && x->answered)
            flush_client(x);
    }
}

// The connection's end is the body's.
void
exchange_finish_until_close(struct exchange *x)
{
    if (pass_content(x, (struct h1_span){"", 0}, true))
        finish_response(x);
}
