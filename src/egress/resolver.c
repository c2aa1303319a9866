// SPDX-License-Identifier: Apache-2.0
// Questions in, answers out. The parser takes exactly what stub resolvers send: one question of
// class IN without compression, and at most one OPT record (RFC 6891); anything else gets an error
// code.
#include "egress/resolver.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/ratelimit.h"
#include "egress/audit.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum {
    HEADER_SIZE = 12,
    NAME_WIRE_MAX = 255,
    TYPE_A = 1,
    TYPE_AAAA = 28,
    TYPE_OPT = 41,
    CLASS_IN = 1,
    FLAG_RESPONSE = 0x8000,
    FLAG_RECURSION_DESIRED = 0x0100,
    FLAG_RECURSION_AVAILABLE = 0x0080,
    OPCODE_SHIFT = 11,
    OPCODE_MASK = 15,
    RCODE_OK = 0,
    RCODE_FORMAT = 1,
    RCODE_SERVER = 2,
    RCODE_NOT_IMPLEMENTED = 4,
    RCODE_REFUSED = 5,
    RCODE_BAD_VERSION = 16,
    EDNS_SIZE = 1232,
    OPTION_EDE = 15,        // RFC 8914 2
    EDE_BLOCKED = 15,       // RFC 8914 4.16
    MESSAGES_PER_TURN = 64, // then other events have their turn
};

struct question {
    uint16_t id;
    uint16_t flags;
    size_t end; // of the question section; 0: there is none to repeat
    uint16_t type;
    uint16_t class;
    bool edns;
    uint8_t edns_version;
    char name[NAME_WIRE_MAX + 1]; // labels with dots between, bytes as they stand
    size_t name_size;
};

static uint16_t
get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static bool
read_name(const uint8_t *data, size_t size, size_t *at, struct question *q)
{
    size_t start = *at;
    for (;;) {
        if (*at >= size || *at - start >= NAME_WIRE_MAX)
            return false;
        size_t length = data[(*at)++];
        if (length == 0)
            return true;
        if (length > HOSTNAME_LABEL_MAX || length > size - *at ||
            *at + length - start >= NAME_WIRE_MAX)
            return false;
        if (q->name_size > 0)
            q->name[q->name_size++] = '.';
        memcpy(q->name + q->name_size, data + *at, length);
        q->name_size += length;
        *at += length;
    }
}

// The additional section: nothing, or one OPT and then the end.
static bool
read_opt(const uint8_t *data, size_t size, size_t at, struct question *q)
{
    enum { OPT_FIXED = 11 };
    if (get16(data + 10) == 0)
        return at == size;
    if (size - at < OPT_FIXED || data[at] != 0 || get16(data + at + 1) != TYPE_OPT)
        return false;
    q->edns = true;
    q->edns_version = data[at + 6];
    return size - at - OPT_FIXED == get16(data + at + 9);
}

// Returns the code to answer with; RCODE_OK: *q is whole. What is known of it by then is in *q.
static int
read_question(const uint8_t *data, size_t size, struct question *q)
{
    q->id = get16(data);
    q->flags = get16(data + 2);
    if ((q->flags >> OPCODE_SHIFT & OPCODE_MASK) != 0)
        return RCODE_NOT_IMPLEMENTED;
    if (get16(data + 4) != 1 || get16(data + 6) != 0 || get16(data + 8) != 0 ||
        get16(data + 10) > 1)
        return RCODE_FORMAT;
    size_t at = HEADER_SIZE;
    if (!read_name(data, size, &at, q) || size - at < 4)
        return RCODE_FORMAT;
    q->type = get16(data + at);
    q->class = get16(data + at + 2);
    at += 4;
    if (!read_opt(data, size, at, q))
        return RCODE_FORMAT;
    q->end = at;
    if (q->edns && q->edns_version != 0)
        return RCODE_BAD_VERSION;
    return q->class == CLASS_IN ? RCODE_OK : RCODE_REFUSED;
}

static void
put(struct resolver_answer *a, const void *data, size_t size)
{
    if (size > sizeof a->data - a->size)
        return; // cannot be: see RESOLVER_ANSWER_MAX
    memcpy(a->data + a->size, data, size);
    a->size += size;
}

static void
put16(struct resolver_answer *a, unsigned v)
{
    uint8_t b[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    put(a, b, sizeof b);
}

static void
put_opt(struct resolver_answer *a, int rcode, const char *reason)
{
    static const uint8_t root = 0;
    put(a, &root, 1);
    put16(a, TYPE_OPT);
    put16(a, EDNS_SIZE);
    put16(a, (unsigned)rcode >> 4 << 8);
    put16(a, 0);
    if (reason == NULL) {
        put16(a, 0);
        return;
    }
    size_t text = strlen(reason);
    put16(a, (unsigned)(6 + text));
    put16(a, OPTION_EDE);
    put16(a, (unsigned)(2 + text));
    put16(a, EDE_BLOCKED);
    put(a, reason, text);
}

static void
put_answer(struct resolver_answer *a, const uint8_t *query, const struct question *q, int rcode,
           const void *address, size_t address_size)
{
    a->size = 0;
    put16(a, q->id);
    put16(a, FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | (q->flags & FLAG_RECURSION_DESIRED) |
                 ((unsigned)q->flags & OPCODE_MASK << OPCODE_SHIFT) | ((unsigned)rcode & 15));
    put16(a, q->end > 0);
    put16(a, address != NULL);
    put16(a, 0);
    put16(a, q->edns);
    if (q->end > 0)
        put(a, query + HEADER_SIZE, q->end - HEADER_SIZE);
    if (address != NULL) {
        put16(a, 0xc000 | HEADER_SIZE); // the name: that of the question
        put16(a, q->type);
        put16(a, CLASS_IN);
        put16(a, 0);
        put16(a, NAMES_TTL_S);
        put16(a, (unsigned)address_size);
        put(a, address, address_size);
    }
    if (q->edns)
        put_opt(a, rcode, a->reason);
}

static void
show_name(const struct question *q, char out[HOSTNAME_MAX + 1])
{
    size_t n = q->name_size < HOSTNAME_MAX ? q->name_size : HOSTNAME_MAX;
    for (size_t i = 0; i < n; i++)
        out[i] = q->name[i] > ' ' && q->name[i] < 0x7f ? q->name[i] : '?';
    out[n] = '\0';
}

enum resolver_verdict
resolver_reply(struct names *names, const uint8_t *query, size_t size, int64_t now_ms,
               struct resolver_answer *ret)
{
    struct question q = {0};
    ret->reason = NULL;
    ret->shown[0] = '\0';
    if (size < HEADER_SIZE || (get16(query + 2) & FLAG_RESPONSE) != 0)
        return RESOLVER_DROP;
    int rcode = read_question(query, size, &q);
    if (rcode != RCODE_OK) {
        put_answer(ret, query, &q, rcode, NULL, 0);
        return RESOLVER_ANSWERED;
    }
    char name[HOSTNAME_MAX + 1];
    size_t name_size = 0;
    bool addresses = q.type == TYPE_A || q.type == TYPE_AAAA;
    if (names_holds_placeholder(q.name, q.name_size)) {
        ret->reason = "the name holds a placeholder of a secret";
    } else if (addresses && hostname_canonical(q.name, q.name_size, name, &name_size) != NULL) {
        ret->reason = "not a host name";
        show_name(&q, ret->shown);
    }
    if (ret->reason != NULL) {
        put_answer(ret, query, &q, RCODE_REFUSED, NULL, 0);
        return RESOLVER_DENIED;
    }
    struct in_addr v4;
    struct in6_addr v6;
    if (!addresses)
        put_answer(ret, query, &q, RCODE_OK, NULL, 0);
    else if (!names_assign(names, name, name_size, now_ms, &v4, &v6))
        put_answer(ret, query, &q, RCODE_SERVER, NULL, 0);
    else if (q.type == TYPE_A)
        put_answer(ret, query, &q, RCODE_OK, &v4, sizeof v4);
    else
        put_answer(ret, query, &q, RCODE_OK, &v6, sizeof v6);
    return RESOLVER_ANSWERED;
}

struct resolver {
    struct worker *worker;
    int fd;
    uv_poll_t poll;
    struct ratelimit rate;
};

union packet_info {
    struct cmsghdr align;
    char bytes[256];
};

// Leaves in the control data only the address that the question was sent to, as the one to answer
// from.
static void
keep_packet_info(struct msghdr *msg, union packet_info *out)
{
    msg->msg_flags = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_PKTINFO)
            continue;
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(c), sizeof info);
        info.ipi6_ifindex = 0;
        msg->msg_control = out->bytes;
        msg->msg_controllen = CMSG_SPACE(sizeof info);
        struct cmsghdr *to = CMSG_FIRSTHDR(msg);
        to->cmsg_level = IPPROTO_IPV6;
        to->cmsg_type = IPV6_PKTINFO;
        to->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(to), &info, sizeof info);
        return;
    }
    msg->msg_control = NULL;
    msg->msg_controllen = 0;
}

static bool
serve_one(struct resolver *r)
{
    uint8_t query[RESOLVER_QUERY_MAX];
    struct sockaddr_in6 from;
    union packet_info received = {0};
    union packet_info kept = {0};
    struct iovec iov = {.iov_base = query, .iov_len = sizeof query};
    struct msghdr msg = {.msg_name = &from,
                         .msg_namelen = sizeof from,
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = received.bytes,
                         .msg_controllen = sizeof received.bytes};
    ssize_t n = recvmsg(r->fd, &msg, MSG_DONTWAIT);
    if (n < 0)
        return errno == EINTR || errno == ECONNREFUSED;
    int64_t now = clock_monotonic_ms();
    if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        return true;
    if (!ratelimit_take(&r->rate, now)) {
        (void)audit_emit(r->worker->audit, AUDIT_LIMIT, NULL, "reason",
                         "too many DNS questions a second", NULL);
        return true;
    }

    struct resolver_answer answer;
    enum resolver_verdict verdict =
        resolver_reply(r->worker->names, query, (size_t)n, now, &answer);
    if (verdict == RESOLVER_DENIED)
        (void)audit_emit(r->worker->audit, AUDIT_DNS_DENY, NULL, "name",
                         answer.shown[0] != '\0' ? answer.shown : NULL, "reason", answer.reason,
                         NULL);
    if (verdict == RESOLVER_DROP)
        return true;
    keep_packet_info(&msg, &kept);
    iov = (struct iovec){.iov_base = answer.data, .iov_len = answer.size};
    (void)sendmsg(r->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL); // lost as any datagram may be
    return true;
}

static void
on_readable(uv_poll_t *poll, int status, int events)
{
    struct resolver *r = poll->data;
    (void)events;
    if (status < 0)
        return;
    for (int i = 0; i < MESSAGES_PER_TURN && serve_one(r); i++)
        continue;
}

int
resolver_new(struct worker *w, int udp_fd, struct resolver **ret, struct error *err)
{
    struct resolver *r = xcalloc(1, sizeof *r);
    r->worker = w;
    r->fd = udp_fd;
    ratelimit_init(&r->rate, RESOLVER_RATE, RESOLVER_RATE, clock_monotonic_ms());
    int failed = uv_poll_init(w->loop, &r->poll, udp_fd);
    if (failed == 0) {
        r->poll.data = r;
        failed = uv_poll_start(&r->poll, UV_READABLE, on_readable);
    }
    if (failed < 0) {
        free(r);
        return error_set_errno(err, -failed, "watch the resolver's socket");
    }
    *ret = r;
    return 0;
}

static void
on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void
resolver_free(struct resolver *r)
{
    if (r != NULL)
        uv_close((uv_handle_t *)&r->poll, on_closed);
}
