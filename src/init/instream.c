// SPDX-License-Identifier: Apache-2.0
#include "init/instream.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "init/params.h"

#include <stdlib.h>
#include <string.h>

static void
instream_free(struct instream *s)
{
    s->channel->instream_held -= buf_size(&s->held);
    (void)map_remove(&s->channel->instreams, s->id);
    buf_done(&s->held);
    json_decref(s->error);
    free(s);
}

void
instream_refuse(struct instream *s, json_t *reason)
{
    cleanup_free char *text =
        reason != NULL ? json_dumps(reason, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(reason);
    const char *json = text != NULL ? text : "null";
    channel_queue(s->channel, FRAME_STREAM_REFUSE, 0, s->id, json, strlen(json));
    instream_free(s);
}

static struct instream *
find(struct channel *c, uint64_t id)
{
    return map_get(&c->instreams, id);
}

struct instream *
instream_find(struct channel *c, uint64_t id)
{
    struct instream *s = find(c, id);
    return s != NULL && s->events == NULL ? s : NULL;
}

static void
on_start(struct channel *c, uint64_t id)
{
    if (find(c, id) != NULL || c->instreams.count >= c->instreams.cap)
        return;
    struct instream *s = xcalloc(1, sizeof *s);
    s->id = id;
    s->channel = c;
    buf_init(&s->held, INSTREAM_HELD_MAX);
    (void)map_put(&c->instreams, id, s);
}

static void
hold(struct instream *s, const uint8_t *data, size_t size)
{
    struct channel *c = s->channel;
    if (size > INSTREAM_HELD_MAX - c->instream_held || buf_append(&s->held, data, size) < 0) {
        instream_refuse(s, error_object("RangeError", NULL, "Too much data ahead of the call"));
        return;
    }
    c->instream_held += size;
}

static void
on_data(struct instream *s, const json_t *params)
{
    const json_t *v = json_object_get(params, "data");
    size_t text_size = json_string_length(v);
    if (!json_is_string(v) || text_size == 0 || s->ended || s->failed)
        return;
    cleanup_free uint8_t *data = malloc(base64_decoded_max(text_size));
    ptrdiff_t size = data != NULL ? base64_decode(data, json_string_value(v), text_size) : -1;
    if (size < 0)
        instream_refuse(s, error_object("TypeError", NULL, "Invalid base64 in stream data"));
    else if (s->events == NULL)
        hold(s, data, (size_t)size);
    else if (!s->events->data(s->user, data, (size_t)size))
        instream_refuse(s, NULL);
}

static void
finish(struct instream *s)
{
    const struct instream_events *events = s->events;
    void *user = s->user;
    bool failed = s->failed;
    json_t *error = s->error;
    s->error = NULL;
    instream_free(s);
    if (failed)
        events->error(user, error);
    else
        events->end(user);
    json_decref(error);
}

static void
on_end(struct instream *s, bool failed, const json_t *error)
{
    if (s->ended || s->failed)
        return;
    s->ended = !failed;
    s->failed = failed;
    s->error = json_deep_copy(error);
    if (s->events != NULL)
        finish(s);
}

void
instream_note(struct channel *c, const char *method, const json_t *params)
{
    static const char prefix[] = "$sandbox.stream.";
    static const struct param table[] = {{"streamId", PARAM_INDEX}, {0}};
    json_t *issues = json_array();
    enum params_status status = params_check(table, params, issues);
    json_decref(issues);
    uint64_t id;
    if (strncmp(method, prefix, strlen(prefix)) != 0 || status != PARAMS_OK ||
        !param_index(params, "streamId", &id))
        return;
    const char *what = method + strlen(prefix);
    struct instream *s = find(c, id);
    if (strcmp(what, "start") == 0)
        on_start(c, id);
    else if (s == NULL)
        return;
    else if (strcmp(what, "enqueue") == 0)
        on_data(s, params);
    else if (strcmp(what, "end") == 0)
        on_end(s, false, NULL);
    else if (strcmp(what, "error") == 0)
        on_end(s, true, json_object_get(params, "error"));
}

bool
instream_take(struct instream *s, const struct instream_events *events, void *user)
{
    s->events = events;
    s->user = user;
    size_t size = buf_size(&s->held);
    s->channel->instream_held -= size;
    struct buf held cleanup_buf = s->held;
    s->held = (struct buf){0};
    if (size > 0 && !events->data(user, buf_bytes(&held), size)) {
        instream_refuse(s, NULL);
        return false;
    }
    if (!s->ended && !s->failed)
        return true;
    finish(s);
    return false;
}

void
instreams_drop(struct channel *c)
{
    struct instream *s;
    while ((s = map_any(&c->instreams)) != NULL) {
        const struct instream_events *events = s->events;
        void *user = s->user;
        instream_free(s);
        if (events != NULL)
            events->gone(user);
    }
}
