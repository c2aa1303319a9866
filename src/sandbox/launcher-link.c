// SPDX-License-Identifier: Apache-2.0
// Messages with casemate-launcher (wire/launch.h). The launcher is trusted; a message that does not
// fit what a sandbox is in just now is a bug, and is logged.
#include "sandbox/sandbox-internal.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static struct sandbox *
find_any(struct manager *m, const char *id)
{
    for (struct sandbox *s = m->first; s != NULL; s = s->next)
        if (strcmp(s->id, id) == 0)
            return s;
    return NULL;
}

static void
take_created(struct sandbox *s, const struct launch_message *message, int *fds, size_t fd_count)
{
    struct error err;
    if (s->state != SANDBOX_CREATING || fd_count != LAUNCH_USAGE_FDS) {
        launcher_link_destroy(s);
        return;
    }
    s->cpu_format = message->cpu_format;
    for (size_t i = 0; i < LAUNCH_USAGE_FDS; i++)
        s->usage_fds[i] = TAKE_FD(fds[i]);
    usage_sample(s);
    if (guest_open(s, &err) < 0)
        sandbox_fault(s, err.msg);
}

static void
take_worker(struct sandbox *s, int *fds, size_t fd_count)
{
    struct error err;
    if (fd_count != 1 || (s->state != SANDBOX_CREATING && s->state != SANDBOX_RUNNING))
        return;
    audit_log_unfollow(s);
    audit_log_note(s, "worker_restarted", "the egress worker died");
    if (audit_log_follow(s, TAKE_FD(fds[0]), &err) < 0)
        sandbox_fault(s, err.msg);
}

static void
take_ended(struct sandbox *s, const struct launch_message *message)
{
    struct error err;
    if (message->cpu_usec > s->cpu_usec)
        s->cpu_usec = message->cpu_usec;
    if (s->end == SANDBOX_END_NONE) {
        log_warn("sandbox ended by itself", "sandbox", s->id, "reason",
                 launch_reason_name(message->reason), "detail", message->detail);
        sandbox_end(s, SANDBOX_END_FAULT);
    }
    (void)error_set(&err, ERR_INTERNAL, "the sandbox ended while it was made: %s %s",
                    launch_reason_name(message->reason), message->detail);
    sandbox_gone(s, &err);
}

static void
take_message(struct manager *m, const struct launch_message *message, int *fds, size_t fd_count)
{
    struct sandbox *s = message->id[0] != '\0' ? find_any(m, message->id) : NULL;
    if (message->type == LAUNCH_READY) {
        m->launcher_ready = true;
        log_info("launcher is ready", "detail", message->detail);
        if (m->options.on_ready != NULL)
            m->options.on_ready(m->options.user, message->detail);
        return;
    }
    if (s == NULL || s->state == SANDBOX_STOPPED) {
        log_error("launcher told of an unknown sandbox", "type", launch_type_name(message->type));
        return;
    }
    switch ((unsigned)message->type) {
    case LAUNCH_CREATED:
        take_created(s, message, fds, fd_count);
        break;
    case LAUNCH_WORKER:
        take_worker(s, fds, fd_count);
        break;
    case LAUNCH_FAILED:
        sandbox_gone(s, &message->error);
        break;
    case LAUNCH_ENDED:
        take_ended(s, message);
        break;
    default:
        log_error("launcher sent a message of the wrong kind", "type",
                  launch_type_name(message->type));
    }
}

static void
launcher_gone(struct manager *m, const struct error *why)
{
    (void)uv_poll_stop(&m->launcher_poll);
    m->launcher_ready = false;
    struct error err;
    (void)error_set(&err, ERR_UNAVAILABLE, "the launcher is gone");
    for (struct sandbox *s = m->first, *next; s != NULL; s = next) {
        next = s->next;
        if (s->state == SANDBOX_STOPPED)
            continue;
        sandbox_end(s, SANDBOX_END_FAULT);
        sandbox_gone(s, &err);
    }
    if (m->on_stopped == NULL && m->options.on_launcher_gone != NULL)
        m->options.on_launcher_gone(m->options.user, why);
}

static void
on_launcher(uv_poll_t *poll, int status, int events)
{
    struct manager *m = poll->data;
    // An error of the socket, as when the launcher died with messages of ours unread: libuv has
    // stopped the watch, so nothing would tell of it again.
    bool failed = status < 0;
    (void)events;
    while (failed || uv_is_active((uv_handle_t *)poll)) {
        struct launch_message message;
        struct error err = {0};
        int fds[FD_PASS_MAX];
        size_t fd_count = 0;
        int r = launch_recv(m->launcher, &message, fds, &fd_count, &err);
        if (r < 0 && !failed && (err.sys == EAGAIN || err.sys == EINTR))
            return;
        if (r <= 0) {
            if (r == 0)
                (void)error_set(&err, ERR_UNAVAILABLE, "the launcher closed its socket");
            launcher_gone(m, &err);
            return;
        }
        take_message(m, &message, fds, fd_count);
        for (size_t i = 0; i < fd_count; i++)
            if (fds[i] >= 0)
                (void)close(fds[i]);
    }
}

int
launcher_link_start(struct manager *m, struct error *err)
{
    int r = uv_poll_init(m->loop, &m->launcher_poll, m->launcher);
    if (r < 0)
        return error_set_errno(err, -r, "watch the launcher's socket");
    m->launcher_poll.data = m;
    m->handles++;
    (void)uv_poll_start(&m->launcher_poll, UV_READABLE, on_launcher);
    return 0;
}

static_assert((int)POLICY_ENCODED_MAX <= (int)LAUNCH_POLICY_MAX, "the launcher takes every policy");

// Policy and secrets leave this process here: what is left is wiped.
static int
seal_policy(const struct policy *policy, struct error *err)
{
    cleanup_buf struct buf encoded;
    buf_init_secret(&encoded, POLICY_ENCODED_MAX);
    if (policy_encode(policy, &encoded, err) < 0)
        return -1;
    int fd = fd_memfd_sealed("casemate-policy", buf_bytes(&encoded), buf_size(&encoded));
    return fd >= 0 ? fd : error_set_errno(err, -fd, "seal the policy");
}

int
launcher_link_create(struct sandbox *s, const struct sandbox_spec *spec, struct error *err)
{
    struct manager *m = s->manager;
    int pair[2];
    cleanup_fd int policy = seal_policy(spec->policy, err);
    if (policy < 0)
        return -1;
    int r = fd_socketpair(SOCK_SEQPACKET, pair);
    if (r < 0)
        return error_set_errno(err, -r, "make an event socket");
    cleanup_fd int theirs = pair[1];
    if (audit_log_follow(s, pair[0], err) < 0)
        return -1;
    struct launch_message message = {
        .type = LAUNCH_CREATE,
        .memory_mib = spec->memory_mib,
        .disk_mib = spec->disk_mib,
        .cpu_millis = spec->cpu_millis,
        .pids_max = spec->pids_max,
    };
    memcpy(message.id, s->id, sizeof message.id);
    const int fds[LAUNCH_CREATE_FDS] = {
        [LAUNCH_FD_POLICY] = policy, [LAUNCH_FD_ROOTS] = m->roots_fd, [LAUNCH_FD_EVENTS] = theirs};
    if (launch_send(m->launcher, &message, fds, LAUNCH_CREATE_FDS, err) < 0)
        return -1;
    s->launched = true;
    return 0;
}

void
launcher_link_destroy(struct sandbox *s)
{
    struct launch_message message = {.type = LAUNCH_DESTROY};
    struct error err;
    if (!s->launched || s->destroy_sent)
        return;
    memcpy(message.id, s->id, sizeof message.id);
    s->destroy_sent = launch_send(s->manager->launcher, &message, NULL, 0, &err) == 0;
}
