// SPDX-License-Identifier: Apache-2.0
// The table of sandboxes and the life of each. A sandbox runs when three have reported: the
// launcher (it is built), the worker (it serves, and this is its CA) and the guest (it listens). It
// has ended when the launcher says that nothing of it is left.
#include "sandbox/sandbox-internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/events.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TRUST_MAX = LAUNCH_ROOTS_MAX };

static const char *const end_names[] = {
    [SANDBOX_END_NONE] = "",
    [SANDBOX_END_KILLED] = "killed",
    [SANDBOX_END_TIMEOUT] = "timeout",
    [SANDBOX_END_SESSION] = "session-ended",
    [SANDBOX_END_SHUTDOWN] = "shutdown",
    [SANDBOX_END_FAULT] = "fault",
};
static_assert(sizeof end_names / sizeof *end_names == SANDBOX_END_MAX, "a name for each end");

static const bool legal_moves[SANDBOX_STATE_MAX][SANDBOX_STATE_MAX] = {
    [SANDBOX_CREATING] =
        {[SANDBOX_RUNNING] = true, [SANDBOX_STOPPING] = true, [SANDBOX_STOPPED] = true},
    [SANDBOX_RUNNING] = {[SANDBOX_STOPPING] = true},
    [SANDBOX_STOPPING] = {[SANDBOX_STOPPED] = true},
};

void
sandbox_set_state(struct sandbox *s, enum sandbox_state state)
{
    assert(legal_moves[s->state][state]);
    s->state = state;
}

static void
free_sandbox(struct sandbox *s)
{
    json_decref(s->labels);
    buf_done(&s->env);
    buf_done(&s->ca);
    free(s);
}

// The oldest stopped sandboxes leave the list; one whose client lingers stays a little longer. Only
// from the tick: nobody who walks the list or is told of an end may lose a sandbox underneath.
static void
forget_old(struct manager *m)
{
    size_t seen = 0;
    for (struct sandbox **at = &m->first; *at != NULL;) {
        struct sandbox *s = *at;
        if (s->state == SANDBOX_STOPPED && ++seen > MANAGER_STOPPED_MAX && s->channels == NULL) {
            *at = s->next;
            m->stopped--;
            free_sandbox(s);
        } else {
            at = &s->next;
        }
    }
}

static void
tell_creator(struct sandbox *s, struct sandbox *made, const struct error *err)
{
    if (s->on_created == NULL)
        return;
    void (*tell)(void *, struct sandbox *, const struct error *) = s->on_created;
    s->on_created = NULL;
    tell(s->created_user, made, err);
}

void
manager_check_stopped(struct manager *m)
{
    if (m->running == 0 && m->on_stopped != NULL && !audit_log_busy(m)) {
        void (*tell)(void *) = m->on_stopped;
        m->on_stopped = NULL;
        tell(m->stopped_user);
    }
}

void
sandbox_gone(struct sandbox *s, const struct error *err)
{
    struct manager *m = s->manager;
    if (s->state == SANDBOX_STOPPED)
        return;
    usage_sample(s);
    usage_close(s);
    guest_close(s);
    s->launched = false;
    if (s->end == SANDBOX_END_NONE)
        s->end = SANDBOX_END_FAULT;
    s->stopped_ms = clock_wall_ms();
    sandbox_set_state(s, SANDBOX_STOPPED);
    audit_log_unfollow(s);
    m->running--;
    m->stopped++;
    char cpu[32];
    char memory[32];
    (void)snprintf(cpu, sizeof cpu, "%.3f", (double)s->cpu_usec / 1e6);
    (void)snprintf(memory, sizeof memory, "%.3f", sandbox_usage(s).memory_gib_seconds);
    log_info("sandbox ended", "sandbox", s->id, "reason", end_names[s->end], "cpu_seconds", cpu,
             "memory_gib_seconds", memory);
    tell_creator(s, NULL, err);
    manager_check_stopped(m);
}

void
sandbox_end(struct sandbox *s, enum sandbox_end why)
{
    if (s->state == SANDBOX_STOPPING || s->state == SANDBOX_STOPPED)
        return;
    s->end = why;
    sandbox_set_state(s, SANDBOX_STOPPING);
    channels_end(s, why);
    guest_close(s);
    launcher_link_destroy(s);
}

void
sandbox_fault(struct sandbox *s, const char *what)
{
    if (s->state != SANDBOX_CREATING && s->state != SANDBOX_RUNNING)
        return;
    log_warn("sandbox failed", "sandbox", s->id, "reason", what);
    sandbox_end(s, SANDBOX_END_FAULT);
}

void
sandbox_maybe_running(struct sandbox *s)
{
    if (s->state != SANDBOX_CREATING || !s->guest_hello || buf_size(&s->ca) == 0)
        return;
    guest_set_up(s);
    sandbox_set_state(s, SANDBOX_RUNNING);
    log_info("sandbox runs", "sandbox", s->id);
    tell_creator(s, s, NULL);
}

static void
on_tick(uv_timer_t *timer)
{
    struct manager *m = timer->data;
    int64_t wall = clock_wall_ms();
    int64_t monotonic = clock_monotonic_ms();
    audit_log_retry(m);
    for (struct sandbox *s = m->first, *next; s != NULL; s = next) {
        next = s->next;
        if (s->state == SANDBOX_STOPPED)
            continue;
        usage_sample(s);
        audit_log_tick(s);
        if (s->state == SANDBOX_STOPPING)
            launcher_link_destroy(s);
        else if (s->stop_at_ms > 0 && wall >= s->stop_at_ms)
            sandbox_end(s, SANDBOX_END_TIMEOUT);
        else if (s->state == SANDBOX_CREATING && monotonic >= s->create_deadline_ms)
            sandbox_fault(s, "making it took too long");
        else
            guest_check(s, monotonic);
    }
    forget_old(m);
    // Timed sandboxes end on their second, not on ours.
    int64_t wait = MANAGER_TICK_MS;
    for (struct sandbox *s = m->first; s != NULL; s = s->next)
        if (s->state == SANDBOX_RUNNING && s->stop_at_ms > 0 && s->stop_at_ms - wall < wait)
            wait = s->stop_at_ms > wall ? s->stop_at_ms - wall : 1;
    (void)uv_timer_start(&m->tick, on_tick, (uint64_t)wait, 0);
}

static int
collect_roots(struct manager *m, struct error *err)
{
    const struct manager_options *o = &m->options;
    const char *for_sandboxes[] = {o->image_bundle, o->roots_file, o->egress_ca};
    const char *for_workers[] = {o->roots_file, o->egress_ca};
    cleanup_buf struct buf roots;
    buf_init(&m->trust, TRUST_MAX);
    buf_init(&roots, TRUST_MAX);
    if (trust_collect(&m->trust, for_sandboxes, ARRAY_SIZE(for_sandboxes), err) < 0 ||
        trust_collect(&roots, for_workers, ARRAY_SIZE(for_workers), err) < 0)
        return -1;
    if (buf_size(&roots) == 0)
        return error_set(err, ERR_INVALID_CONFIG,
                         "no certificate in %s: upstreams could not be "
                         "verified; install ca-certificates",
                         o->roots_file);
    m->roots_fd = fd_memfd_sealed("casemate-roots", buf_bytes(&roots), buf_size(&roots));
    if (m->roots_fd < 0)
        return error_set_errno(err, -m->roots_fd, "seal the roots");
    return 0;
}

int
manager_new(uv_loop_t *loop, const struct manager_options *options, struct manager **ret,
            struct error *err)
{
    struct manager *m = xcalloc(1, sizeof *m);
    m->loop = loop;
    m->options = *options;
    m->launcher = options->launcher_socket;
    m->roots_fd = -1;
    (void)snprintf(m->region, sizeof m->region, "%s", options->region);
    // A client may talk to several servers: begin anywhere in the lower half of what JSON can hold.
    ident_random_bytes(&m->next_wire_id, sizeof m->next_wire_id);
    m->next_wire_id = m->next_wire_id >> 13 | 1;
    if (collect_roots(m, err) < 0 || audit_log_open(m, err) < 0 ||
        launcher_link_start(m, err) < 0) {
        manager_free(m);
        return -1;
    }
    (void)uv_timer_init(loop, &m->tick);
    m->tick.data = m;
    m->handles++;
    (void)uv_timer_start(&m->tick, on_tick, MANAGER_TICK_MS, 0);
    *ret = m;
    return 0;
}

void
manager_stop(struct manager *m, void (*done)(void *user), void *user)
{
    m->on_stopped = done;
    m->stopped_user = user;
    for (struct sandbox *s = m->first, *next; s != NULL; s = next) {
        next = s->next;
        sandbox_end(s, SANDBOX_END_SHUTDOWN);
    }
    manager_check_stopped(m);
}

static void
on_handle_closed(uv_handle_t *handle)
{
    struct manager *m = handle->data;
    if (--m->handles == 0)
        free(m);
}

static void
close_handles(struct manager *m)
{
    unsigned open = m->handles;
    if (open == 0)
        free(m);
    if (open > 0)
        uv_close((uv_handle_t *)&m->launcher_poll, on_handle_closed);
    if (open > 1)
        uv_close((uv_handle_t *)&m->tick, on_handle_closed);
}

void
manager_free(struct manager *m)
{
    if (m == NULL)
        return;
    while (m->first != NULL) {
        struct sandbox *s = m->first;
        m->first = s->next;
        free_sandbox(s);
    }
    buf_done(&m->trust);
    if (m->roots_fd >= 0)
        (void)close(m->roots_fd);
    audit_log_close(m);
    if (m->launcher >= 0)
        (void)close(m->launcher);
    close_handles(m);
}

static int
add_environment(struct sandbox *s, const struct sandbox_spec *spec, struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)spec->env, name, value)
    {
        if (guest_add_env(s, name, json_string_value(value), err) < 0)
            return -1;
    }
    for (size_t i = 0; i < policy_secret_count(spec->policy); i++)
        if (guest_add_env(s, policy_secret_name(spec->policy, i),
                          policy_secret_placeholder(spec->policy, i), err) < 0)
            return -1;
    return 0;
}

static int
add_dial_overrides(struct manager *m, struct policy *policy, struct error *err)
{
    const char *const *text = m->options.dial_overrides;
    for (; text != NULL && *text != NULL; text++)
        if (policy_add_dial_override(policy, *text, err) < 0)
            return -1;
    return 0;
}

static int
begin_create(struct sandbox *s, const struct sandbox_spec *spec, struct error *err)
{
    struct manager *m = s->manager;
    if (!m->launcher_ready || m->on_stopped != NULL)
        return error_set(err, ERR_UNAVAILABLE, "the service is not ready to make sandboxes");
    if (m->running > m->options.sandboxes_max)
        return error_set(err, ERR_LIMIT,
                         "%u sandboxes run already, which is the limit: end one first",
                         m->options.sandboxes_max);
    if (add_dial_overrides(m, spec->policy, err) < 0 || add_environment(s, spec, err) < 0)
        return -1;
    return launcher_link_create(s, spec, err);
}

static struct sandbox *
new_sandbox(struct manager *m, const struct sandbox_spec *spec)
{
    struct sandbox *s = xcalloc(1, sizeof *s);
    s->manager = m;
    ident_sandbox(s->id, m->region);
    s->created_ms = clock_wall_ms();
    s->stop_at_ms = spec->stop_at_ms;
    s->create_deadline_ms = clock_monotonic_ms() + SANDBOX_CREATE_TIMEOUT_MS;
    s->labels = spec->labels != NULL ? json_deep_copy(spec->labels) : json_object();
    s->events = -1;
    s->next_channel = 1;
    s->usage_fds[LAUNCH_FD_CPU] = s->usage_fds[LAUNCH_FD_MEMORY] = -1;
    buf_init(&s->ca, EVENT_CA_MAX);
    s->next = m->first;
    m->first = s;
    m->running++;
    return s;
}

void
manager_create(struct manager *m, const struct sandbox_spec *spec,
               void (*on_created)(void *user, struct sandbox *s, const struct error *err),
               void *user)
{
    struct sandbox *s = new_sandbox(m, spec);
    struct error err;
    s->on_created = on_created;
    s->created_user = user;
    if (begin_create(s, spec, &err) < 0) {
        m->first = s->next;
        m->running--;
        s->on_created = NULL;
        audit_log_unfollow(s);
        free_sandbox(s);
        policy_free(spec->policy);
        on_created(user, NULL, &err);
        return;
    }
    policy_free(spec->policy);
}

struct sandbox *
manager_find(struct manager *m, const char *id, size_t id_size)
{
    for (struct sandbox *s = m->first; s != NULL; s = s->next)
        if (s->state == SANDBOX_RUNNING && id_size == SANDBOX_ID_SIZE &&
            memcmp(s->id, id, id_size) == 0)
            return s;
    return NULL;
}

void
manager_each(struct manager *m, void (*visit)(void *user, const struct sandbox *s), void *user)
{
    for (struct sandbox *s = m->first; s != NULL; s = s->next)
        visit(user, s);
}

int64_t
sandbox_extend(struct sandbox *s, int64_t stop_at_ms)
{
    if (s->stop_at_ms == 0)
        return stop_at_ms;
    if (stop_at_ms > s->stop_at_ms)
        s->stop_at_ms = stop_at_ms;
    return s->stop_at_ms;
}

const char *
sandbox_id(const struct sandbox *s)
{
    return s->id;
}

const char *
sandbox_region(const struct sandbox *s)
{
    return s->manager->region;
}

enum sandbox_state
sandbox_state(const struct sandbox *s)
{
    return s->state;
}

enum sandbox_end
sandbox_end_reason(const struct sandbox *s)
{
    return s->end;
}

const char *
sandbox_end_name(enum sandbox_end end)
{
    return end < SANDBOX_END_MAX ? end_names[end] : "";
}

int64_t
sandbox_created_ms(const struct sandbox *s)
{
    return s->created_ms;
}

int64_t
sandbox_stopped_ms(const struct sandbox *s)
{
    return s->stopped_ms;
}

const json_t *
sandbox_labels(const struct sandbox *s)
{
    return s->labels;
}
