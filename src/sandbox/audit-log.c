// SPDX-License-Identifier: Apache-2.0
// Events of the egress workers: the CA of a new sandbox, and the audit trail, appended to one file
// as one JSON object a line. The sandbox's id is put behind what the worker wrote: of two members
// of one name JSON readers keep the last, so a worker that was taken over cannot speak for another
// sandbox.
//
// Lines wait in queue; one write at a time, on a thread of libuv's pool, takes all that is there,
// so that a slow disk does not hold the loop. When the queue is full or a write fails, no event
// socket is read: each fills up, its worker accepts no further event and refuses what it would tell
// of. Nothing goes unaudited. A failed write is tried again on the next tick, with the rest of a
// line that was cut where it was cut.
#include "sandbox/sandbox-internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/events.h"
#include "wire/json-scan.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
    // Events taken at one go, so that one worker cannot hold the loop.
    AUDIT_BURST = 64,
    // Lines that wait for the disk: what all sandboxes together may take of casemated's memory.
    AUDIT_QUEUE_MAX = 4 * 1024 * 1024,
    // Lines of one sandbox between two ticks: more than its worker tells when all its kinds of
    // events come as fast as it lets them (egress/audit.c). What a worker that was taken over may
    // take of the disk, and of the others' turns at it.
    AUDIT_LINES_TICK = 2048,
    AUDIT_SUFFIX_MAX = 64, // behind each line
    // What one datagram may become.
    AUDIT_DATAGRAM_MAX = EVENT_MAX + EVENT_LINES_MAX * AUDIT_SUFFIX_MAX,
};

struct audit_log {
    struct manager *manager; // NULL once closed while a write was under way
    int folder;              // of the file: its parents may be closed to the service's user
    int fd;
    bool writing;
    bool failing;   // told in the log once
    bool reopening; // before the next batch, so that no line is cut
    struct buf queue;
    struct buf batch; // being written
    uv_fs_t request;
};

int
audit_log_open(struct manager *m, struct error *err)
{
    cleanup_free char *folder_name = xstrdup(m->options.audit_file);
    cleanup_fd int folder = open(dirname(folder_name), O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_fd int fd =
        open(m->options.audit_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (folder < 0 || fd < 0)
        return error_set_errno(err, errno, "open the audit file %s", m->options.audit_file);
    struct audit_log *log = xcalloc(1, sizeof *log);
    log->manager = m;
    log->folder = TAKE_FD(folder);
    log->fd = TAKE_FD(fd);
    log->request.data = log;
    buf_init(&log->queue, AUDIT_QUEUE_MAX);
    buf_init(&log->batch, AUDIT_QUEUE_MAX);
    m->audit = log;
    return 0;
}

// --- to the file ---

static void
tell_failing(struct audit_log *log, int r)
{
    if (!log->failing)
        log_error("audit file takes no line: new connections will be refused", "reason",
                  strerror(-r));
    log->failing = true;
}

static void start_write(struct audit_log *log);

// The last try: what does not go now is lost.
static void
write_rest(const struct audit_log *log, struct buf *rest)
{
    int r = fd_write_all(log->fd, buf_bytes(rest), buf_size(rest));
    if (r < 0)
        log_error("audit lines are lost", "reason", strerror(-r));
    buf_done(rest);
}

static void
finish(struct audit_log *log)
{
    write_rest(log, &log->batch);
    write_rest(log, &log->queue);
    (void)close(log->fd);
    (void)close(log->folder);
    free(log);
}

static void
take_result(struct audit_log *log, ssize_t n)
{
    if (n <= 0) {
        tell_failing(log, n < 0 ? (int)n : -ENOSPC);
        return;
    }
    buf_consume(&log->batch, (size_t)n);
    if (log->failing)
        log_info("audit file takes lines again");
    log->failing = false;
}

static void
on_written(uv_fs_t *request)
{
    struct audit_log *log = request->data;
    ssize_t n = request->result;
    uv_fs_req_cleanup(request);
    log->writing = false;
    take_result(log, n);
    if (log->manager == NULL) {
        finish(log);
        return;
    }
    if (!log->failing) {
        start_write(log);
        for (struct sandbox *s = log->manager->first; s != NULL; s = s->next)
            audit_log_resume(s);
    }
    manager_check_stopped(log->manager);
}

// Without root by now: whoever moved the old file away made this one for the service's user.
static void
reopen(struct audit_log *log)
{
    const char *path = log->manager->options.audit_file;
    struct stat st;
    log->reopening = false;
    cleanup_fd int fd = openat(log->folder, strrchr(path, '/') + 1,
                               O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int r = fd < 0 || fstat(fd, &st) < 0 ? errno : S_ISREG(st.st_mode) ? 0 : EINVAL;
    if (r != 0) {
        log_error("cannot reopen the audit file, the one in use is kept", "file", path, "reason",
                  strerror(r));
        return;
    }
    (void)close(log->fd);
    log->fd = TAKE_FD(fd);
    log_info("audit file reopened");
}

static void
start_write(struct audit_log *log)
{
    if (log->writing)
        return;
    if (log->reopening && buf_size(&log->batch) == 0)
        reopen(log);
    if (buf_size(&log->batch) == 0) {
        struct buf empty = log->batch;
        log->batch = log->queue;
        log->queue = empty;
    }
    if (buf_size(&log->batch) == 0) { // idle: give back what a burst has taken
        buf_done(&log->batch);
        buf_done(&log->queue);
        buf_init(&log->batch, AUDIT_QUEUE_MAX);
        buf_init(&log->queue, AUDIT_QUEUE_MAX);
        return;
    }
    uv_buf_t bytes = uv_buf_init((char *)buf_bytes(&log->batch), (unsigned)buf_size(&log->batch));
    int r = uv_fs_write(log->manager->loop, &log->request, log->fd, &bytes, 1, -1, on_written);
    if (r < 0)
        tell_failing(log, r);
    log->writing = r == 0;
}

static bool
has_room(const struct audit_log *log)
{
    return !log->failing && buf_size(&log->queue) + AUDIT_DATAGRAM_MAX <= AUDIT_QUEUE_MAX;
}

static bool
may_read(const struct sandbox *s)
{
    return has_room(s->manager->audit) && s->event_lines < AUDIT_LINES_TICK;
}

void
manager_reopen_audit(struct manager *m)
{
    if (m->audit == NULL)
        return;
    m->audit->reopening = true;
    start_write(m->audit);
}

bool
audit_log_busy(const struct manager *m)
{
    return m->audit != NULL && m->audit->writing;
}

void
audit_log_close(struct manager *m)
{
    struct audit_log *log = m->audit;
    m->audit = NULL;
    if (log == NULL)
        return;
    log->manager = NULL;
    if (!log->writing)
        finish(log);
}

// --- from the workers ---

// One JSON object on one line, not empty: "{" and at least one member, and "}" as the last byte.
static bool
is_event(const uint8_t *text, size_t size)
{
    struct json_scan scan;
    json_scan_init(&scan);
    return size > 2 && size <= EVENT_AUDIT_MAX && text[0] == '{' && text[1] == '"' &&
           text[size - 1] == '}' && memchr(text, '\r', size) == NULL &&
           json_scan_feed(&scan, text, size) && json_scan_complete(&scan);
}

static int
take_lines(struct sandbox *s, const uint8_t *text, size_t size)
{
    struct buf *queue = &s->manager->audit->queue;
    const uint8_t *end = text + size;
    for (unsigned n = 0; text <= end; n++) {
        const uint8_t *newline = memchr(text, '\n', (size_t)(end - text));
        const uint8_t *stop = newline != NULL ? newline : end;
        if (n == EVENT_LINES_MAX || !is_event(text, (size_t)(stop - text)))
            return -1;
        // There is room: has_room().
        (void)buf_append(queue, text, (size_t)(stop - text) - 1);
        (void)buf_append_fmt(queue, ",\"sandbox\":\"%s\"}\n", s->id);
        denials_tell(s, text, (size_t)(stop - text));
        secret_counts_take(s, text, (size_t)(stop - text));
        s->event_lines++;
        text = stop + 1;
    }
    return 0;
}

void
audit_log_note(struct sandbox *s, const char *event, const char *reason)
{
    struct buf *queue = &s->manager->audit->queue;
    int64_t now = clock_wall_ms();
    time_t second = (time_t)(now / 1000);
    struct tm t;
    char text[sizeof "2026-01-02T03:04:05"];
    if (gmtime_r(&second, &t) == NULL || strftime(text, sizeof text, "%FT%T", &t) == 0)
        return;
    (void)buf_append_fmt(
        queue, "{\"ts\":\"%s.%03dZ\",\"ev\":\"%s\",\"reason\":\"%s\",\"sandbox\":\"%s\"}\n", text,
        (int)(now % 1000), event, reason, s->id);
    start_write(s->manager->audit);
}

// The CA of a worker that stands in for another is the one that the sandbox trusts, or the sandbox
// ends.
static int
take_ready(struct sandbox *s, const uint8_t *pem, size_t size)
{
    cleanup_buf struct buf ca;
    buf_init(&ca, s->ca.cap);
    if (s->worker_ready || size == 0 || size > EVENT_CA_MAX || trust_take_ca(&ca, pem, size) < 0)
        return -1;
    if (buf_size(&s->ca) == 0)
        (void)buf_append(&s->ca, buf_bytes(&ca), buf_size(&ca));
    else if (buf_size(&s->ca) != buf_size(&ca) ||
             memcmp(buf_bytes(&s->ca), buf_bytes(&ca), buf_size(&ca)) != 0)
        return -1;
    s->worker_ready = true;
    sandbox_maybe_running(s);
    return 0;
}

static void
take_event(struct sandbox *s, const uint8_t *event, size_t size)
{
    enum event_type type = (enum event_type)event[0];
    int r = -1;
    if (type == EVENT_READY)
        r = take_ready(s, event + 1, size - 1);
    else if (type == EVENT_AUDIT)
        r = take_lines(s, event + 1, size - 1);
    if (r < 0)
        sandbox_fault(s, "the egress worker sent a malformed event");
}

// 1: took one; 0: there is none now; -1: the end.
static int
receive_event(struct sandbox *s)
{
    uint8_t event[EVENT_MAX];
    ssize_t n = recv(s->events, event, sizeof event, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return -1;
    take_event(s, event, (size_t)n);
    return 1;
}

static void
on_events(uv_poll_t *poll, int status, int events)
{
    struct sandbox *s = poll->data;
    struct audit_log *log = s->manager->audit;
    (void)status;
    (void)events;
    for (int i = 0; i < AUDIT_BURST && s->events_poll == poll; i++) {
        int r = may_read(s) ? receive_event(s) : -1;
        // Not read until there is room; or the worker is gone, which the launcher tells, too.
        if (r < 0 && s->events_poll == poll)
            (void)uv_poll_stop(poll);
        if (r <= 0)
            break;
    }
    start_write(log);
}

int
audit_log_follow(struct sandbox *s, int events_fd, struct error *err)
{
    s->events = events_fd;
    s->worker_ready = false;
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
    if (s->events_poll != NULL && may_read(s) && !uv_is_active((uv_handle_t *)s->events_poll))
        (void)uv_poll_start(s->events_poll, UV_READABLE, on_events);
}

void
audit_log_tick(struct sandbox *s)
{
    s->event_lines = 0;
    audit_log_resume(s);
}

void
audit_log_retry(struct manager *m)
{
    if (m->audit->failing)
        start_write(m->audit);
}

static void
free_handle(uv_handle_t *handle)
{
    free(handle);
}

void
audit_log_unfollow(struct sandbox *s)
{
    struct audit_log *log = s->manager->audit;
    // What the worker has told before its end.
    while (s->events >= 0 && has_room(log) && receive_event(s) > 0)
        ;
    start_write(log);
    if (s->events_poll != NULL) {
        (void)uv_poll_stop(s->events_poll);
        uv_close((uv_handle_t *)TAKE_PTR(s->events_poll), free_handle);
    }
    secret_counts_free(s);
    if (s->events >= 0)
        (void)close(TAKE_FD(s->events));
}
