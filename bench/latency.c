// SPDX-License-Identifier: Apache-2.0
// Time from "create a sandbox" to the first byte of output of a program in it, and the round trip
// of a spawn in a running one, by a client that adds next to nothing of its own; interleaved with
// what bubblewrap needs to start the same program in fresh namespaces. Prints medians, and the
// ratio pair by pair.
//
// usage: latency ENDPOINT-PORT TOKEN ROUNDS
#include "base/buf.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MAX = 1000, SPAWNS = 20, MESSAGE_MAX = 1 << 20 };

static double
now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

struct client {
    int fd;
    unsigned id;
    struct buf in;
};

static void
must(int r, const char *what)
{
    if (r < 0)
        errx(1, "%s: %s", what, strerror(-r));
}

static void
receive_more(struct client *c)
{
    uint8_t *room = buf_reserve(&c->in, 65536);
    ssize_t n = room != NULL ? read(c->fd, room, 65536) : -1;
    if (n <= 0)
        errx(1, "the service closed the connection");
    buf_commit(&c->in, (size_t)n);
}

static void
open_sandbox(struct client *c, uint16_t port, const char *token)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char request[1024];
    *c = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    buf_init(&c->in, 4 * MESSAGE_MAX);
    if (connect(c->fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        err(1, "connect");
    int one = 1;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    // {"memory_mb":768}
    int size =
        snprintf(request, sizeof request,
                 "GET /api/v3/sandboxes/create HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer %s\r\n"
                 "x-deno-sandbox-config: eyJtZW1vcnlfbWIiOjc2OH0=\r\n\r\n",
                 token);
    must(fd_write_all(c->fd, request, (size_t)size), "send");
    uint8_t *end;
    while ((end = memmem(buf_bytes(&c->in), buf_size(&c->in), "\r\n\r\n", 4)) == NULL)
        receive_more(c);
    if (memcmp(buf_bytes(&c->in), "HTTP/1.1 101", 12) != 0)
        errx(1, "refused: %.*s", (int)buf_size(&c->in), (char *)buf_bytes(&c->in));
    buf_consume(&c->in, (size_t)(end - buf_bytes(&c->in)) + 4);
}

static void
send_text(struct client *c, const char *text)
{
    uint8_t frame[1024];
    size_t size = strlen(text);
    size_t at = 0;
    frame[at++] = 0x81;
    frame[at++] = size < 126 ? (uint8_t)(0x80 | size) : 0x80 | 126;
    if (size >= 126) {
        frame[at++] = (uint8_t)(size >> 8);
        frame[at++] = (uint8_t)size;
    }
    memset(frame + at, 0, 4); // a mask of zeros
    at += 4;
    memcpy(frame + at, text, size);
    must(fd_write_all(c->fd, frame, at + size), "send");
}

// The next text message, terminated, in text.
static void
next_text(struct client *c, char *text)
{
    for (;;) {
        size_t head = 2;
        while (buf_size(&c->in) < 4)
            receive_more(c);
        const uint8_t *p = buf_bytes(&c->in);
        size_t size = p[1] & 0x7f;
        if (size == 126) {
            size = (size_t)p[2] << 8 | p[3];
            head = 4;
        }
        if (size == 127)
            errx(1, "unexpectedly long message");
        while (buf_size(&c->in) < head + size)
            receive_more(c);
        bool is_text = (buf_bytes(&c->in)[0] & 0x0f) == 1;
        memcpy(text, buf_bytes(&c->in) + head, size);
        text[size] = '\0';
        buf_consume(&c->in, head + size);
        if (is_text)
            return;
    }
}

static void
wait_for(struct client *c, const char *needle, char *text)
{
    do
        next_text(c, text);
    while (strstr(text, needle) == NULL);
}

static int
spawn_process(struct client *c, const char *command, const char *stdout_choice, char *text)
{
    char message[512];
    char needle[32];
    (void)snprintf(
        message, sizeof message,
        "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"spawn\",\"params\":{\"command\":\"%s\","
        "\"args\":[\"hi\"],\"stdout\":\"%s\",\"stderr\":\"null\"}}",
        c->id, command, stdout_choice);
    (void)snprintf(needle, sizeof needle, "\"id\":%u,", c->id++);
    send_text(c, message);
    wait_for(c, needle, text);
    const char *pid = strstr(text, "\"pid\":");
    if (pid == NULL)
        errx(1, "spawn failed: %s", text);
    return atoi(pid + strlen("\"pid\":"));
}

static void
send_wait(struct client *c, int pid, char needle[32])
{
    char message[128];
    (void)snprintf(
        message, sizeof message,
        "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"processWait\",\"params\":{\"pid\":%d}}", c->id,
        pid);
    (void)snprintf(needle, 32, "\"id\":%u,", c->id++);
    send_text(c, message);
}

static double
create_to_first_output(struct client *c, uint16_t port, const char *token)
{
    static char text[MESSAGE_MAX];
    char needle[32];
    double start = now_ms();
    open_sandbox(c, port, token);
    send_wait(c, spawn_process(c, "echo", "piped", text), needle);
    wait_for(c, "aGkK", text); // "hi\n"
    double took = now_ms() - start;
    wait_for(c, needle, text);
    return took;
}

static double
spawn_round_trip(struct client *c)
{
    static char text[MESSAGE_MAX];
    char needle[32];
    double start = now_ms();
    send_wait(c, spawn_process(c, "true", "null", text), needle);
    wait_for(c, needle, text);
    return now_ms() - start;
}

static double
bubblewrap(void)
{
    extern char **environ;
    char *argv[] = {"bwrap", "--unshare-all", "--ro-bind", "/",    "/",  "--dev",
                    "/dev",  "--proc",        "/proc",     "echo", "hi", NULL};
    posix_spawn_file_actions_t actions;
    int pair[2];
    pid_t pid;
    char byte;
    double start = now_ms();
    if (pipe(pair) < 0)
        err(1, "pipe");
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, pair[1], 1);
    if (posix_spawnp(&pid, "bwrap", &actions, NULL, argv, environ) != 0)
        errx(1, "cannot start bwrap");
    (void)close(pair[1]);
    if (read(pair[0], &byte, 1) != 1)
        errx(1, "bwrap said nothing");
    double took = now_ms() - start;
    (void)close(pair[0]);
    (void)waitpid(pid, NULL, 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    return took;
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void
report(const char *what, double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_size);
    printf("%-34s median %8.3f ms   p95 %8.3f ms   min %8.3f ms   (n=%zu)\n", what, v[n / 2],
           v[n * 95 / 100], v[0], n);
}

int
main(int argc, char **argv)
{
    static double create[ROUNDS_MAX];
    static double spawn[ROUNDS_MAX * SPAWNS];
    static double peer[ROUNDS_MAX];
    static double ratio[ROUNDS_MAX];
    if (argc != 4)
        errx(2, "usage: latency PORT TOKEN ROUNDS");
    size_t rounds = strtoul(argv[3], NULL, 10);
    if (rounds < 1 || rounds > ROUNDS_MAX)
        errx(2, "ROUNDS is 1 to %d", ROUNDS_MAX);
    for (size_t i = 0; i < rounds; i++) {
        struct client c;
        peer[i] = bubblewrap();
        create[i] = create_to_first_output(&c, (uint16_t)atoi(argv[1]), argv[2]);
        ratio[i] = create[i] / peer[i];
        for (size_t k = 0; k < SPAWNS; k++)
            spawn[i * SPAWNS + k] = spawn_round_trip(&c);
        (void)close(c.fd);
        buf_done(&c.in);
        (void)usleep(200000); // let it be taken down
    }
    report("create to first output", create, rounds);
    report("spawn to exit status", spawn, rounds * SPAWNS);
    report("bwrap --unshare-all to output", peer, rounds);
    qsort(ratio, rounds, sizeof *ratio, by_size);
    printf("create / bwrap, pair by pair: median %.1f\n", ratio[rounds / 2]);
    return 0;
}
