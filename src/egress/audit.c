// SPDX-License-Identifier: Apache-2.0
// Events leave as datagrams, never waiting for the reader. Above AUDIT_RATE a second those of one
// kind are counted instead, and the next one of that kind carries the count (at the latest one of
// its own, TELL_MS later), so a flood in the sandbox costs its reader little and still shows. The
// kinds do not share the rate: a flood of refusals hides no swap. A socket that takes no more is a
// failure: what cannot be audited must not happen.
#include "egress/audit.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json-text.h"
#include "base/mem.h"
#include "egress/address.h"
#include "egress/ratelimit.h"
#include "wire/events.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

enum {
    AUDIT_RATE = 50, // of each kind
    TELL_MS = 1000,
};

struct audit {
    int fd;
    uv_timer_t tell; // runs while events are counted that no other has told of
    bool failed;
    struct ratelimit rate[AUDIT_EVENT_MAX];
    uint64_t suppressed[AUDIT_EVENT_MAX]; // since the last event of that kind was sent
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
    [AUDIT_UPSTREAM_TLS_ERROR] = "upstream_tls_error",
    [AUDIT_LIMIT] = "limit",
};
static_assert(ARRAY_SIZE(event_names) == AUDIT_EVENT_MAX, "a name for every event");

static void
on_tell(uv_timer_t *timer)
{
    struct audit *a = timer->data;
    bool more = false;
    for (size_t i = 0; i < AUDIT_EVENT_MAX; i++) {
        uint64_t count = a->suppressed[i];
        if (count == 0)
            continue;
        (void)audit_emit(a, (enum audit_event)i, NULL, "reason", "too many to tell of each", NULL);
        if (a->suppressed[i] > 0) {
            a->suppressed[i] = count; // it was not sent, and is none of them
            more = true;
        }
    }
    if (!more || a->failed)
        (void)uv_timer_stop(timer);
}

static void
suppress(struct audit *a, enum audit_event event)
{
    a->suppressed[event]++;
    if (!uv_is_active((uv_handle_t *)&a->tell))
        (void)uv_timer_start(&a->tell, on_tell, TELL_MS, TELL_MS);
}

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
    a->fd = events_fd;
    (void)uv_timer_init(w->loop, &a->tell);
    a->tell.data = a;
    for (size_t i = 0; i < AUDIT_EVENT_MAX; i++)
        ratelimit_init(&a->rate[i], AUDIT_RATE, AUDIT_RATE, clock_monotonic_ms());
    *ret = a;
    return 0;
}

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

int
audit_ready(struct audit *a, const char *ca_pem, size_t size, struct error *err)
{
    if (size > EVENT_CA_MAX)
        return error_set(err, ERR_TOO_LARGE, "certificate of the sandbox's authority");
    int r = send_event(a, EVENT_READY, ca_pem, size);
    return r < 0 ? error_set_errno(err, -r, "tell that the worker is ready") : 0;
}

static int
put_member(struct buf *out, const char *name, const char *text, size_t size)
{
    if (buf_append_fmt(out, ",\"%s\":", name) < 0)
        return -1;
    return json_text_string(out, text, size);
}

static int
put_time(struct buf *out)
{
    int64_t now = clock_wall_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm t;
    char text[sizeof "2026-01-02T03:04:05"];
    if (gmtime_r(&seconds, &t) == NULL || strftime(text, sizeof text, "%FT%T", &t) == 0)
        return -1;
    return buf_append_fmt(out, "{\"ts\":\"%s.%03dZ\"", text, (int)(now % 1000));
}

static int
put_destination(struct buf *out, const struct destination *to)
{
    if (to == NULL)
        return 0;
    if (buf_append_fmt(out, ",\"conn\":%" PRIu64 ",\"port\":%u", to->conn, (unsigned)to->port) < 0)
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
put_fields(struct buf *out, va_list fields)
{
    enum { TAIL = 64 }; // for what follows the fields
    bool cut = false;
    const char *name;
    while ((name = va_arg(fields, const char *)) != NULL) {
        const char *text = va_arg(fields, const char *);
        if (text == NULL)
            continue;
        size_t before = out->tail;
        if (put_member(out, name, text, strlen(text)) < 0 ||
            buf_size(out) > EVENT_AUDIT_MAX - TAIL) {
            out->tail = before;
            cut = true;
        }
    }
    return cut ? buf_append_str(out, ",\"cut\":true") : 0;
}

int
audit_emit(struct audit *a, enum audit_event event, const struct destination *to, ...)
{
    if (a->failed)
        return -1;
    if (!ratelimit_take(&a->rate[event], clock_monotonic_ms())) {
        suppress(a, event);
        return 0;
    }
    cleanup_buf struct buf out;
    buf_init(&out, EVENT_AUDIT_MAX);
    int r = put_time(&out);
    if (r == 0)
        r = buf_append_fmt(&out, ",\"ev\":\"%s\"", event_names[event]);
    if (r == 0)
        r = put_destination(&out, to);
    va_list fields;
    va_start(fields, to);
    if (r == 0)
        r = put_fields(&out, fields);
    va_end(fields);
    if (r == 0 && a->suppressed[event] > 0)
        r = buf_append_fmt(&out, ",\"suppressed\":%" PRIu64, a->suppressed[event]);
    if (r < 0 || buf_append_str(&out, "}") < 0)
        return -1;
    r = send_event(a, EVENT_AUDIT, buf_bytes(&out), buf_size(&out));
    // The end of the socket is for good; a full one may be read again.
    if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN)
        a->failed = true;
    if (r < 0)
        return -1;
    a->suppressed[event] = 0;
    return 0;
}
