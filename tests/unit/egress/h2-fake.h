// SPDX-License-Identifier: Apache-2.0
// An HTTP/2 connection between two streams in memory, for tests: bytes are put in by hand, what
// comes out is kept, and nothing happens by itself.
#pragma once

#include "base/buf.h"
#include "egress/audit.h"
#include "egress/h2.h"
#include "mask/patterns.h"
#include "policy/policy.h"

#include <err.h>
#include <jansson.h>
#include <string.h>

#define FAKE_VALUE "sk-live-4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2"

struct fake {
    struct stream stream; // first
    struct buf out;       // what was written
    bool reading;
    bool full; // takes what is written, and says that it is enough
    bool ended;
    bool closing;
    bool closed;
};

struct pair {
    struct worker worker;
    struct destination to;
    struct fake client;
    struct fake upstream;
    bool done;
};

int
audit_emit(struct audit *a, enum audit_event event, const struct destination *to, ...)
{
    (void)a;
    (void)event;
    (void)to;
    return 0;
}

static inline int
fake_write(struct stream *s, const void *data, size_t size)
{
    struct fake *f = (struct fake *)s;
    if (f->closing)
        return -1;
    if (buf_append(&f->out, data, size) != 0)
        errx(1, "too much was written");
    return f->full ? 1 : 0;
}

static inline void
fake_read_start(struct stream *s)
{
    ((struct fake *)s)->reading = true;
}

static inline void
fake_read_stop(struct stream *s)
{
    ((struct fake *)s)->reading = false;
}

static inline void
fake_shutdown(struct stream *s)
{
    ((struct fake *)s)->ended = true;
}

static inline void
fake_close(struct stream *s)
{
    ((struct fake *)s)->closing = true;
}

static inline size_t
fake_queued(const struct stream *s)
{
    (void)s;
    return 0;
}

static const struct stream_ops fake_ops = {
    .write = fake_write,
    .read_start = fake_read_start,
    .read_stop = fake_read_stop,
    .shutdown = fake_shutdown,
    .close = fake_close,
    .queued = fake_queued,
};

static inline void
fake_init(struct fake *f)
{
    enum { OUT_SIZE_MAX = 64 * 1024 * 1024 };
    *f = (struct fake){.stream = {.ops = &fake_ops}};
    buf_init(&f->out, OUT_SIZE_MAX);
}

// on_close comes outside of any call, as it does from a loop.
static inline void
fake_settle(struct fake *f)
{
    if (f->closing && !f->closed) {
        f->closed = true;
        f->stream.events->on_close(f->stream.user, NULL);
    }
}

static inline void
pair_settle(struct pair *p)
{
    fake_settle(&p->upstream);
    fake_settle(&p->client);
}

static inline void
pair_feed(struct pair *p, struct fake *f, const void *data, size_t size)
{
    // Not within the caller's bytes, so that a read beyond them is seen.
    if (f->closing || !f->reading || size == 0)
        return;
    uint8_t *copy = malloc(size);
    if (copy == NULL)
        errx(1, "out of memory");
    memcpy(copy, data, size);
    f->stream.events->on_data(f->stream.user, copy, size);
    free(copy);
    pair_settle(p);
}

static inline void
pair_done(void *user)
{
    ((struct pair *)user)->done = true;
}

// The policy of all pairs: one secret, for api.test.
static inline void
pair_policy(struct worker *w)
{
    struct error why = {0};
    json_t *json =
        json_loads("{\"KEY\":{\"hosts\":[\"api.test\"],\"value\":\"" FAKE_VALUE "\"}}", 0, NULL);
    if (policy_from_json(NULL, json, &w->policy, &why) != 0 ||
        patterns_new(w->policy, &w->patterns, &why) != 0)
        errx(1, "%s", why.msg);
    json_decref(json);
    w->loop = uv_default_loop();
}

static inline void
pair_start(struct pair *p, const struct worker *w, bool with_upstream)
{
    *p = (struct pair){.worker = *w, .to = {.port = 443, .name = "api.test", .name_size = 8}};
    fake_init(&p->client);
    fake_init(&p->upstream);
    struct h2_options options = {
        .to = &p->to,
        .client = &p->client.stream,
        .upstream = with_upstream ? &p->upstream.stream : NULL,
        .done = pair_done,
        .user = p,
    };
    h2_start(&p->worker, &options);
}

// Ends what has not ended, and sees to it that everything was let go.
static inline void
pair_end(struct pair *p)
{
    p->client.closing = true;
    pair_settle(p);
    h2_idle_drop_all(&p->worker);
    pair_settle(p);
    uv_run(p->worker.loop, UV_RUN_DEFAULT);
    if (!p->done)
        errx(1, "the connection did not end");
    buf_done(&p->client.out);
    buf_done(&p->upstream.out);
}
