// SPDX-License-Identifier: Apache-2.0
#include "client.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_MAX = 128 * 1024 * 1024, HEAD_MAX = 14, READ_SIZE = 256 * 1024 };

double
client_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void
receive_more(struct client *c)
{
    uint8_t *room = buf_reserve(&c->in, READ_SIZE);
    ssize_t n = room != NULL ? read(c->fd, room, READ_SIZE) : -1;
    if (n <= 0)
        errx(1, "the service closed the connection");
    buf_commit(&c->in, (size_t)n);
}

static void
keep_sandbox_id(struct client *c, const char *head, size_t size)
{
    static const char name[] = "x-deno-sandbox-id: ";
    const char *at = memmem(head, size, name, strlen(name));
    if (at == NULL)
        errx(1, "the answer names no sandbox");
    at += strlen(name);
    size_t length = strcspn(at, "\r");
    (void)snprintf(c->sandbox, sizeof c->sandbox, "%.*s", (int)length, at);
}

static void
upgrade(struct client *c, uint16_t port, const char *token, const char *path, const char *config)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char request[1024];
    *c = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    buf_init(&c->in, MESSAGE_MAX + READ_SIZE);
    buf_init(&c->joined, MESSAGE_MAX);
    if (connect(c->fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        err(1, "connect");
    int one = 1;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                        "Authorization: Bearer %s\r\n%s\r\n",
                        path, token, config);
    if (fd_write_all(c->fd, request, (size_t)size) < 0)
        err(1, "send");
    uint8_t *end;
    while ((end = memmem(buf_bytes(&c->in), buf_size(&c->in), "\r\n\r\n", 4)) == NULL)
        receive_more(c);
    if (memcmp(buf_bytes(&c->in), "HTTP/1.1 101", 12) != 0)
        errx(1, "refused: %.*s", (int)buf_size(&c->in), (char *)buf_bytes(&c->in));
    size_t head = (size_t)(end - buf_bytes(&c->in)) + 4;
    keep_sandbox_id(c, (char *)buf_bytes(&c->in), head);
    buf_consume(&c->in, head);
}

void
client_create(struct client *c, uint16_t port, const char *token)
{
    // {"memory_mb":768}
    upgrade(c, port, token, "/api/v3/sandboxes/create",
            "x-deno-sandbox-config: eyJtZW1vcnlfbWIiOjc2OH0=\r\n");
}

void
client_connect(struct client *c, uint16_t port, const char *token, const char *sandbox)
{
    char path[128];
    (void)snprintf(path, sizeof path, "/api/v3/sandbox/%s/connect", sandbox);
    upgrade(c, port, token, path, "");
}

void
client_done(struct client *c)
{
    (void)close(c->fd);
    buf_done(&c->in);
    buf_done(&c->joined);
}

// The head of a client's frame, with a mask of zeros, which leaves the payload as it is.
static size_t
make_head(uint8_t head[HEAD_MAX], size_t size)
{
    size_t at = 0;
    head[at++] = 0x81;
    if (size < 126) {
        head[at++] = (uint8_t)(0x80 | size);
    } else {
        int bytes = size <= UINT16_MAX ? 2 : 8;
        head[at++] = bytes == 2 ? 0x80 | 126 : 0x80 | 127;
        while (--bytes >= 0)
            head[at++] = (uint8_t)((uint64_t)size >> (8 * bytes));
    }
    memset(head + at, 0, 4);
    return at + 4;
}

void
client_send(struct client *c, const char *text, size_t size)
{
    uint8_t frame[1024];
    size_t at = make_head(frame, size);
    size_t first = size < sizeof frame - at ? size : sizeof frame - at;
    memcpy(frame + at, text, first);
    if (fd_write_all(c->fd, frame, at + first) < 0 ||
        fd_write_all(c->fd, text + first, size - first) < 0)
        err(1, "send");
}

unsigned
client_call(struct client *c, const char *method, const char *params, ...)
{
    char text[1024];
    int size =
        snprintf(text, sizeof text,
                 "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"%s\",\"params\":", c->id, method);
    va_list args;
    va_start(args, params);
    size += vsnprintf(text + size, sizeof text - (size_t)size, params, args);
    va_end(args);
    if ((size_t)size + 2 > sizeof text)
        errx(1, "the parameters of %s are too long", method);
    text[size++] = '}';
    client_send(c, text, (size_t)size);
    return c->id++;
}

// The opcode of the next frame, which is whole in c->in. The service sends no masks.
static uint8_t
next_frame(struct client *c, const char **ret, size_t *ret_size)
{
    size_t head = 2;
    buf_consume(&c->in, c->consumed);
    c->consumed = 0;
    while (buf_size(&c->in) < head)
        receive_more(c);
    size_t size = buf_bytes(&c->in)[1];
    if (size >= 126) {
        size_t bytes = size == 126 ? 2 : 8;
        head += bytes;
        while (buf_size(&c->in) < head)
            receive_more(c);
        size = 0;
        for (size_t i = 0; i < bytes; i++)
            size = size << 8 | buf_bytes(&c->in)[2 + i];
    }
    if (size > MESSAGE_MAX)
        errx(1, "unexpectedly long message");
    while (buf_size(&c->in) < head + size)
        receive_more(c);
    c->consumed = head + size;
    *ret = (char *)buf_bytes(&c->in) + head;
    *ret_size = size;
    return buf_bytes(&c->in)[0];
}

static void
answer_ping(struct client *c, const char *payload, size_t size)
{
    uint8_t frame[HEAD_MAX + 125];
    size_t at = make_head(frame, size);
    frame[0] = 0x8a;
    memcpy(frame + at, payload, size);
    if (fd_write_all(c->fd, frame, at + size) < 0)
        err(1, "send");
}

// One more fragment of a message; true with the last.
static bool
join(struct client *c, const char *text, size_t size, bool first, bool last)
{
    if (first)
        buf_clear(&c->joined);
    if (buf_append(&c->joined, text, size) < 0)
        errx(1, "unexpectedly long message");
    return last;
}

const char *
client_next(struct client *c, size_t *ret_size)
{
    const char *text;
    for (;;) {
        uint8_t head = next_frame(c, &text, ret_size);
        if (head == 0x81)
            return text;
        if (head == 0x89)
            answer_ping(c, text, *ret_size);
        else if ((head & 0x7e) != 0)
            errx(1, "unexpected frame");
        else if (join(c, text, *ret_size, (head & 1) != 0, (head & 0x80) != 0)) {
            *ret_size = buf_size(&c->joined);
            return (char *)buf_bytes(&c->joined);
        }
    }
}

const char *
client_await(struct client *c, const char *needle, size_t *ret_size)
{
    const char *text;
    do
        text = client_next(c, ret_size);
    while (memmem(text, *ret_size, needle, strlen(needle)) == NULL);
    return text;
}

const char *
client_answer(struct client *c, unsigned id, size_t *ret_size)
{
    char needle[32];
    (void)snprintf(needle, sizeof needle, "\"id\":%u,", id);
    return client_await(c, needle, ret_size);
}

unsigned long
client_number(const char *text, size_t size, const char *name)
{
    char needle[64];
    (void)snprintf(needle, sizeof needle, "\"%s\":", name);
    const char *at = memmem(text, size, needle, strlen(needle));
    if (at == NULL)
        errx(1, "no %s in the answer: %.*s", name, (int)(size < 500 ? size : 500), text);
    return strtoul(at + strlen(needle), NULL, 10); // ends at the latest with the object
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double
client_quantile(double *values, size_t n, double quantile)
{
    qsort(values, n, sizeof *values, by_size);
    return values[(size_t)((double)n * quantile)];
}
