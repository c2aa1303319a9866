// SPDX-License-Identifier: Apache-2.0
// A stream's life, and the request's way. A stream is the pair of a client's stream and, once its
// head has passed, one of upstream's; it lives until both are closed. A request of which a byte may
// have gone out is never sent again: the client is told what the host said (a reset's code), and
// tries again itself if that was "not processed".
#include "egress/h2-internal.h"

#include "base/mem.h"
#include "egress/audit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct h2_stream *
h2_stream_new(struct h2 *h, int32_t client_id)
{
    struct h2_stream *s = xcalloc(1, sizeof *s);
    s->h2 = h;
    s->client_id = client_id;
    s->client_open = true;
    s->began_ms = uv_now(h->w->loop);
    h2_pipe_init(&s->request);
    h2_pipe_init(&s->response);
    s->redact = h->spare;
    h->spare = NULL;
    if (s->redact == NULL)
        s->redact = redact_new(h->w->policy, h->w->patterns, h->to.name, h->to.name_size);
    s->next = h->streams;
    if (s->next != NULL)
        s->next->previous = s;
    h->streams = s;
    h->stream_count++;
    return s;
}

void
h2_stream_free(struct h2_stream *s)
{
    struct h2 *h = s->h2;
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        h->streams = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
    h->stream_count--;
    if (h->spare == NULL) {
        redact_reset(s->redact);
        h->spare = s->redact;
    } else {
        redact_free(s->redact);
    }
    h2_pipe_done(&s->request);
    h2_pipe_done(&s->response);
    h2_coded_free(s->coded);
    free(s);
}

// --- refusing ---

static int
write_refusal(struct h2_stream *s, const struct refusal *r, struct buf *body,
              struct h2_fields *head)
{
    char number[16];
    if (refusal_write_body(r, &s->h2->to, s->number, body) != 0)
        return -1;
    (void)snprintf(number, sizeof number, "%zu", buf_size(body));
    char status[16];
    (void)snprintf(status, sizeof status, "%d", r->status);
    const char *const fields[][2] = {
        {":status", status},
        {"content-type", "application/json"},
        {"content-length", number},
        {"cache-control", "no-store"},
        {"x-casemate-refused", r->code},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (h2_fields_add(head, fields[i][0], strlen(fields[i][0]), fields[i][1],
                          strlen(fields[i][1]), false) != 0)
            return -1;
    }
    return 0;
}

static void
send_refusal(struct h2_stream *s, const struct refusal *r)
{
    cleanup_buf struct buf body;
    cleanup_fields struct h2_fields head;
    buf_init(&body, REFUSAL_MAX);
    h2_fields_init(&head, HEAD_MAX);
    buf_clear(&s->response.data); // of an answer that was not to be
    s->response.has_trailer = false;
    s->bytes_down = 0;
    if (write_refusal(s, r, &body, &head) != 0 ||
        (!s->is_head && h2_pipe_put(s, H2_UPSTREAM, buf_bytes(&body), buf_size(&body)) != 0)) {
        h2_peer_reset(&s->h2->client, s->client_id, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    s->response.ended = true;
    s->status = r->status;
    (void)h2_stream_answer(s, &head, !s->is_head);
}

void
h2_stream_refuse(struct h2_stream *s, const struct refusal *r)
{
    if (s->refused)
        return;
    s->refused = true;
    if (s->upstream_open)
        h2_peer_reset(&s->h2->upstream, s->upstream_id, NGHTTP2_CANCEL);
    h2_pipe_close(s, H2_CLIENT);
    if (s->coded != NULL)
        h2_coded_drop(s);
    if (s->answered)
        h2_peer_reset(&s->h2->client, s->client_id, NGHTTP2_INTERNAL_ERROR);
    else
        send_refusal(s, r);
    (void)h2_stream_audit(s, r->code);
}

void
h2_stream_refuse_text(struct h2_stream *s, int status, const char *code, const char *message)
{
    struct refusal r = {.status = status, .code = code, .message = message};
    h2_stream_refuse(s, &r);
}

static int
audit_misuse(struct h2_stream *s, const struct substitute *sub, const char *action)
{
    return audit_emit(s->h2->w->audit, AUDIT_MISUSE, &s->h2->to, "secret", sub->secret, "where",
                      sub->place, "reason", sub->reason, "action", action, NULL);
}

static void
refuse_misuse(struct h2_stream *s, const struct substitute *sub, const struct refusal *r)
{
    (void)audit_misuse(s, sub, "block");
    h2_stream_refuse(s, r);
}

// --- the head ---

static int
audit_swaps(struct h2_stream *s, const struct substitute *sub)
{
    struct worker *w = s->h2->w;
    for (int where = 0; where < SUBSTITUTE_MAX; where++) {
        for (size_t i = 0; sub->swapped[where] != 0 && i < POLICY_SECRETS_MAX; i++) {
            if ((sub->swapped[where] >> i & 1) != 0 &&
                audit_emit(w->audit, AUDIT_SWAP, &s->h2->to, "secret",
                           policy_secret_name(w->policy, i), "where",
                           substitute_where_name((enum substitute_where)where), NULL) != 0)
                return -1;
        }
    }
    return 0;
}

static void
remember(struct h2_stream *s, const struct h2_request *r)
{
    s->method_size = r->method.size < METHOD_MAX ? r->method.size : METHOD_MAX;
    if (s->method_size > 0)
        memcpy(s->method, r->method.data, s->method_size);
    substitute_show_path(s->h2->w->policy, r->target, s->path, sizeof s->path);
}

static struct substitute
substitute_for(const struct h2_stream *s)
{
    const struct h2 *h = s->h2;
    return (struct substitute){
        .policy = h->w->policy,
        .host = h->to.name,
        .host_size = h->to.name_size,
        .port = h->to.port,
    };
}

static void
send_request(struct h2_stream *s, const struct h2_fields *head, bool end)
{
    struct h2_peer *up = &s->h2->upstream;
    nghttp2_nv list[H2_FIELDS_MAX];
    nghttp2_data_provider body = h2_pipe_provider(s, H2_CLIENT);
    // Nothing of it was processed, so it may be tried again, elsewhere.
    if (up->stream == NULL || up->failed || !nghttp2_session_check_request_allowed(up->session)) {
        h2_peer_reset(&s->h2->client, s->client_id, NGHTTP2_REFUSED_STREAM);
        h2_drain(s->h2);
        return;
    }
    size_t count = h2_fields_list(head, list);
    int32_t id = nghttp2_submit_request(up->session, NULL, list, count, end ? NULL : &body, s);
    if (id < 0) {
        h2_stream_refuse_text(s, 502, "UPSTREAM_FAILED", nghttp2_strerror(id));
        h2_drain(s->h2);
        return;
    }
    s->upstream_id = id;
    s->upstream_open = true;
    s->bytes_up += buf_size(&head->bytes);
}

void
h2_stream_take_request(struct h2_stream *s, const struct h2_fields *head, bool end)
{
    struct h2 *h = s->h2;
    struct substitute sub = substitute_for(s);
    struct refusal r = {0};
    struct h2_request request;
    cleanup_fields struct h2_fields out;
    h2_fields_init(&out, HEAD_WRITTEN_MAX);
    s->number = ++h->number;
    s->request_ended = end;
    enum h2_verdict verdict =
        h2_head_pass_request(head, &h->to, redact_is_active(s->redact), &sub, &out, &request, &r);
    s->is_head = h1_span_is(request.method, "HEAD");
    s->is_safe = end && (s->is_head || h1_span_is(request.method, "GET") ||
                         h1_span_is(request.method, "OPTIONS"));
    if (verdict == H2_RESET) {
        h2_peer_reset(&h->client, s->client_id, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    // A method or path that holds a placeholder is not for the audit.
    if (verdict == H2_PASS)
        remember(s, &request);
    if (verdict == H2_REFUSE && sub.reason != NULL) {
        refuse_misuse(s, &sub, &r);
    } else if (verdict == H2_REFUSE) {
        h2_stream_refuse(s, &r);
    } else if (h->refuse_all) {
        h2_stream_refuse(s, &h->refusal);
        h2_drain(h);
    } else if ((sub.reason != NULL && audit_misuse(s, &sub, "pass") != 0) ||
               audit_swaps(s, &sub) != 0) {
        h2_stream_refuse_text(s, 503, "AUDIT_UNAVAILABLE", "the audit log does not take events");
    } else {
        send_request(s, &out, end);
    }
}

// --- body and trailer section ---

// A placeholder there passes, as it may be a quotation, unless the policy says otherwise; it is
// told of once a connection. False: the request has ended.
static bool
watch_body(struct h2_stream *s, const uint8_t *data, size_t size)
{
    struct h2 *h = s->h2;
    const char *secret = NULL;
    enum substitute_sight sight = substitute_watch(&s->seen, h->w->policy, data, size, &secret);
    bool block = sight == SUBSTITUTE_BLOCK;
    if (sight == SUBSTITUTE_UNSEEN || (h->body_told && !block))
        return true;
    h->body_told = true;
    (void)audit_emit(h->w->audit, block ? AUDIT_MISUSE : AUDIT_PLACEHOLDER_SEEN, &h->to, "secret",
                     secret, "where", "body", "reason", block ? "placeholder_seen" : NULL, "action",
                     block ? "block" : NULL, NULL);
    if (!block)
        return true;
    struct refusal r = {
        .status = 403,
        .code = "SECRET_MISUSE",
        .reason = "placeholder_seen",
        .message = "a secret's placeholder may not stand in a body",
        .secret = secret,
        .place = "body",
    };
    h2_stream_refuse(s, &r);
    return false;
}

void
h2_stream_take_request_body(struct h2_stream *s, const uint8_t *data, size_t size)
{
    if (s->upstream_open && !s->refused && watch_body(s, data, size) &&
        h2_pipe_put(s, H2_CLIENT, data, size) != 0)
        h2_peer_reset(&s->h2->client, s->client_id, NGHTTP2_INTERNAL_ERROR);
    else if (!s->upstream_open)
        s->request.closed = true;
    h2_pipe_owe(s, H2_CLIENT, size);
}

void
h2_stream_take_request_trailer(struct h2_stream *s, const struct h2_fields *trailer)
{
    struct substitute sub = substitute_for(s);
    struct refusal r = {0};
    if (!s->upstream_open || s->refused)
        return;
    enum h2_verdict verdict = h2_head_pass_trailers(trailer, &sub, &s->request.trailer, &r);
    s->request.has_trailer = s->request.trailer.count > 0;
    if (verdict == H2_RESET)
        h2_peer_reset(&s->h2->client, s->client_id, NGHTTP2_PROTOCOL_ERROR);
    else if (verdict == H2_REFUSE && sub.reason != NULL)
        refuse_misuse(s, &sub, &r);
    else if (verdict == H2_REFUSE)
        h2_stream_refuse(s, &r);
}

void
h2_stream_end_request(struct h2_stream *s)
{
    s->request_ended = true;
    if (s->upstream_open && !s->refused)
        h2_pipe_end(s, H2_CLIENT);
}

void
h2_stream_client_closed(struct h2_stream *s, uint32_t code)
{
    s->client_open = false;
    h2_pipe_close(s, H2_UPSTREAM);
    if (s->coded != NULL)
        h2_coded_drop(s);
    // With both ends sent, what is left of the request still goes its way.
    if (s->upstream_open && (code != NGHTTP2_NO_ERROR || !s->request_ended))
        h2_peer_reset(&s->h2->upstream, s->upstream_id,
                      code == NGHTTP2_NO_ERROR ? NGHTTP2_CANCEL : code);
    if (!s->audited && s->number > 0)
        (void)h2_stream_audit(s, "reset");
}
