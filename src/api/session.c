// SPDX-License-Identifier: Apache-2.0
#include "api/session.h"

#include "api/websocket.h"
#include "base/mem.h"
#include "sandbox/channel.h"

#include <stdlib.h>
#include <string.h>

enum {
    // What the clients' libraries take as one message: `websockets`' default, and the official
    // JavaScript SDK's own setting.
    PYTHON_MESSAGE_MAX = 1024 * 1024,
    OTHER_MESSAGE_MAX = 100 * 1024 * 1024,
};

struct session {
    struct connection *connection;
    struct websocket *websocket;
    struct channel *channel;
};

int
session_read_client(const struct request *r, struct session_client *ret, struct error *err)
{
    static const char python[] = "websockets/";
    const struct h1_field *agent = h1_find(&r->head, "user-agent", NULL);
    struct session_client client = {.family = CLIENT_OTHER, .message_max = OTHER_MESSAGE_MAX};
    if (handshake_check(&r->head, client.accept, err) < 0)
        return -1;
    if (agent == NULL) {
        client.family = CLIENT_JAVASCRIPT;
    } else if (memmem(agent->value.data, agent->value.size, python, sizeof python - 1) != NULL) {
        client.family = CLIENT_PYTHON;
        client.message_max = PYTHON_MESSAGE_MAX;
    }
    *ret = client;
    return 0;
}

// From the WebSocket to the channel.

static void
on_text(void *user, const void *data, size_t size, bool last)
{
    struct session *s = user;
    channel_receive(s->channel, data, size, last);
}

static void
on_pong(void *user, uint64_t token)
{
    struct session *s = user;
    channel_pong(s->channel, token);
}

static void
on_sent(void *user, size_t size)
{
    struct session *s = user;
    channel_sent(s->channel, size);
}

static void
on_gone(void *user)
{
    struct session *s = user;
    channel_free(s->channel);
    request_release_switched(s->connection);
    free(s);
}

static const struct websocket_events websocket_callbacks = {
    .on_text = on_text,
    .on_pong = on_pong,
    .on_sent = on_sent,
    .on_gone = on_gone,
};

// From the channel to the WebSocket.

static void
send_text(void *user, const void *data, size_t size, bool first, bool last)
{
    struct session *s = user;
    websocket_send_text(s->websocket, data, size, first, last);
}

static void
ping(void *user, uint64_t token)
{
    struct session *s = user;
    websocket_ping(s->websocket, token);
}

static void
close_client(void *user, uint16_t code, const char *reason)
{
    struct session *s = user;
    websocket_close(s->websocket, code, reason);
}

static void
pause_client(void *user, bool paused)
{
    struct session *s = user;
    websocket_pause(s->websocket, paused);
}

static const struct channel_client channel_callbacks = {
    .send_text = send_text,
    .ping = ping,
    .close = close_client,
    .pause = pause_client,
};

static void
stop(void *user)
{
    struct session *s = user;
    websocket_close(s->websocket, WEBSOCKET_CLOSE_GOING_AWAY, "server going away");
}

void
session_start(struct request *r, const struct session_client *client, struct sandbox *sandbox,
              bool primary)
{
    struct session *s = xcalloc(1, sizeof *s);
    struct stream *stream = NULL;
    uv_loop_t *loop = r->api->loop;
    cleanup_buf struct buf early;
    s->connection =
        request_switch(r, client->accept, sandbox_id(sandbox), stop, s, &stream, &early);
    s->websocket = websocket_new(loop, stream, &websocket_callbacks, s);
    s->channel =
        channel_new(sandbox, client->family, primary, client->message_max, &channel_callbacks, s);
    websocket_start(s->websocket, buf_size(&early) > 0 ? buf_bytes(&early) : NULL,
                    buf_size(&early));
}
