// SPDX-License-Identifier: Apache-2.0
// The response's way: interim heads, the final one, the body through the stream's filter, the
// trailer section, and the ways in which a host can end without one.
#include "egress/h2-internal.h"

#include "egress/audit.h"

#include <string.h>

// Which secrets were replaced in the response.
static int
audit_redacted(struct h2_stream *s)
{
    const struct worker *w = s->h2->w;
    int rc = 0;
    for (size_t i = 0; redact_is_active(s->redact) && i < policy_secret_count(w->policy); i++) {
        uint64_t count = redact_take_count(s->redact, i);
        struct audit_number times;
        if (count > 0)
            rc |= audit_emit(w->audit, AUDIT_REDACT, &s->h2->to, "secret",
                             policy_secret_name(w->policy, i), "count", audit_number(&times, count),
                             NULL);
    }
    return rc;
}

int
h2_stream_audit(struct h2_stream *s, const char *reason)
{
    char method[METHOD_MAX + 1];
    struct audit_number number, status, up, down, ms;
    if (s->audited)
        return 0;
    s->audited = true;
    memcpy(method, s->method, s->method_size);
    method[s->method_size] = '\0';
    if (audit_redacted(s) != 0)
        return -1;
    return audit_emit(
        s->h2->w->audit, AUDIT_REQUEST, &s->h2->to, "req", audit_number(&number, s->number),
        "method", s->method_size > 0 ? method : NULL, "path", s->method_size > 0 ? s->path : NULL,
        "status", audit_number(&status, (uint64_t)s->status), "bytes_up",
        audit_number(&up, s->bytes_up), "bytes_down", audit_number(&down, s->bytes_down), "ms",
        audit_number(&ms, uv_now(s->h2->w->loop) - s->began_ms), "reason", reason, NULL);
}

int
h2_stream_answer(struct h2_stream *s, const struct h2_fields *head, bool body)
{
    nghttp2_nv list[H2_FIELDS_MAX];
    nghttp2_data_provider source = h2_pipe_provider(s, H2_UPSTREAM);
    size_t count = h2_fields_list(head, list);
    s->answered = true;
    s->bytes_down += buf_size(&head->bytes);
    return nghttp2_submit_response(s->h2->client.session, s->client_id, list, count,
                                   body ? &source : NULL);
}

void
h2_stream_give_up(struct h2_stream *s, const char *why)
{
    h2_stream_refuse_text(s, 502, "UPSTREAM_FAILED", why);
}

static bool
may_have_body(const struct h2_stream *s)
{
    enum { NO_CONTENT = 204, NOT_MODIFIED = 304 };
    return !s->is_head && s->status != NO_CONTENT && s->status != NOT_MODIFIED;
}

static void
pass_interim(struct h2_stream *s, const struct h2_fields *head)
{
    nghttp2_nv list[H2_FIELDS_MAX];
    cleanup_fields struct h2_fields out;
    h2_fields_init(&out, HEAD_WRITTEN_MAX);
    if (++s->interim > INTERIM_MAX ||
        h2_head_pass_response(head, s->redact, H2_BODY_RESIZED, &out) != 0) {
        h2_stream_give_up(s, "the host's interim response has no place here");
        return;
    }
    size_t count = h2_fields_list(&out, list);
    if (nghttp2_submit_headers(s->h2->client.session, NGHTTP2_FLAG_NONE, s->client_id, NULL, list,
                               count, NULL) != 0)
        h2_stream_give_up(s, "the host's interim response cannot be passed on");
    s->bytes_down += buf_size(&out.bytes);
}

// What the filter held back.
static int
finish_body(struct h2_stream *s)
{
    struct h1_span clean;
    return redact_feed(s->redact, (const uint8_t *)"", 0, true, &clean) == 0
               ? h2_pipe_put(s, H2_UPSTREAM, clean.data, clean.size)
               : -1;
}

void
h2_stream_finish_response(struct h2_stream *s, const struct h2_fields *trailer)
{
    struct h2_pipe *p = &s->response;
    if (finish_body(s) != 0) {
        h2_stream_give_up(s, "the host's response cannot be passed on");
        return;
    }
    if (trailer != NULL &&
        h2_head_pass_response(trailer, s->redact, H2_BODY_KEPT, &p->trailer) != 0) {
        h2_stream_give_up(s, "the host's trailer section cannot be passed on");
        return;
    }
    p->has_trailer = p->trailer.count > 0;
    s->bytes_down += buf_size(&p->trailer.bytes);
    h2_pipe_end(s, H2_UPSTREAM);
    if (h2_stream_audit(s, NULL) != 0)
        h2_drain(s->h2);
}

// How the filter can read a body. False: it cannot.
static bool
choose_coding(struct h2_stream *s, const struct h2_fields *head, enum decode_coding *ret)
{
    enum { PARTIAL_CONTENT = 206 };
    *ret = h2_head_coding(head);
    if (*ret == DECODE_UNKNOWN || (*ret != DECODE_IDENTITY && s->status == PARTIAL_CONTENT)) {
        h2_stream_give_up(s, "the host sent a content coding that was not asked for");
        return false;
    }
    if (h2_head_hides_text(head)) {
        h2_stream_give_up(s, "the host sent a character set that hides values");
        return false;
    }
    return true;
}

static void
pass_final(struct h2_stream *s, const struct h2_fields *head, bool end)
{
    cleanup_fields struct h2_fields out;
    h2_fields_init(&out, HEAD_WRITTEN_MAX);
    bool filtered = !end && may_have_body(s) && redact_is_active(s->redact);
    enum decode_coding coding = DECODE_IDENTITY;
    if (filtered && !choose_coding(s, head, &coding))
        return;
    enum h2_body body = coding != DECODE_IDENTITY                     ? H2_BODY_DECODED
                        : filtered && !redact_keeps_length(s->redact) ? H2_BODY_RESIZED
                                                                      : H2_BODY_KEPT;
    int rc = h2_head_pass_response(head, s->redact, body, &out);
    redact_reset(s->redact);
    if (rc == 0 && body == H2_BODY_DECODED) {
        h2_coded_begin(s, coding, &out);
        return;
    }
    if (rc != 0 || h2_stream_answer(s, &out, !end) != 0) {
        s->answered = false;
        h2_stream_give_up(s, "the host's response head is too large");
        return;
    }
    if (end) {
        s->response.ended = true;
        if (h2_stream_audit(s, NULL) != 0)
            h2_drain(s->h2);
    }
}

static void
pass_trailer(struct h2_stream *s, const struct h2_fields *trailer)
{
    if (s->coded != NULL)
        h2_coded_end(s, trailer);
    else
        h2_stream_finish_response(s, trailer);
}

void
h2_stream_take_head(struct h2_stream *s, const struct h2_fields *head, bool end)
{
    enum { FINAL = 200, SWITCHING = 101 };
    if (s->refused || !s->client_open || s->response.ended)
        return;
    if (s->has_status) {
        pass_trailer(s, head);
        return;
    }
    int status = h2_head_status(head);
    if (status < 0 || status == SWITCHING || (status < FINAL && end)) {
        h2_stream_give_up(s, "the host's response head has no status");
    } else if (status < FINAL) {
        pass_interim(s, head);
    } else {
        s->has_status = true;
        s->status = status;
        pass_final(s, head, end);
    }
}

void
h2_stream_take_response_body(struct h2_stream *s, const uint8_t *data, size_t size)
{
    struct h1_span clean;
    bool wanted = s->client_open && !s->refused && !s->response.ended;
    redact_expect_more(s->redact, true); // until h2_stream_settle
    if (wanted && s->coded != NULL) {
        h2_coded_take(s, data, size);
        return;
    }
    if (wanted && (redact_feed(s->redact, data, size, false, &clean) != 0 ||
                   h2_pipe_put(s, H2_UPSTREAM, clean.data, clean.size) != 0))
        h2_stream_give_up(s, "the host's response cannot be passed on");
    h2_pipe_owe(s, H2_UPSTREAM, size);
}

void
h2_stream_settle(struct h2_stream *s)
{
    struct h1_span clean;
    nghttp2_session *session = s->h2->upstream.session;
    // What waits coded follows, wherever the sandbox made it wait.
    if (!s->paused || (s->coded != NULL && h2_coded_is_waiting(s->coded)))
        return;
    s->paused = false;
    // Without a window it was we who stopped the host, and the sandbox could choose where.
    if (!s->client_open || !s->upstream_open || s->refused || s->response.ended ||
        nghttp2_session_get_stream_local_window_size(session, s->upstream_id) <= 0)
        return;
    redact_expect_more(s->redact, false);
    if (redact_feed(s->redact, (const uint8_t *)"", 0, false, &clean) != 0 ||
        h2_pipe_put(s, H2_UPSTREAM, clean.data, clean.size) != 0)
        h2_stream_give_up(s, "the host's response cannot be passed on");
    else if (s->coded != NULL)
        h2_coded_pump(s);
}

void
h2_stream_end_response(struct h2_stream *s)
{
    if (!s->client_open || s->refused || s->response.ended)
        return;
    if (s->coded != NULL)
        h2_coded_end(s, NULL);
    else
        h2_stream_finish_response(s, NULL);
}

bool
h2_stream_has_response(const struct h2_stream *s)
{
    return s->response.ended || (s->coded != NULL && h2_coded_has_ended(s->coded));
}

// With both of our ends sent or not wanted, the client need not send the rest of its request.
static void
stop_request(struct h2_stream *s)
{
    if (s->client_open && s->response_ended && !s->request_ended && !s->upstream_open)
        h2_peer_reset(&s->h2->client, s->client_id, NGHTTP2_NO_ERROR);
}

void
h2_stream_sent_end(struct h2_stream *s)
{
    s->response_ended = true;
    stop_request(s);
}

void
h2_stream_upstream_closed(struct h2_stream *s, uint32_t code)
{
    if (!s->upstream_open)
        return;
    s->upstream_open = false;
    h2_pipe_close(s, H2_CLIENT);
    if (!s->client_open)
        return;
    if (h2_stream_has_response(s) || s->refused) {
        stop_request(s);
    } else if (s->broken) {
        h2_stream_give_up(s, "the host's answer is not HTTP as it should be");
    } else {
        h2_peer_reset(&s->h2->client, s->client_id,
                      code == NGHTTP2_NO_ERROR ? NGHTTP2_INTERNAL_ERROR : code);
        (void)h2_stream_audit(s, "reset by the host");
    }
}
