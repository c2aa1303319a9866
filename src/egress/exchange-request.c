// SPDX-License-Identifier: Apache-2.0
// The request's way, from x->in to upstream.
#include "egress/exchange-internal.h"

#include "egress/audit.h"

#include <stdio.h>
#include <string.h>

static int
audit_swaps(struct exchange *x, const struct substitute *s)
{
    for (int where = 0; where < SUBSTITUTE_MAX; where++) {
        for (size_t i = 0; i < POLICY_SECRETS_MAX; i++) {
            if ((s->swapped[where] >> i & 1) != 0 &&
                audit_emit(x->w->audit, AUDIT_SWAP, &x->to, "secret",
                           policy_secret_name(x->w->policy, i), "where",
                           substitute_where_name((enum substitute_where)where), NULL) != 0)
                return -1;
        }
    }
    return 0;
}

// RFC 9110 9.2.2: what is safe may be repeated by a proxy, and nothing else is.
static bool
is_repeatable(const struct h1_head *head)
{
    return head->framing == H1_BODY_NONE && !head_wants_websocket(head) &&
           (h1_span_is(head->method, "GET") || h1_span_is(head->method, "HEAD") ||
            h1_span_is(head->method, "OPTIONS"));
}

static void
remember_request(struct exchange *x, const struct h1_head *head, struct h1_span target)
{
    x->method_size = head->method.size < METHOD_MAX ? head->method.size : METHOD_MAX;
    memcpy(x->method, head->method.data, x->method_size);
    substitute_show_path(x->w->policy, target, x->path, sizeof x->path);
    x->old_client = head->minor_version == 0;
    x->close_after = !head->keep_alive || x->old_client;
    x->websocket = head_wants_websocket(head);
    x->answered = false;
    x->repeatable = is_repeatable(head);
    x->interim = 0;
    x->status = 0;
    h1_body_init(&x->request_body, head);
    buf_clear(&x->request_trailers);
    x->request_body.trailers = &x->request_trailers;
}

void
exchange_forget_head(struct exchange *x)
{
    x->repeatable = false;
    if (buf_size(&x->head) <= HEAD_KEPT)
        buf_clear(&x->head); // and wiped; the room is kept for the next one
    else
        buf_done(&x->head);
}

static void
send_head(struct exchange *x)
{
    exchange_write_upstream(x, buf_bytes(&x->head), buf_size(&x->head));
    if (!x->repeatable)
        exchange_forget_head(x);
    x->upstream_reusable = false; // until an answer says that it is
    x->request = x->request_body.framing == H1_BODY_NONE ? REQUEST_SENT : REQUEST_BODY;
    x->response = RESPONSE_HEAD;
}

static void
on_origin(void *user, struct stream *s, enum origin_protocol protocol, const struct refusal *why)
{
    (void)protocol;
    struct exchange *x = user;
    x->origin = NULL;
    exchange_touch(x);
    if (s == NULL) {
        exchange_refuse(x, why);
        return;
    }
    exchange_adopt_upstream(x, s);
    send_head(x);
    exchange_client_pump(x);
}

void
exchange_repeat(struct exchange *x)
{
    x->repeatable = false; // once
    x->request = REQUEST_DIAL;
    x->response = RESPONSE_NONE;
    x->origin = origin_open(x->w, &x->to, x->plain, ORIGIN_H1, on_origin, x);
}

static int
audit_misuse(struct exchange *x, const struct substitute *s, const char *action)
{
    return audit_emit(x->w->audit, AUDIT_MISUSE, &x->to, "secret", s->secret, "where", s->place,
                      "reason", s->reason, "action", action, NULL);
}

static struct substitute
start_substitute(const struct exchange *x)
{
    return (struct substitute){
        .policy = x->w->policy,
        .host = x->to.name,
        .host_size = x->to.name_size,
        .port = x->to.port,
        .plain = x->plain,
    };
}

// A whole head has come. False: refused.
static bool
accept_head(struct exchange *x, const struct h1_head *head)
{
    struct substitute s = start_substitute(x);
    struct refusal r = {0};
    struct h1_span target;
    buf_clear(&x->head);
    if (head_check_request(head, &x->to, &s, &target, &r) != 0 ||
        head_write_request(head, target, redact_is_active(x->redact), &s, &x->head, &r) != 0) {
        buf_clear(&x->head);
        if (s.reason != NULL)
            (void)audit_misuse(x, &s, "block");
        exchange_refuse(x, &r);
        return false;
    }
    remember_request(x, head, target);
    if (x->refuse_first) {
        exchange_refuse(x, &x->refusal);
        return false;
    }
    if ((s.reason != NULL && audit_misuse(x, &s, "pass") != 0) || audit_swaps(x, &s) != 0) {
        buf_clear(&x->head);
        exchange_refuse_text(x, 503, "AUDIT_UNAVAILABLE", "the audit log does not take events");
        return false;
    }
    return true;
}

// Only when a line has ended can there be something new to parse: a client that sends byte by byte
// must not make us read its head anew each time.
static bool
has_new_line(struct exchange *x)
{
    size_t size = buf_size(&x->in);
    if (size == 0)
        return false;
    bool found = memchr(buf_bytes(&x->in) + x->searched, '\n', size - x->searched) != NULL;
    x->searched = size;
    return found || size >= HEAD_MAX;
}

// True: go on, there may be more to do.
static bool
take_head(struct exchange *x)
{
    if (buf_size(&x->in) > 0 && x->head_since_ms == 0)
        x->head_since_ms = uv_now(x->w->loop);
    if (!has_new_line(x))
        return false;
    struct h1_head head;
    struct h1_problem problem = {0};
    size_t used = 0;
    size_t limit = buf_size(&x->in) < HEAD_MAX ? buf_size(&x->in) : HEAD_MAX;
    x->is_head = false;
    x->method_size = 0;
    x->answered = false;
    switch (h1_parse_request(buf_bytes(&x->in), limit, &head, &used, &problem)) {
    case H1_MORE:
        if (limit == HEAD_MAX)
            exchange_refuse_text(x, 431, "HEADER_TOO_LARGE", "the request head is too large");
        return false;
    case H1_BAD:
        x->number++;
        exchange_refuse_text(x, problem.status, "BAD_REQUEST", problem.reason);
        return false;
    case H1_OK:
        break;
    }
    x->number++;
    x->began_ms = x->head_since_ms;
    x->head_since_ms = 0;
    x->is_head = h1_span_is(head.method, "HEAD");
    if (!accept_head(x, &head))
        return false;
    buf_consume(&x->in, used);
    x->searched = 0;
    if (x->upstream != NULL) {
        send_head(x);
        return true;
    }
    x->request = REQUEST_DIAL;
    x->origin = origin_open(x->w, &x->to, x->plain, ORIGIN_H1, on_origin, x);
    return false;
}

// False: this body may not go on, and the request has ended.
static bool
watch_body(struct exchange *x, struct h1_span content)
{
    const char *secret = NULL;
    enum substitute_sight sight = substitute_watch(
        &x->seen, x->w->policy, (const uint8_t *)content.data, content.size, &secret);
    if (sight == SUBSTITUTE_UNSEEN)
        return true;
    bool block = sight == SUBSTITUTE_BLOCK;
    (void)audit_emit(x->w->audit, block ? AUDIT_MISUSE : AUDIT_PLACEHOLDER_SEEN, &x->to, "secret",
                     secret, "where", "body", "reason", block ? "placeholder_seen" : NULL, "action",
                     block ? "block" : NULL, NULL);
    if (!block)
        return true;
    const struct refusal r = {.status = 403,
                              .code = "SECRET_MISUSE",
                              .reason = "placeholder_seen",
                              .message = "a secret's placeholder may not stand in a body here",
                              .secret = secret,
                              .place = "body"};
    exchange_drop_upstream(x);
    exchange_refuse(x, &r);
    return false;
}

static bool
send_content(struct exchange *x, struct h1_span content)
{
    if (content.size == 0)
        return true;
    if (!watch_body(x, content))
        return false;
    if (x->request_body.framing != H1_BODY_CHUNKED) {
        exchange_write_upstream(x, content.data, content.size);
        return true;
    }
    char line[24];
    int n = snprintf(line, sizeof line, "%zx\r\n", content.size);
    exchange_write_upstream(x, line, (size_t)n);
    exchange_write_upstream(x, content.data, content.size);
    exchange_write_upstream(x, "\r\n", 2);
    return true;
}

// The end of a chunked body. False: refused, and the host sees a body that is cut short.
static bool
send_end(struct exchange *x)
{
    struct substitute s = start_substitute(x);
    struct refusal r = {0};
    int rc = head_write_request_trailers(&x->request_trailers, &s, &x->head, &r);
    if (rc == 0) {
        exchange_write_upstream(x, "0\r\n", 3);
        exchange_write_upstream(x, buf_bytes(&x->head), buf_size(&x->head));
        exchange_write_upstream(x, "\r\n", 2);
    } else {
        if (s.reason != NULL)
            (void)audit_misuse(x, &s, "block");
        exchange_refuse(x, &r);
    }
    buf_done(&x->head);
    return rc == 0;
}

static bool
take_body(struct exchange *x)
{
    size_t used = 0;
    struct h1_span content;
    enum h1_status r =
        h1_body_feed(&x->request_body, buf_bytes(&x->in), buf_size(&x->in), &used, &content);
    if (r == H1_BAD) {
        exchange_drop_upstream(x);
        exchange_refuse_text(x, 400, "BAD_REQUEST",
                             "the request body is not framed as it should be");
        return false;
    }
    if (!send_content(x, content))
        return false;
    buf_consume(&x->in, used);
    if (r == H1_OK) {
        if (x->request_body.framing == H1_BODY_CHUNKED && !send_end(x))
            return false;
        x->request = REQUEST_SENT;
        x->searched = 0;
        return true;
    }
    return used > 0 && buf_size(&x->in) > 0;
}

void
exchange_client_pump(struct exchange *x)
{
    bool more = true;
    while (more && !x->ending) {
        more = false;
        if (x->tunnel) {
            exchange_write_upstream(x, buf_bytes(&x->in), buf_size(&x->in));
            buf_clear(&x->in);
        } else if (x->request == REQUEST_HEAD) {
            more = take_head(x);
        } else if (x->request == REQUEST_BODY) {
            more = take_body(x);
        }
    }
    if (x->client_ended && !x->ending && x->response == RESPONSE_NONE && !x->tunnel &&
        x->request == REQUEST_HEAD)
        exchange_end_client(x);
    exchange_update_reading(x);
}
