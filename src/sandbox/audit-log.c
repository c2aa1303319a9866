// SPDX-License-Identifier: Apache-2.0
// Events of the egress workers: the CA of a new sandbox, and the audit trail, appended to one file
// as one JSON object a line. The sandbox's id is put behind what the worker wrote: of two members
// of one name JSON readers keep the last, so a worker that was taken over cannot speak for another
// sandbox. When the file does not take a line,
// reading stops, the worker's socket fills up, and the worker refuses new connections: nothing goes
// unaudited.
#include "sandbox/sandbox-internal.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/events.h"
#include "wire/json-scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

// Events taken at one go, so that one worker cannot hold the loop.
enum { AUDIT_BURST = 64 };

int
audit_log_open(struct manager *m, struct error *err)
{
    m->audit_fd =
        open(m->options.audit_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (m->audit_fd < 0)
        return error_set_errno(err, errno, "open the audit file %s", m->options.audit_file);
    return 0;
}

// One JSON object on one line, not empty: "{" and at least one member, and "}" as the last byte.
static bool
is_event(const uint8_t *text, size_t size)
{
    struct json_scan scan;
    json_scan_init(&scan);
    return size > 2 && size <= EVENT_AUDIT_MAX && text[0] == '{' && text[1] == '"' &&
           text[size - 1] == '}' && memchr(text, '\n', size) == NULL &&
           memchr(text, '\r', size) == NULL && json_scan_feed(&scan, text, size) &&
           json_scan_complete(&scan);
}

static int
write_event(struct sandbox *s, const uint8_t *text, size_t size)
{
    cleanup_buf struct buf line;
    buf_init(&line, EVENT_AUDIT_MAX + 64);
    (void)buf_append(&line, text, size - 1);
    (void)buf_append_fmt(&line, ",\"sandbox\":\"%s\"}\n", s->id);
    int r = fd_write_all(s->manager->audit_fd, buf_bytes(&line), buf_size(&line));
    if (r < 0) {
        log_error("audit file does not take a line: new connections are refused", "sandbox", s->id,
                  "reason", strerror(-r));
        (void)uv_poll_stop(s->events_poll);
    }
    return r;
}

static void
take_event(struct sandbox *s, const uint8_t *event, size_t size)
{
    enum event_type type = (enum event_type)event[0];
    if (type == EVENT_READY && size - 1 <= EVENT_CA_MAX && buf_size(&s->ca) == 0 && size > 1) {
        (void)buf_append(&s->ca, event + 1, size - 1);
        sandbox_maybe_running(s);
    } else if (type == EVENT_AUDIT && is_event(event + 1, size - 1)) {
        (void)write_event(s, event + 1, size - 1);
        denials_tell(s, event + 1, size - 1);
        secret_counts_take(s, event + 1, size - 1);
    } else {
        sandbox_fault(s, "the egress worker sent a malformed event");
    }
}

static void
on_events(uv_poll_t *poll, int status, int events)
{
    struct sandbox *s = poll->data;
    uint8_t event[EVENT_MAX];
    (void)status;
    (void)events;
    for (int i = 0; i < AUDIT_BURST && s->events_poll == poll && uv_is_active((uv_handle_t *)poll);
         i++) {
        ssize_t n = recv(s->events, event, sizeof event, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) { // the worker is gone; the launcher tells, too
            (void)uv_poll_stop(poll);
            return;
        }
        take_event(s, event, (size_t)n);
    }
}

int
audit_log_follow(struct sandbox *s, int events_fd, struct error *err)
{
    s->events = events_fd;
    denials_init(s);
    s->events_poll = xcalloc(1, sizeof *s->events_poll);
    int r = uv_poll_init(s->manager->loop, s->events_poll, events_fd);
    if (r < 0) {
        free(TAKE_PTR(s->events_poll));
        return error_set_errno(err, -r, "follow the egress worker");
    }
    s->events_poll->data = s;
    (void)uv_poll_start(s->events_poll, UV_READABLE, on_events);
    return 0;
}

void
audit_log_resume(struct sandbox *s)
{
    if (s->events_poll != NULL && !uv_is_active((uv_handle_t *)s->events_poll))
        (void)uv_poll_start(s->events_poll, UV_READABLE, on_events);
}

static void
free_handle(uv_handle_t *handle)
{
    free(handle);
}

void
audit_log_unfollow(struct sandbox *s)
{
    if (s->events_poll != NULL) {
        (void)uv_poll_stop(s->events_poll);
        uv_close((uv_handle_t *)TAKE_PTR(s->events_poll), free_handle);
    }
    secret_counts_free(s);
    if (s->events >= 0)
        (void)close(TAKE_FD(s->events));
}
