// SPDX-License-Identifier: Apache-2.0
// Secrets on their way through: the header field stands in the connection's buffer, its decoded
// text in a secret buf, its values in memory of jansson's and then of the policy. The first three
// are wiped before the sandbox is begun (json-wipe.h); the policy wipes itself when it is freed.
//
// A secret of the operator's may have to be fetched by a command first. The text is then kept until
// it has come, and parsed anew.
#include "api/create.h"

#include "api/config.h"
#include "api/secret-source.h"
#include "api/session.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sandbox/channel.h"

#include <stdlib.h>

struct creation {
    struct api *api;
    struct request *request; // NULL: the client went away
    struct session_client client;
    struct buf text; // secret: the configuration
    int fetches;
};

static void
creation_free(struct creation *c)
{
    buf_done(&c->text);
    free(c);
}

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
    creation_free(c);
}

static int
read_text(const struct request *r, struct buf *out, struct error *err)
{
    size_t count = 0;
    const struct h1_field *field = h1_find(&r->head, "x-deno-sandbox-config", &count);
    if (count != 1)
        return error_set(err, ERR_INVALID_CONFIG,
                         "send the header x-deno-sandbox-config once: base64 of a JSON object");
    return config_decode(field->value.data, field->value.size, out, err);
}

static void
log_warning(void *user, const char *warning)
{
    (void)user;
    log_warn("a sandbox's egress policy", "warning", warning);
}

static void advance(struct creation *c);

static void
on_fetched(void *user, const struct error *err)
{
    struct creation *c = user;
    if (c->request != NULL && err == NULL) {
        advance(c);
        return;
    }
    if (c->request != NULL)
        request_answer_error(c->request, err);
    creation_free(c);
}

static void
advance(struct creation *c)
{
    struct config config;
    struct error err = {0};
    int status = config_parse(buf_bytes(&c->text), buf_size(&c->text), c->api->memory_min_mib,
                              clock_wall_ms(), c->api->operator, & config, &err);
    // Each fetch brings one secret.
    if (status < 0 && err.code == ERR_UNAVAILABLE && c->fetches++ < POLICY_SECRETS_MAX &&
        secret_source_fetch(c->api->secrets, on_fetched, c))
        return;
    if (status < 0) {
        request_answer_error(c->request, &err);
        creation_free(c);
        return;
    }
    buf_done(&c->text);
    policy_lint(config.spec.policy, log_warning, NULL);
    manager_create(c->api->manager, &config.spec, on_created, c);
    config.spec.policy = NULL; // taken
    config_done(&config);
}

void
create_handle(struct request *r)
{
    struct error err = {0};
    struct session_client client;
    cleanup_buf struct buf text;
    buf_init_secret(&text, CONFIG_DECODED_MAX);
    if (session_read_client(r, &client, &err) < 0 || read_text(r, &text, &err) < 0) {
        request_answer_error(r, &err);
        return;
    }
    struct creation *c = xcalloc(1, sizeof *c);
    c->api = r->api;
    c->client = client;
    c->request = r;
    c->text = text;
    buf_init_secret(&text, CONFIG_DECODED_MAX); // handed on
    request_drop_head(r);
    request_defer(r, on_client_gone, c);
    advance(c);
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
