// SPDX-License-Identifier: Apache-2.0
// Frames from the daemon to init: clients that come and go, messages in pieces, credit, cancels,
// barriers. Calls are dispatched as they are in a sandbox; those that would touch files or
// processes are answered here. Whatever comes, no channel sends beyond its credit, what waits is
// counted right, and all of it goes with the link.
#include "base/cleanup.h"
#include "init/channel.h"
#include "init/env.h"
#include "init/guest.h"
#include "init/instream.h"
#include "init/json-input.h"
#include "init/rpc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool holds)
{
    if (!holds)
        abort();
}

// What works on nothing but init's own memory.
static bool
is_harmless(const char *name)
{
    return strncmp(name, "env", 3) == 0;
}

static bool
params_fit(const struct method *m, const json_t *params)
{
    json_t *issues = json_array();
    enum params_status status = params_check(m->params, params, issues);
    json_decref(issues);
    return status == PARAMS_OK;
}

static bool
stream_data(void *user, const uint8_t *data, size_t size)
{
    (void)user;
    return size == 0 || data[0] != 'x'; // a reader that has enough
}

static void
stream_over(void *user)
{
    (void)user;
}

static void
stream_error(void *user, const json_t *error)
{
    (void)user;
    (void)error;
}

// A call that names a stream of the client's takes it up, as writeFile does.
static void
take_stream(struct channel *c, const json_t *params)
{
    static const struct instream_events events = {stream_data, stream_over, stream_error,
                                                  stream_over};
    uint64_t id;
    if (!json_is_number(param_value(params, "contentStreamId")) ||
        !param_index(params, "contentStreamId", &id))
        return;
    struct instream *s = instream_find(c, id);
    if (s != NULL)
        (void)instream_take(s, &events, NULL);
}

static void
on_message(struct channel *c, uint64_t number, bool is_call, struct buf *text)
{
    cleanup_buf struct buf copy = {.cap = FRAME_MESSAGE_MAX};
    require(buf_append(&copy, buf_bytes(text), buf_size(text)) == 0);
    json_t *message = json_input_parse(&copy);
    const char *name = json_string_value(json_object_get(message, "method"));
    const json_t *params = param_value(message, "params");
    const struct method *m = name != NULL ? rpc_method(name) : NULL;
    if (!is_call || m == NULL || m->handler == NULL || is_harmless(name) ||
        !params_fit(m, params)) {
        rpc_message(c, number, is_call, text);
    } else {
        uint64_t abort_id;
        if (strcmp(name, "abort") == 0 && param_index(params, "abortId", &abort_id))
            calls_abort(c, abort_id);
        take_stream(c, params);
        call_ok(call_new(c, number), json_incref(json_object_get(message, "params")));
    }
    json_decref(message);
}

static int
on_setup(void *user, const struct frame *f, bool *ret_done)
{
    (void)user;
    (void)f;
    *ret_done = true;
    return 0;
}

static void
check_channels(const struct channels *cs)
{
    size_t at = 0;
    for (struct channel *c; (c = map_next(&cs->by_number, &at, NULL)) != NULL;) {
        size_t count = 0;
        for (struct list *l = c->items.next; l != &c->items; l = l->next)
            count++;
        require(count == c->item_count);
        require((c->queued == 0) || count > 0);
    }
}

// Sends until nobody has, or may send, anything; as the loop does.
static void
produce_all(struct channels *cs)
{
    for (int i = 0; i < 10000; i++) {
        uint64_t before = 0;
        size_t at = 0;
        for (struct channel *c; (c = map_next(&cs->by_number, &at, NULL)) != NULL;)
            before += c->credit / 2;
        if (!cs->link.events->produce(cs->link.user))
            return;
        uint64_t after = 0;
        at = 0;
        for (struct channel *c; (c = map_next(&cs->by_number, &at, NULL)) != NULL;)
            after += c->credit / 2;
        require(after <= before); // it never wraps around
        buf_done(&cs->link.out);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop *loop;
    if (loop == NULL) {
        loop = loop_new();
        json_input_init();
    }
    int ends[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    struct env env cleanup_env;
    env_init(&env);
    struct guest guest = {.loop = loop, .env = &env};
    struct channels cs;
    channels_init(&cs, loop, &guest);
    cs.setup_frame = on_setup;
    cs.message = on_message;
    link_attach(&cs.link, ends[0]);
    cleanup_buf struct buf in = {.cap = 1024 * 1024};
    struct frame f;
    size_t used;
    if (buf_append(&in, data, size) == 0) {
        while (frame_decode(&in, &f, &used) == FRAME_STATUS_OK &&
               cs.link.events->frame(cs.link.user, &f) == 0) {
            buf_consume(&in, used);
            check_channels(&cs);
            produce_all(&cs);
        }
    }
    link_close(&cs.link);
    require(cs.by_number.count == 0);
    map_done(&cs.by_number);
    (void)close(ends[1]);
    return 0;
}
