// SPDX-License-Identifier: Apache-2.0
// HTTP:  REQUEST -> judged -> a refusal (deny.c), or, for CONNECT, 200 and a tunnel, else the
// request in the form that a server gets -> decide.c SOCKS: GREETING -> REQUEST -> judged -> a
// reply with a refusal, or one that grants and a tunnel -> decide.c
//
// Nothing is granted before it was judged. One request a connection: of plain HTTP, too, since the
// next one may be for another host, so the answer ends the connection. Bytes that come before the
// grant are kept and go first.
#include "egress/proxy.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "egress/names.h"
#include "egress/proxy-request.h"
#include "policy/address.h"

#include <stdlib.h>
#include <string.h>

enum {
    READ_MAX = 64 * 1024, // that may come along with the last byte of a request
};

struct proxy {
    struct worker *worker;
    struct stream *client; // NULL: handed on or closed
    struct destination to; // of the connection to the proxy itself
    bool greeted;          // SOCKS
    size_t needed;         // HTTP: bytes of in before it is worth another look
    bool timer_closed;
    uv_timer_t timer;
    struct buf in;
};

static void
release(struct proxy *p)
{
    if (p->client != NULL || !p->timer_closed)
        return;
    buf_done(&p->in);
    free(p);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct proxy *p = handle->data;
    p->timer_closed = true;
    release(p);
}

// p stays until the loop has run again.
static struct stream *
leave(struct proxy *p)
{
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
    stream_read_stop(p->client);
    struct stream *client = p->client;
    p->client = NULL;
    return client;
}

// Puts where the client wants to go into *ret, behind the address that stands for it.
static struct policy_decision
judge(struct proxy *p, const struct proxy_target *target, struct destination *ret)
{
    struct in6_addr addr = target->addr;
    struct in_addr v4;
    struct in6_addr v6;
    *ret = (struct destination){.conn = p->to.conn, .port = target->port};
    if (target->name_size > 0) {
        if (!names_assign(p->worker->names, target->name, target->name_size, clock_monotonic_ms(),
                          &v4, &v6))
            return (struct policy_decision){.reason = "too many names at once"};
        addr = address_map_v4(v4);
        memcpy(ret->name, target->name, target->name_size + 1);
        ret->name_size = target->name_size;
    }
    address_to_sockaddr(&addr, target->port, &ret->addr);
    if (names_is_service(&addr))
        return (struct policy_decision){.reason = "a proxy does not lead to itself"};
    return decide_judge(p->worker, ret);
}

// --- HTTP ---

static void
refuse_http(struct proxy *p, const struct destination *to, enum deny_kind kind, const char *reason)
{
    deny_start(p->worker, leave(p), to, kind, reason, buf_bytes(&p->in), buf_size(&p->in));
}

static void
open_tunnel(struct proxy *p, const struct destination *to, const struct policy_decision *d,
            const void *grant, size_t grant_size, size_t used)
{
    struct stream *client = leave(p);
    (void)stream_write(client, grant, grant_size);
    decide_go_on(p->worker, client, to, d, buf_bytes(&p->in) + used, buf_size(&p->in) - used);
}

static void
take_connect(struct proxy *p, const struct h1_head *head, size_t head_size)
{
    static const char grant[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    struct proxy_target target;
    struct destination to;
    const char *why = proxy_parse_authority(head->target.data, head->target.size, 0, &target);
    if (why != NULL) {
        refuse_http(p, &p->to, DENY_MALFORMED, why);
        return;
    }
    struct policy_decision d = judge(p, &target, &to);
    if (d.allowed)
        open_tunnel(p, &to, &d, grant, sizeof grant - 1, head_size);
    else
        refuse_http(p, &to, DENY_POLICY, d.reason);
}

static void
take_url(struct proxy *p, const struct h1_head *head, size_t head_size)
{
    struct proxy_target target;
    struct destination to;
    struct h1_span path;
    const char *why = proxy_parse_url(head->target, &target, &path);
    if (why != NULL) {
        refuse_http(p, &p->to, DENY_MALFORMED, why);
        return;
    }
    struct policy_decision d = judge(p, &target, &to);
    if (!d.allowed) {
        refuse_http(p, &to, DENY_POLICY, d.reason);
        return;
    }
    cleanup_buf struct buf out;
    buf_init(&out, 2 * PROXY_HEAD_MAX + READ_MAX);
    if (proxy_write_head(head, path, &out) < 0 ||
        buf_append(&out, buf_bytes(&p->in) + head_size, buf_size(&p->in) - head_size) < 0)
        refuse_http(p, &p->to, DENY_MALFORMED, "the request is too large");
    else
        decide_go_on(p->worker, leave(p), &to, &d, buf_bytes(&out), buf_size(&out));
}

// A head that drips in is looked at again when it may be whole, or has doubled: whatever is sent,
// and however it is cut, the looks cost no more than a few times its size.
static bool
is_worth_a_look(struct proxy *p, size_t fresh)
{
    static const char blank[] = "\r\n\r\n";
    enum { BLANK = sizeof blank - 1, FIRST_LOOKS = 512 };
    size_t size = buf_size(&p->in);
    size_t tail = fresh + BLANK - 1 < size ? fresh + BLANK - 1 : size;
    if (size < p->needed && memmem(buf_bytes(&p->in) + size - tail, tail, blank, BLANK) == NULL)
        return false;
    p->needed = size < FIRST_LOOKS ? 0 : 2 * size;
    if (size <= PROXY_HEAD_MAX && p->needed > PROXY_HEAD_MAX)
        p->needed = PROXY_HEAD_MAX + 1; // too large, which is told at once
    return true;
}

static void
consider_http(struct proxy *p)
{
    struct h1_head head;
    struct h1_problem problem;
    size_t head_size;
    size_t size = buf_size(&p->in);
    switch (h1_parse_request(buf_bytes(&p->in), size, &head, &head_size, &problem)) {
    case H1_MORE:
        if (size > PROXY_HEAD_MAX)
            refuse_http(p, &p->to, DENY_MALFORMED, "the request's head is too large");
        return;
    case H1_BAD:
        refuse_http(p, &p->to, DENY_MALFORMED, problem.reason);
        return;
    case H1_OK:
        break;
    }
    if (head_size > PROXY_HEAD_MAX)
        refuse_http(p, &p->to, DENY_MALFORMED, "the request's head is too large");
    else if (h1_span_is(head.method, "CONNECT"))
        take_connect(p, &head, head_size);
    else
        take_url(p, &head, head_size);
}

// --- SOCKS ---

static void
refuse_socks(struct proxy *p, const struct destination *to, uint8_t code, const char *reason)
{
    uint8_t reply[SOCKS_REPLY_SIZE];
    proxy_write_socks_reply(code, reply);
    deny_with(p->worker, leave(p), to, reason, reply, sizeof reply);
}

static void
take_socks_request(struct proxy *p)
{
    struct proxy_socks_request r;
    struct destination to;
    uint8_t grant[SOCKS_REPLY_SIZE];
    switch (proxy_parse_socks_request(buf_bytes(&p->in), buf_size(&p->in), &r)) {
    case PROXY_MORE:
        return;
    case PROXY_BAD:
        deny_start(p->worker, leave(p), &p->to, DENY_POLICY, "not SOCKS 5", NULL, 0);
        return;
    case PROXY_OK:
        break;
    }
    if (r.reply != SOCKS_GRANTED) {
        refuse_socks(p, &p->to, r.reply, r.reason);
        return;
    }
    struct policy_decision d = judge(p, &r.target, &to);
    if (!d.allowed) {
        refuse_socks(p, &to, SOCKS_NOT_ALLOWED, d.reason);
        return;
    }
    proxy_write_socks_reply(SOCKS_GRANTED, grant);
    open_tunnel(p, &to, &d, grant, sizeof grant, r.size);
}

static void
consider_socks(struct proxy *p)
{
    static const uint8_t plain[] = {SOCKS_VERSION, SOCKS_METHOD_NONE};
    static const uint8_t none[] = {SOCKS_VERSION, SOCKS_METHOD_REFUSED};
    size_t used;
    bool is_plain;
    if (p->greeted) {
        take_socks_request(p);
        return;
    }
    switch (proxy_parse_socks_greeting(buf_bytes(&p->in), buf_size(&p->in), &used, &is_plain)) {
    case PROXY_MORE:
        return;
    case PROXY_BAD:
        deny_start(p->worker, leave(p), &p->to, DENY_POLICY, "not SOCKS 5", NULL, 0);
        return;
    case PROXY_OK:
        break;
    }
    if (!is_plain) {
        deny_with(p->worker, leave(p), &p->to, "SOCKS without authentication is not offered", none,
                  sizeof none);
        return;
    }
    p->greeted = true;
    buf_consume(&p->in, used);
    (void)stream_write(p->client, plain, sizeof plain);
    take_socks_request(p);
}

// --- both ---

static void
on_data(void *user, const uint8_t *data, size_t size)
{
    struct proxy *p = user;
    if (buf_append(&p->in, data, size) < 0)
        deny_start(p->worker, leave(p), &p->to, DENY_POLICY, "the request is too large", NULL, 0);
    else if (p->to.port == PROXY_PORT_SOCKS)
        consider_socks(p);
    else if (is_worth_a_look(p, size))
        consider_http(p);
}

static void
on_end(void *user)
{
    struct proxy *p = user;
    deny_start(p->worker, leave(p), &p->to, DENY_POLICY, "it ended before its request did", NULL,
               0);
}

static void
on_close(void *user, const struct error *why)
{
    struct proxy *p = user;
    (void)why;
    p->client = NULL;
    p->worker->connections--;
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

static const struct stream_events proxy_events = {
    .on_data = on_data, .on_end = on_end, .on_close = on_close};

static void
on_timeout(uv_timer_t *timer)
{
    struct proxy *p = timer->data;
    deny_start(p->worker, leave(p), &p->to, DENY_POLICY, "no whole request in time", NULL, 0);
}

bool
proxy_serves(uint16_t port)
{
    return port == PROXY_PORT_HTTP || port == PROXY_PORT_SOCKS;
}

void
proxy_start(struct worker *w, struct stream *client, const struct destination *to)
{
    struct proxy *p = xcalloc(1, sizeof *p);
    p->worker = w;
    p->client = client;
    p->to = *to;
    buf_init(&p->in, PROXY_HEAD_MAX + READ_MAX);
    (void)uv_timer_init(w->loop, &p->timer);
    p->timer.data = p;
    (void)uv_timer_start(&p->timer, on_timeout, PROXY_PATIENCE_MS, 0);
    stream_set_user(client, &proxy_events, p);
    stream_read_start(client);
}
