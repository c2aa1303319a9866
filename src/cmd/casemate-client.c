// SPDX-License-Identifier: Apache-2.0
#include "cmd/casemate-client.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "http/h1.h"

#include <errno.h>
#include <jansson.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

static int
set_field(char *field, size_t capacity, const char *name, const char *value, struct error *err)
{
    if (snprintf(field, capacity, "%s", value) >= (int)capacity)
        return error_set(err, ERR_INVALID_CONFIG, "%s is too long", name);
    return 0;
}

static int
take_setting(struct client *c, const char *name, const char *value, struct error *err)
{
    if (strcmp(name, "DENO_DEPLOY_TOKEN") == 0)
        return set_field(c->token, sizeof c->token, name, value, err);
    if (strcmp(name, "DENO_DEPLOY_ENDPOINT") == 0)
        return set_field(c->url, sizeof c->url, name, value, err);
    return 0;
}

static int
read_env_file(struct client *c, const char *path, struct error *err)
{
    char line[1024];
    int status = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set_errno(err, errno, "open %.120s", path);
    while (status == 0 && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *equals = strchr(line, '=');
        if (equals == NULL)
            continue;
        *equals = '\0';
        status = take_setting(c, line, equals + 1, err);
    }
    (void)fclose(file);
    return status;
}

int
client_configure(struct client *c, const char *env_file, struct error *err)
{
    static const char *const names[] = {"DENO_DEPLOY_TOKEN", "DENO_DEPLOY_ENDPOINT"};
    *c = (struct client){0};
    if (env_file != NULL && read_env_file(c, env_file, err) < 0)
        return -1;
    for (size_t i = 0; env_file == NULL && i < ARRAY_SIZE(names); i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && take_setting(c, names[i], value, err) < 0)
            return -1;
    }
    if (c->token[0] == '\0' || c->url[0] == '\0')
        return error_set(err, ERR_INVALID_CONFIG,
                         "DENO_DEPLOY_TOKEN and DENO_DEPLOY_ENDPOINT must be set; or give "
                         "--env-file FILE, like dev.env of the service's state folder");
    return 0;
}

// "http://HOST[:PORT]" taken apart.
static int
split_url(const char *url, char host[256], char port[8], struct error *err)
{
    static const char scheme[] = "http://";
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return error_set(err, ERR_UNSUPPORTED, "DENO_DEPLOY_ENDPOINT must begin with http://");
    const char *start = url + sizeof scheme - 1;
    bool bracket = *start == '[';
    start += bracket;
    size_t n = strcspn(start, bracket ? "]" : ":/");
    if (n == 0 || n >= 256)
        return error_set(err, ERR_INVALID_CONFIG, "DENO_DEPLOY_ENDPOINT has no usable host");
    memcpy(host, start, n);
    host[n] = '\0';
    const char *rest = start + n + (bracket && start[n] == ']');
    (void)snprintf(port, 8, "%.6s", *rest == ':' ? rest + 1 : "80");
    port[strcspn(port, "/")] = '\0';
    return 0;
}

static int
dial(const struct client *c, struct error *err)
{
    char host[256];
    char port[8];
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const struct timeval wait = {.tv_sec = CLIENT_WAIT_S};
    if (split_url(c->url, host, port, err) < 0)
        return -1;
    int r = getaddrinfo(host, port, &hints, &found);
    if (r != 0)
        return error_set(err, ERR_UNAVAILABLE, "%.100s: %s", host, gai_strerror(r));
    int sock = -1;
    for (const struct addrinfo *a = found; a != NULL && sock < 0; a = a->ai_next) {
        sock = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
        (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        (void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
        if (sock >= 0 && connect(sock, a->ai_addr, a->ai_addrlen) < 0) {
            (void)error_set_errno(err, errno, "connect to %.100s (does casemated run?)", c->url);
            (void)close(sock);
            sock = -1;
        }
    }
    freeaddrinfo(found);
    return sock;
}

static int
receive_more(int sock, struct buf *in, struct error *err)
{
    uint8_t *room = buf_reserve(in, 16384);
    if (room == NULL)
        return error_set(err, ERR_TOO_LARGE, "the answer is too large");
    ssize_t n = recv(sock, room, 16384, 0);
    if (n < 0)
        return error_set_errno(err, errno, "receive the answer");
    buf_commit(in, (size_t)n);
    return n > 0;
}

static int
receive_head(int sock, const char *method, struct buf *in, struct h1_head *head, struct error *err)
{
    struct h1_problem problem = {0};
    size_t size = 0;
    const struct h1_span span = {method, strlen(method)};
    for (;;) {
        enum h1_status status = buf_size(in) == 0 ? H1_MORE
                                                  : h1_parse_response(buf_bytes(in), buf_size(in),
                                                                      span, head, &size, &problem);
        if (status == H1_BAD || buf_size(in) > CLIENT_HEAD_MAX + CLIENT_BODY_MAX)
            return error_set(err, ERR_PROTOCOL, "the answer is malformed");
        if (status == H1_OK) {
            buf_consume(in, size); // what the spans point at is not needed
            return 0;
        }
        int more = receive_more(sock, in, err);
        if (more < 0)
            return -1;
        if (more == 0)
            return error_set(err, ERR_UNAVAILABLE, "the server closed the connection");
    }
}

static int
receive_body(int sock, const struct h1_head *head, struct buf *in, struct buf *out,
             struct error *err)
{
    struct h1_body body;
    h1_body_init(&body, head);
    for (;;) {
        size_t used = 0;
        struct h1_span content = {NULL, 0};
        const uint8_t *rest = buf_size(in) > 0 ? buf_bytes(in) : (const uint8_t *)"";
        enum h1_status status = h1_body_feed(&body, rest, buf_size(in), &used, &content);
        if (status == H1_BAD)
            return error_set(err, ERR_PROTOCOL, "the answer's body is malformed");
        if (content.size > 0 && buf_append(out, content.data, content.size) < 0)
            return error_set(err, ERR_TOO_LARGE, "the answer is too large");
        buf_consume(in, used);
        if (status == H1_OK)
            return 0;
        int more = used == 0 ? receive_more(sock, in, err) : 1;
        if (more < 0)
            return -1;
        if (more == 0)
            return body.framing == H1_BODY_UNTIL_CLOSE
                       ? 0
                       : error_set(err, ERR_UNAVAILABLE, "the answer ended early");
    }
}

static int
fail_with_answer(int status, const struct buf *body, struct error *err)
{
    json_t *document = buf_size(body) > 0 ? json_loadb((const char *)buf_bytes(body),
                                                       buf_size(body), JSON_REJECT_DUPLICATES, NULL)
                                          : NULL;
    const char *message = json_string_value(json_object_get(document, "message"));
    (void)error_set(err, status == 404 ? ERR_NOT_FOUND : ERR_UNAVAILABLE,
                    "the server answered %d: %.180s", status, message != NULL ? message : "");
    json_decref(document);
    return -1;
}

int
client_request(const struct client *c, const char *method, const char *path, struct buf *out,
               struct error *err)
{
    char request[2048];
    struct h1_head head;
    cleanup_fd int sock = dial(c, err);
    if (sock < 0)
        return -1;
    cleanup_buf struct buf in;
    buf_init(&in, CLIENT_HEAD_MAX + CLIENT_BODY_MAX);
    int size = snprintf(request, sizeof request,
                        "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"
                        "Connection: close\r\n\r\n",
                        method, path, strstr(c->url, "://") + 3, c->token);
    if (size < 0 || (size_t)size >= sizeof request)
        return error_set(err, ERR_INVALID_REQUEST, "the request is too long");
    int r = fd_write_all(sock, request, (size_t)size);
    if (r < 0)
        return error_set_errno(err, -r, "send the request");
    if (receive_head(sock, method, &in, &head, err) < 0 ||
        receive_body(sock, &head, &in, out, err) < 0)
        return -1;
    return head.status / 100 == 2 ? 0 : fail_with_answer(head.status, out, err);
}
