// SPDX-License-Identifier: Apache-2.0
// Speed of calls to a sandbox. bench/rpc runs it, and reads the one JSON line that it prints.
//
//   rpc PORT TOKEN spawn N     spawn of /bin/true to its exit status, each beside one fork, exec
//   and
//                              wait that this program makes itself, in the same sandbox
//   rpc PORT TOKEN read MS     readTextFile of 1 KB, 32 in flight
//   rpc PORT TOKEN flow MB     output of a process, read to its end
//   rpc PORT TOKEN feed MB     input of a process, written to its end
//   rpc PORT TOKEN idle N      opens connections in two lots, the first one to each sandbox, and
//                              says so; holds them until the end of its input
//   rpc peer                   in the sandbox: a fork, exec and wait for each byte of input
#include "client.h"

#include "base/base64.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SPAWNS_MAX = 100000,
    IN_FLIGHT = 32,
    SMALL_SIZE = 1024,
    STDIN_STREAM = 1,
    CHUNK_SIZE = 48 * 1024,
    IDLE_A_SANDBOX = 60, // of 64 that it takes
    IDLE_MAX = 6000,
};

#define PEER_PATH "/tmp/bench-peer"

static int
run_peer(void)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) == 1) {
        char line[32];
        double start = client_now_ms();
        pid_t pid = fork();
        if (pid == 0) {
            (void)execl("/bin/true", "/bin/true", (char *)NULL);
            _exit(127);
        }
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
            errx(1, "/bin/true did not run");
        int size = snprintf(line, sizeof line, "%012.3f\n", (client_now_ms() - start) * 1e3);
        if (write(STDOUT_FILENO, line, (size_t)size) != size)
            return 1;
    }
    return 0;
}

// Puts this very program into the sandbox.
static void
upload_peer(struct client *c)
{
    static uint8_t program[4 << 20];
    static char text[6 << 20];
    size_t size;
    FILE *self = fopen("/proc/self/exe", "re");
    if (self == NULL)
        err(1, "cannot read this program");
    size_t got = fread(program, 1, sizeof program, self);
    (void)fclose(self);
    size_t at =
        (size_t)snprintf(text, sizeof text,
                         "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"writeFile\",\"params\":"
                         "{\"path\":\"" PEER_PATH "\",\"options\":{\"mode\":493},"
                         "\"content\":\"",
                         c->id);
    base64_encode(text + at, program, got);
    at += base64_encoded_size(got);
    memcpy(text + at, "\"}}", 3);
    client_send(c, text, at + 3);
    const char *answer = client_answer(c, c->id++, &size);
    if (memmem(answer, size, "\"ok\":null", 9) == NULL)
        errx(1, "cannot upload: %.*s", (int)size, answer);
}

static void
start_peer(struct client *c)
{
    static const char start[] = "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.start\","
                                "\"params\":{\"streamId\":1}}";
    size_t size;
    upload_peer(c);
    client_send(c, start, strlen(start));
    unsigned id = client_call(c, "spawn",
                              "{\"command\":\"" PEER_PATH "\",\"args\":[\"peer\"],"
                              "\"stdinStreamId\":%d,\"stdout\":\"piped\",\"stderr\":\"null\"}",
                              STDIN_STREAM);
    const char *text = client_answer(c, id, &size);
    (void)client_call(c, "processWait", "{\"pid\":%lu}", client_number(text, size, "pid"));
}

// What one fork, exec and wait took in the sandbox, in microseconds.
static double
ask_peer(struct client *c)
{
    static const char one[] = "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.enqueue\","
                              "\"params\":{\"streamId\":1,\"data\":\"AA==\"}}";
    static const char data[] = "\"data\":\"";
    uint8_t line[64];
    size_t size;
    client_send(c, one, strlen(one));
    const char *text = client_await(c, data, &size);
    text = (const char *)memmem(text, size, data, strlen(data)) + strlen(data);
    ptrdiff_t length = base64_decode(line, text, strcspn(text, "\""));
    if (length != 13)
        errx(1, "the peer says something else");
    line[length] = '\0';
    return strtod((char *)line, NULL);
}

// As ask_peer, by the service.
static double
spawn_true(struct client *c)
{
    size_t size;
    double start = client_now_ms();
    unsigned id = client_call(
        c, "spawn", "{\"command\":\"/bin/true\",\"stdout\":\"null\",\"stderr\":\"null\"}");
    const char *text = client_answer(c, id, &size);
    id = client_call(c, "processWait", "{\"pid\":%lu}", client_number(text, size, "pid"));
    text = client_answer(c, id, &size);
    if (memmem(text, size, "\"code\":0", 8) == NULL)
        errx(1, "/bin/true failed: %.*s", (int)size, text);
    return (client_now_ms() - start) * 1e3;
}

static void
measure_spawn(struct client *c, size_t n)
{
    static double ours[SPAWNS_MAX];
    static double peers[SPAWNS_MAX];
    static double ratios[SPAWNS_MAX];
    if (n < 1 || n > SPAWNS_MAX)
        errx(2, "1 to %d spawns", SPAWNS_MAX);
    start_peer(c);
    (void)ask_peer(c);
    (void)spawn_true(c);
    for (size_t i = 0; i < n; i++) {
        peers[i] = ask_peer(c);
        ours[i] = spawn_true(c);
        ratios[i] = ours[i] / peers[i];
    }
    printf("{\"spawn_us\": %.1f, \"spawn_p99_us\": %.1f, \"fork_us\": %.1f, \"fork_p99_us\": %.1f, "
           "\"ratio\": %.3f}\n",
           client_quantile(ours, n, 0.5), client_quantile(ours, n, 0.99),
           client_quantile(peers, n, 0.5), client_quantile(peers, n, 0.99),
           client_quantile(ratios, n, 0.5));
}

static void
send_read(struct client *c)
{
    (void)client_call(c, "readTextFile", "{\"path\":\"/tmp/bench-small\"}");
}

static void
measure_read(struct client *c, double ms)
{
    char content[SMALL_SIZE / 2 + 1];
    size_t size;
    memset(content, 'x', sizeof content - 1);
    content[sizeof content - 1] = '\0';
    unsigned id;
    for (int i = 0; i < 2; i++) {
        id = client_call(c, "writeTextFile",
                         "{\"path\":\"/tmp/bench-small\",\"options\":{\"append\":true},"
                         "\"content\":\"%s\"}",
                         content);
        (void)client_answer(c, id, &size);
    }
    unsigned long count = 0;
    double start = client_now_ms();
    for (int i = 0; i < IN_FLIGHT; i++)
        send_read(c);
    while (client_now_ms() - start < ms) {
        const char *text = client_next(c, &size);
        if (size < SMALL_SIZE || memmem(text, size, "\"ok\":\"x", 7) == NULL)
            errx(1, "not what was to be read: %.*s", (int)size, text);
        count++;
        send_read(c);
    }
    double took = client_now_ms() - start;
    for (int i = 0; i < IN_FLIGHT; i++)
        (void)client_next(c, &size);
    printf("{\"reads\": %lu, \"per_second\": %.0f}\n", count, (double)count / took * 1e3);
}

static void
print_flow(size_t bytes, unsigned long messages, double start)
{
    double took = client_now_ms() - start;
    printf("{\"bytes\": %zu, \"messages\": %lu, \"seconds\": %.4f}\n", bytes, messages, took / 1e3);
}

static void
measure_flow(struct client *c, unsigned long mb)
{
    static const char data[] = "\"data\":\"";
    size_t size;
    size_t bytes = 0;
    unsigned long messages = 0;
    double start = client_now_ms();
    unsigned id = client_call(c, "spawn",
                              "{\"command\":\"head\",\"args\":[\"-c\",\"%luM\",\"/dev/zero\"],"
                              "\"stdout\":\"piped\",\"stderr\":\"null\"}",
                              mb);
    const char *text = client_answer(c, id, &size);
    (void)client_call(c, "processWait", "{\"pid\":%lu}", client_number(text, size, "pid"));
    while (bytes < mb << 20) {
        text = client_next(c, &size);
        const char *at = memmem(text, size < 200 ? size : 200, data, strlen(data));
        if (at == NULL)
            continue;
        size_t encoded = size - (size_t)(at - text) - strlen(data) - 3; // "}}
        const char *end = text + size - 3;
        bytes += encoded / 4 * 3 - (end[-1] == '=') - (end[-2] == '=');
        messages++;
    }
    print_flow(bytes, messages, start);
}

static void
measure_feed(struct client *c, unsigned long mb)
{
    static uint8_t zeros[CHUNK_SIZE];
    static char text[2 * CHUNK_SIZE];
    static const char end[] = "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.end\","
                              "\"params\":{\"streamId\":1}}";
    static const char begin[] = "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.start\","
                                "\"params\":{\"streamId\":1}}";
    size_t size;
    size_t at = (size_t)snprintf(text, sizeof text,
                                 "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.enqueue\","
                                 "\"params\":{\"streamId\":1,\"data\":\"");
    base64_encode(text + at, zeros, CHUNK_SIZE);
    at += base64_encoded_size(CHUNK_SIZE);
    memcpy(text + at, "\"}}", 3);
    at += 3;
    client_send(c, begin, strlen(begin));
    unsigned id = client_call(c, "spawn",
                              "{\"command\":\"sh\",\"args\":[\"-c\",\"exec cat >/dev/null\"],"
                              "\"stdinStreamId\":1,\"stdout\":\"null\",\"stderr\":\"null\"}");
    const char *answer = client_answer(c, id, &size);
    unsigned long pid = client_number(answer, size, "pid");
    double start = client_now_ms();
    size_t bytes = 0;
    unsigned long messages = 0;
    for (; bytes < mb << 20; bytes += CHUNK_SIZE, messages++)
        client_send(c, text, at);
    client_send(c, end, strlen(end));
    id = client_call(c, "processWait", "{\"pid\":%lu}", pid);
    (void)client_answer(c, id, &size);
    print_flow(bytes, messages, start);
}

static void
say(const char *what)
{
    printf("%s\n", what);
    (void)fflush(stdout);
    while (getchar() != '\n' && !feof(stdin))
        ;
}

static void
hold_idle(uint16_t port, const char *token, size_t n)
{
    static struct client firsts[IDLE_MAX / IDLE_A_SANDBOX + 1];
    static struct client all[IDLE_MAX];
    if (n < 1 || n > IDLE_MAX)
        errx(2, "1 to %d connections", IDLE_MAX);
    size_t sandboxes = (n + IDLE_A_SANDBOX - 1) / IDLE_A_SANDBOX;
    for (size_t i = 0; i < sandboxes; i++)
        client_create(&firsts[i], port, token);
    say("created");
    for (size_t i = 0; i < n; i++)
        client_connect(&all[i], port, token, firsts[i % sandboxes].sandbox);
    say("open");
    for (size_t i = 0; i < n; i++)
        client_done(&all[i]);
    for (size_t i = 0; i < sandboxes; i++)
        client_done(&firsts[i]);
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "peer") == 0)
        return run_peer();
    if (argc != 5)
        errx(2, "usage: rpc PORT TOKEN spawn|read|flow|feed|idle AMOUNT");
    struct client c;
    unsigned long amount = strtoul(argv[4], NULL, 10);
    uint16_t port = (uint16_t)atoi(argv[1]);
    if (strcmp(argv[3], "idle") == 0) {
        hold_idle(port, argv[2], amount);
        return 0;
    }
    client_create(&c, port, argv[2]);
    if (strcmp(argv[3], "spawn") == 0)
        measure_spawn(&c, amount);
    else if (strcmp(argv[3], "read") == 0)
        measure_read(&c, (double)amount);
    else if (strcmp(argv[3], "flow") == 0)
        measure_flow(&c, amount);
    else if (strcmp(argv[3], "feed") == 0)
        measure_feed(&c, amount);
    else
        errx(2, "nothing is called %s", argv[3]);
    client_done(&c);
    return 0;
}
