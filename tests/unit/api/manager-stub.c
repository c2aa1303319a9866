// SPDX-License-Identifier: Apache-2.0
#include "manager-stub.h"

#include "base/mem.h"
#include "sandbox/channel.h"

#include <stdlib.h>
#include <string.h>

struct sandbox {
    struct manager *manager;
    struct channel *primary;
    char id[SANDBOX_ID_SIZE + 1];
    json_t *labels;
    enum sandbox_end end;
    bool running;
};

struct manager {
    uv_loop_t *loop;
    struct sandbox sandbox; // the one and only, made again and again
    uv_timer_t delay;
    void (*on_created)(void *user, struct sandbox *s, const struct error *err);
    void *user;
};

struct channel {
    struct sandbox *sandbox;
    const struct channel_client *client;
    void *user;
    bool continued;
};

struct manager *
manager_stub_new(uv_loop_t *loop)
{
    struct manager *m = xcalloc(1, sizeof *m);
    m->loop = loop;
    m->sandbox.manager = m;
    m->sandbox.labels = json_object();
    (void)uv_timer_init(loop, &m->delay);
    m->delay.data = m;
    return m;
}

static void
on_delay(uv_timer_t *timer)
{
    struct manager *m = timer->data;
    struct error err;
    if (json_object_get(m->sandbox.labels, "fail") != NULL) {
        (void)error_set(&err, ERR_LIMIT, "one is enough");
        m->on_created(m->user, NULL, &err);
        return;
    }
    ident_sandbox(m->sandbox.id, "ord");
    m->sandbox.running = true;
    m->sandbox.end = SANDBOX_END_NONE;
    m->on_created(m->user, &m->sandbox, NULL);
}

void
manager_create(struct manager *m, const struct sandbox_spec *spec,
               void (*on_created)(void *user, struct sandbox *s, const struct error *err),
               void *user)
{
    json_decref(m->sandbox.labels);
    m->sandbox.labels = spec->labels != NULL ? json_deep_copy(spec->labels) : json_object();
    m->on_created = on_created;
    m->user = user;
    policy_free(spec->policy);
    uint64_t wait = json_object_get(m->sandbox.labels, "slow") != NULL ? 200 : 1;
    (void)uv_timer_start(&m->delay, on_delay, wait, 0);
}

struct sandbox *
manager_find(struct manager *m, const char *id, size_t id_size)
{
    bool same = id_size == SANDBOX_ID_SIZE && memcmp(id, m->sandbox.id, id_size) == 0;
    return same && m->sandbox.running ? &m->sandbox : NULL;
}

void
manager_each(struct manager *m, void (*visit)(void *user, const struct sandbox *s), void *user)
{
    if (m->sandbox.id[0] != '\0')
        visit(user, &m->sandbox);
}

void
sandbox_end(struct sandbox *s, enum sandbox_end why)
{
    s->running = false;
    s->end = why;
    if (s->primary != NULL)
        s->primary->client->close(s->primary->user, 1000, "sandbox killed");
}

int64_t
sandbox_extend(struct sandbox *s, int64_t stop_at_ms)
{
    (void)s;
    return stop_at_ms;
}

const char *
sandbox_id(const struct sandbox *s)
{
    return s->id;
}

const char *
sandbox_region(const struct sandbox *s)
{
    (void)s;
    return "ord";
}

enum sandbox_state
sandbox_state(const struct sandbox *s)
{
    return s->running ? SANDBOX_RUNNING : SANDBOX_STOPPED;
}

enum sandbox_end
sandbox_end_reason(const struct sandbox *s)
{
    return s->end;
}

const char *
sandbox_end_name(enum sandbox_end end)
{
    return end == SANDBOX_END_KILLED ? "killed" : "other";
}

int64_t
sandbox_created_ms(const struct sandbox *s)
{
    (void)s;
    return 1769797420790;
}

int64_t
sandbox_stopped_ms(const struct sandbox *s)
{
    return s->running ? 0 : 1769797421000;
}

const json_t *
sandbox_labels(const struct sandbox *s)
{
    return s->labels;
}

struct sandbox_usage
sandbox_usage(struct sandbox *s)
{
    (void)s;
    return (struct sandbox_usage){1.5, 0.25, 1048576};
}

bool
channel_has_room(const struct sandbox *s)
{
    return json_object_get(s->labels, "crowded") == NULL;
}

struct channel *
channel_new(struct sandbox *s, enum client_family family, bool primary, uint64_t message_max,
            const struct channel_client *client, void *user)
{
    struct channel *c = xcalloc(1, sizeof *c);
    (void)family;
    (void)message_max;
    c->sandbox = s;
    c->client = client;
    c->user = user;
    if (primary)
        s->primary = c;
    return c;
}

void
channel_free(struct channel *c)
{
    if (c->sandbox->primary == c) {
        c->sandbox->primary = NULL;
        c->sandbox->running = false;
    }
    free(c);
}

void
channel_receive(struct channel *c, const void *data, size_t size, bool last)
{
    c->client->send_text(c->user, data, size, !c->continued, last);
    c->continued = !last;
}

void
channel_pong(struct channel *c, uint64_t token)
{
    (void)c;
    (void)token;
}

void
channel_sent(struct channel *c, size_t size)
{
    (void)c;
    (void)size;
}
