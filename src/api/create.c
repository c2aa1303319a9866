// SPDX-License-Identifier: Apache-2.0
// Secrets on their way through: the header field stands in the connection's buffer, its decoded
// text in a secret buf, its values in memory of jansson's and then of the policy. The first three
// are wiped before the sandbox is begun (json-wipe.h); the policy wipes itself when it is freed.
#include "api/create.h"

#include "api/config.h"
#include "api/session.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sandbox/channel.h"

#include <stdlib.h>

struct creation {
    struct request *request; // NULL: the client went away
    struct session_client client;
};

static void
on_client_gone(void *user)
{
    struct creation *c = user;
    c->request = NULL;
}

static void
on_created(void *user, struct sandbox *s, const struct error *err)
{
    struct creation *c = user;
    if (s == NULL && c->request != NULL)
        request_answer_error(c->request, err);
    else if (s != NULL && c->request != NULL)
        session_start(c->request, &c->client, s, true);
    else if (s != NULL)
        sandbox_end(s, SANDBOX_END_SESSION);
    free(c);
}

static int
read_config(const struct request *r, struct config *ret, struct error *err)
{
    size_t count = 0;
    const struct h1_field *field = h1_find(&r->head, "x-deno-sandbox-config", &count);
    if (count != 1)
        return error_set(err, ERR_INVALID_CONFIG,
                         "send the header x-deno-sandbox-config once: base64 of a JSON object");
    cleanup_buf struct buf text;
    buf_init_secret(&text, CONFIG_DECODED_MAX);
    if (config_decode(field->value.data, field->value.size, &text, err) < 0)
        return -1;
    return config_parse(buf_bytes(&text), buf_size(&text), r->api->memory_min_mib, clock_wall_ms(),
                        ret, err);
}

void
create_handle(struct request *r)
{
    struct error err = {0};
    struct session_client client;
    struct config config;
    if (session_read_client(r, &client, &err) < 0 || read_config(r, &config, &err) < 0) {
        request_answer_error(r, &err);
        return;
    }
    struct creation *c = xcalloc(1, sizeof *c);
    c->client = client;
    c->request = r;
    request_drop_head(r);
    request_defer(r, on_client_gone, c);
    manager_create(r->api->manager, &config.spec, on_created, c);
    config.spec.policy = NULL; // taken
    config_done(&config);
}

void
connect_handle(struct request *r)
{
    struct error err = {0};
    struct session_client client;
    if (session_read_client(r, &client, &err) < 0) {
        request_answer_error(r, &err);
        return;
    }
    struct sandbox *s = manager_find(r->api->manager, r->id.data, r->id.size);
    if (s == NULL || sandbox_state(s) != SANDBOX_RUNNING)
        request_fail(r, ERR_SANDBOX_NOT_FOUND, "there is no running sandbox with this id");
    else if (!channel_has_room(s))
        request_fail(r, ERR_UNAVAILABLE,
                     "this sandbox has as many connections as it may have: close one first");
    else
        session_start(r, &client, s, false);
}
