// SPDX-License-Identifier: Apache-2.0
#include "api/request.h"

#include "api/routes.h"
#include "api/server-internal.h"
#include "base/json-text.h"
#include "base/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ANSWER_HEAD_MAX = 1024 };

static const char *
reason_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {
        {101, "Switching Protocols"},
        {200, "OK"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Unknown";
}

static void
append_date(struct buf *out)
{
    char text[64];
    struct tm utc;
    time_t now = time(NULL);
    (void)gmtime_r(&now, &utc);
    (void)strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
    (void)buf_append_str(out, text);
}

static void
log_answer(const struct request *r, int status, const char *code)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", status);
    // The route's pattern, not the target: that is a stranger's text, and may hold labels.
    log_info("request", "trace", r->trace, "route", r->route != NULL ? r->route->pattern : NULL,
             "status", text, "code", code);
}

// The answer is out: the connection waits for the next request, or for its end.
static void
finish(struct connection *c)
{
    bool deferred = c->state == CONNECTION_DEFERRED;
    c->answered = true;
    c->on_gone = NULL;
    connection_drop_head(c);
    buf_clear(&c->body);
    if (c->keep_alive && !c->server->stopping) {
        connection_set_state(c, CONNECTION_IDLE, IDLE_WAIT_MS);
        if (!c->in_handler && deferred)
            connection_advance(c);
        return;
    }
    connection_set_state(c, CONNECTION_LINGER, c->full ? ANSWER_WAIT_MS : LINGER_WAIT_MS);
    buf_done(&c->in);
    stream_shutdown(c->stream);
}

static void
answer(struct request *r, int status, const char *body, size_t size)
{
    struct connection *c = r->connection;
    assert(!c->answered);
    cleanup_buf struct buf out;
    buf_init(&out, ANSWER_HEAD_MAX);
    (void)buf_append_fmt(&out, "HTTP/1.1 %d %s\r\n", status, reason_phrase(status));
    append_date(&out);
    (void)buf_append_fmt(&out, "x-deno-trace-id: %s\r\nCache-Control: no-store\r\n", r->trace);
    if (c->allow[0] != '\0')
        (void)buf_append_fmt(&out, "Allow: %s\r\n", c->allow);
    if (status == 401)
        (void)buf_append_str(&out, "WWW-Authenticate: Bearer\r\n");
    if (body != NULL)
        (void)buf_append_fmt(&out, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                             size);
    if (!c->keep_alive || c->server->stopping)
        (void)buf_append_str(&out, "Connection: close\r\n");
    (void)buf_append_str(&out, "\r\n");
    connection_write(c, buf_bytes(&out), buf_size(&out));
    if (size > 0 && !c->is_head_method)
        connection_write(c, body, size);
    finish(c);
}

void
request_answer(struct request *r, int status, const char *body, size_t size)
{
    log_answer(r, status, NULL);
    answer(r, status, body, size);
}

void
request_answer_error(struct request *r, const struct error *err)
{
    int status = error_http_status(err);
    cleanup_buf struct buf body;
    buf_init(&body, 6 * ERROR_MESSAGE_MAX + 256);
    log_answer(r, status, error_code_text(err));
    // What went wrong in here is the operator's to know, with the trace id as the key.
    bool internal = status == 500;
    const char *message = internal ? "internal error; the server's log tells more" : err->msg;
    if (internal)
        log_error("request failed", "trace", r->trace, "error", err->msg);
    (void)buf_append_fmt(&body, "{\"code\":\"%s\",\"message\":", error_code_text(err));
    (void)json_text_string(&body, message, strlen(message));
    (void)buf_append_str(&body, "}");
    answer(r, status, (const char *)buf_bytes(&body), buf_size(&body));
}

void
request_fail(struct request *r, enum error_code code, const char *fmt, ...)
{
    char text[ERROR_MESSAGE_MAX];
    struct error err = {0};
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    (void)error_set(&err, code, "%s", text);
    request_answer_error(r, &err);
}

void
request_defer(struct request *r, void (*on_gone)(void *user), void *user)
{
    struct connection *c = r->connection;
    c->on_gone = on_gone;
    c->user = user;
    connection_set_state(c, CONNECTION_DEFERRED, 0);
}

void
request_drop_head(struct request *r)
{
    connection_drop_head(r->connection);
}

struct connection *
request_switch(struct request *r, const char *accept, const char *sandbox_id,
               void (*stop)(void *user), void *user, struct stream **ret_stream, struct buf *early)
{
    struct connection *c = r->connection;
    cleanup_buf struct buf out;
    buf_init(&out, ANSWER_HEAD_MAX);
    (void)buf_append_fmt(&out,
                         "HTTP/1.1 101 %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Accept: %s\r\nx-deno-sandbox-id: %s\r\n"
                         "x-deno-trace-id: %s\r\n\r\n",
                         reason_phrase(101), accept, sandbox_id, r->trace);
    log_info("request", "trace", r->trace, "route", r->route->pattern, "status", "101", "sandbox",
             sandbox_id);
    (void)stream_write(c->stream, buf_bytes(&out), buf_size(&out));
    stream_read_stop(c->stream);
    connection_drop_head(c);
    *early = c->in;
    buf_init_secret(&c->in, 0);
    buf_done(&c->body);
    c->answered = true;
    c->on_gone = NULL;
    c->stop = stop;
    c->user = user;
    connection_set_state(c, CONNECTION_SWITCHED, 0);
    *ret_stream = c->stream;
    c->stream = NULL;
    return c;
}
