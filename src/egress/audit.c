// SPDX-License-Identifier: Apache-2.0
// Events are lines in one buffer, sent as one datagram before the loop waits again or when the next
// line may not fit; nothing here waits for the reader. A datagram that is not taken stays, and no
// event is accepted until it is: what cannot be audited must not happen.
//
// Above AUDIT_RATE a second those of one kind are counted instead, for each secret alone, and the
// next one of that kind and secret carries the count (at the latest one of its own, TELL_MS later),
// so a flood in the sandbox costs its reader little and still shows: one line and what it counts is
// always the truth about a secret. The kinds do not share the rate: a flood of refusals hides no
// swap.
#include "egress/audit.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json-text.h"
#include "base/mem.h"
#include "base/ratelimit.h"
#include "policy/address.h"
#include "wire/events.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

enum {
    AUDIT_RATE = 50, // of each kind
    TELL_MS = 1000,
    RETRY_MS = 50, // a sink that was full is tried again
    TAIL = 128,    // for what follows the fields of a line
    TIME_SIZE = sizeof "2026-01-02T03:04:05" - 1,
    NO_SECRET = 0, // slot of what concerns no secret; secret i has i + 1
    SLOTS = POLICY_SECRETS_MAX + 1,
};

struct audit {
    struct worker *worker;
    int fd;
    bool failed; // the sink is gone
    bool stuck;  // it has not taken what is in lines
    uv_prepare_t turn;
    uv_timer_t retry;
    uv_timer_t tell;  // runs while events are counted that no other has told of
    struct buf lines; // accepted, a newline between each two
    unsigned count;   // of them
    time_t second;    // that time_text stands for
    char time_text[TIME_SIZE + 1];
    struct ratelimit rate[AUDIT_EVENT_MAX];
    uint64_t dropped;                            // by the policy's will, since the last line
    uint64_t suppressed[AUDIT_EVENT_MAX][SLOTS]; // since the last line of that kind and secret
};

static const char *const event_names[] = {
    [AUDIT_CONN_ALLOW] = "conn_allow",
    [AUDIT_CONN_DENY] = "conn_deny",
    [AUDIT_DNS_DENY] = "dns_deny",
    [AUDIT_PASSTHROUGH] = "passthrough",
    [AUDIT_INTERCEPT] = "intercept",
    [AUDIT_REQUEST] = "request",
    [AUDIT_SWAP] = "swap",
    [AUDIT_REDACT] = "redact",
    [AUDIT_MISUSE] = "misuse",
    [AUDIT_PLACEHOLDER_SEEN] = "placeholder_seen",
    [AUDIT_UPSTREAM_TLS_ERROR] = "upstream_tls_error",
    [AUDIT_POLICY] = "policy",
    [AUDIT_LIMIT] = "limit",
};
static_assert(ARRAY_SIZE(event_names) == AUDIT_EVENT_MAX, "a name for every event");

// --- the sink ---

static int
send_event(struct audit *a, enum event_type type, const void *data, size_t size)
{
    uint8_t byte = (uint8_t)type;
    struct iovec parts[] = {{.iov_base = &byte, .iov_len = 1},
                            {.iov_base = (void *)(uintptr_t)data, .iov_len = size}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts)};
    ssize_t n;
    do
        n = sendmsg(a->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static void on_retry(uv_timer_t *timer);

static int
flush(struct audit *a)
{
    (void)uv_prepare_stop(&a->turn);
    if (a->failed || buf_size(&a->lines) == 0)
        return a->failed ? -1 : 0;
    int r = send_event(a, EVENT_AUDIT, buf_bytes(&a->lines), buf_size(&a->lines));
    // The end of the socket is for good; a full one may be read again.
    if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN)
        a->failed = true;
    a->stuck = r < 0;
    if (r < 0) {
        if (!a->failed && !uv_is_active((uv_handle_t *)&a->retry))
            (void)uv_timer_start(&a->retry, on_retry, RETRY_MS, RETRY_MS);
        return -1;
    }
    buf_clear(&a->lines);
    a->count = 0;
    return 0;
}

static void
on_retry(uv_timer_t *timer)
{
    struct audit *a = timer->data;
    if (flush(a) == 0 || a->failed)
        (void)uv_timer_stop(timer);
}

static void
on_turn(uv_prepare_t *turn)
{
    (void)flush(turn->data);
}

// Room for one more line. -1: the sink does not take what is there.
static int
make_room(struct audit *a)
{
    if (a->stuck || a->failed || a->count == EVENT_LINES_MAX ||
        buf_size(&a->lines) + 1 + EVENT_AUDIT_MAX > EVENT_MAX - 1)
        return flush(a);
    return 0;
}

// --- counting instead of telling ---

static void
on_tell(uv_timer_t *timer)
{
    struct audit *a = timer->data;
    bool more = false;
    for (size_t i = 0; i < AUDIT_EVENT_MAX; i++) {
        for (size_t slot = 0; slot < SLOTS; slot++) {
            uint64_t count = a->suppressed[i][slot];
            if (count == 0)
                continue;
            const char *secret =
                slot == NO_SECRET ? NULL : policy_secret_name(a->worker->policy, slot - 1);
            a->suppressed[i][slot] = count - 1; // the line is one of them
            if (audit_emit(a, (enum audit_event)i, NULL, "secret", secret, "reason",
                           "too many to tell of each", NULL) < 0)
                a->suppressed[i][slot] = count;
            more |= a->suppressed[i][slot] > 0;
        }
    }
    if (!more || a->failed)
        (void)uv_timer_stop(timer);
}

static void
suppress(struct audit *a, enum audit_event event, size_t slot)
{
    a->suppressed[event][slot]++;
    if (!uv_is_active((uv_handle_t *)&a->tell))
        (void)uv_timer_start(&a->tell, on_tell, TELL_MS, TELL_MS);
}

// Of the secret that the fields name.
static size_t
slot_of(const struct audit *a, va_list fields)
{
    const char *name;
    while ((name = va_arg(fields, const char *)) != NULL) {
        const char *text = va_arg(fields, const char *);
        if (text == NULL || strcmp(name, "secret") != 0)
            continue;
        size_t count = policy_secret_count(a->worker->policy);
        for (size_t i = 0; i < count; i++)
            if (strcmp(policy_secret_name(a->worker->policy, i), text) == 0)
                return i + 1;
    }
    return NO_SECRET;
}

// --- one line ---

static int
put(struct buf *out, const char *text, size_t size)
{
    return buf_append(out, text, size);
}

static int
put_number(struct buf *out, uint64_t n)
{
    struct audit_number digits;
    const char *text = audit_number(&digits, n);
    return put(out, text, strlen(text));
}

static int
put_name(struct buf *out, const char *name)
{
    if (put(out, ",\"", 2) < 0 || put(out, name, strlen(name)) < 0)
        return -1;
    return put(out, "\":", 2);
}

static int
put_member(struct buf *out, const char *name, const char *text, size_t size)
{
    return put_name(out, name) < 0 ? -1 : json_text_string(out, text, size);
}

static int
put_count(struct buf *out, const char *name, uint64_t n)
{
    return put_name(out, name) < 0 ? -1 : put_number(out, n);
}

static int
put_time(struct audit *a)
{
    int64_t now = clock_wall_ms();
    time_t second = (time_t)(now / 1000);
    int ms = (int)(now % 1000);
    struct tm t;
    if (second != a->second &&
        (gmtime_r(&second, &t) == NULL ||
         strftime(a->time_text, sizeof a->time_text, "%FT%T", &t) != TIME_SIZE))
        return -1;
    a->second = second;
    const char fraction[] = {
        '.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', '"'};
    if (put(&a->lines, "{\"ts\":\"", 7) < 0 || put(&a->lines, a->time_text, TIME_SIZE) < 0)
        return -1;
    return put(&a->lines, fraction, sizeof fraction);
}

static int
put_destination(struct buf *out, const struct destination *to)
{
    if (to == NULL)
        return 0;
    if (put_count(out, "conn", to->conn) < 0 || put_count(out, "port", to->port) < 0)
        return -1;
    if (to->name_size > 0 && put_member(out, "name", to->name, to->name_size) < 0)
        return -1;
    struct in6_addr addr;
    in_port_t port;
    char text[ADDRESS_TEXT_MAX];
    if (to->addr.ss_family != AF_UNSPEC &&
        address_from_sockaddr((const struct sockaddr *)&to->addr, &addr, &port)) {
        address_format(&addr, text);
        if (put_member(out, "ip", text, strlen(text)) < 0)
            return -1;
    }
    return to->rule == NULL ? 0 : put_member(out, "rule", to->rule, strlen(to->rule));
}

// A field that does not fit is left out, and its absence told.
static int
put_fields(struct buf *out, size_t start, va_list fields)
{
    bool cut = false;
    const char *name;
    while ((name = va_arg(fields, const char *)) != NULL) {
        const char *text = va_arg(fields, const char *);
        if (text == NULL)
            continue;
        size_t before = out->tail;
        if (put_member(out, name, text, strlen(text)) < 0 ||
            out->tail - start > EVENT_AUDIT_MAX - TAIL) {
            out->tail = before;
            cut = true;
        }
    }
    return cut ? put(out, ",\"cut\":true", 11) : 0;
}

// One line at the end of the buffer.
static int
put_line(struct audit *a, enum audit_event event, size_t slot, const struct destination *to,
         va_list fields)
{
    struct buf *out = &a->lines;
    if (a->count > 0 && put(out, "\n", 1) < 0)
        return -1;
    size_t start = out->tail;
    const char *name = event_names[event];
    if (put_time(a) < 0 || put_member(out, "ev", name, strlen(name)) < 0 ||
        put_destination(out, to) < 0 || put_fields(out, start, fields) < 0)
        return -1;
    uint64_t suppressed = a->suppressed[event][slot];
    if (suppressed > 0 && put_count(out, "suppressed", suppressed) < 0)
        return -1;
    if (a->dropped > 0 && put_count(out, "dropped", a->dropped) < 0)
        return -1;
    return put(out, "}", 1);
}

static int
accept_line(struct audit *a, enum audit_event event, size_t slot, const struct destination *to,
            va_list fields)
{
    if (make_room(a) < 0)
        return -1;
    size_t before = a->lines.tail;
    if (put_line(a, event, slot, to, fields) < 0) {
        a->lines.tail = before;
        return -1;
    }
    a->count++;
    a->suppressed[event][slot] = 0;
    a->dropped = 0;
    (void)uv_prepare_start(&a->turn, on_turn);
    return 0;
}

int
audit_emit(struct audit *a, enum audit_event event, const struct destination *to, ...)
{
    va_list fields;
    va_start(fields, to);
    size_t slot = slot_of(a, fields);
    va_end(fields);
    if (!a->failed && !a->stuck && !ratelimit_take(&a->rate[event], clock_monotonic_ms())) {
        suppress(a, event, slot);
        return 0;
    }
    va_start(fields, to);
    int r = accept_line(a, event, slot, to, fields);
    va_end(fields);
    if (r == 0 || !policy_settings(a->worker->policy)->drop_audit)
        return r;
    a->dropped++;
    return 0;
}

// --- life ---

int
audit_new(struct worker *w, int events_fd, struct audit **ret, struct error *err)
{
    int type;
    socklen_t size = sizeof type;
    if (getsockopt(events_fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return error_set_errno(err, errno, "event socket");
    if (type != SOCK_SEQPACKET)
        return error_set(err, ERR_INTERNAL, "event socket: not SOCK_SEQPACKET");
    struct audit *a = xcalloc(1, sizeof *a);
    a->worker = w;
    a->fd = events_fd;
    buf_init(&a->lines, EVENT_MAX - 1);
    (void)uv_prepare_init(w->loop, &a->turn);
    (void)uv_timer_init(w->loop, &a->retry);
    (void)uv_timer_init(w->loop, &a->tell);
    a->turn.data = a->retry.data = a->tell.data = a;
    for (size_t i = 0; i < AUDIT_EVENT_MAX; i++)
        ratelimit_init(&a->rate[i], AUDIT_RATE, AUDIT_RATE, clock_monotonic_ms());
    *ret = a;
    return 0;
}

int
audit_ready(struct audit *a, const char *ca_pem, size_t size, struct error *err)
{
    if (size > EVENT_CA_MAX)
        return error_set(err, ERR_TOO_LARGE, "certificate of the sandbox's authority");
    int r = send_event(a, EVENT_READY, ca_pem, size);
    return r < 0 ? error_set_errno(err, -r, "tell that the worker is ready") : 0;
}
