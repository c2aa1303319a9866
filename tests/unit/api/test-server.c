// SPDX-License-Identifier: Apache-2.0
// The real server in a child process, over loopback, with sandboxes that are nothing but an id:
// what it answers to requests good and bad.
#include "api/server.h"
#include "manager-stub.h"
#include "unit.h"

#include "base/base64.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define AUTH "Authorization: Bearer t\r\n"
#define HOST "Host: x\r\n"
#define UPGRADE                                                                                    \
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"                   \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define CREATE "GET /api/v3/sandboxes/create HTTP/1.1\r\n" HOST
// {}, {"labels":{"fail":"1"}} and {"labels":{"slow":"1"}}
#define CONFIG      "x-deno-sandbox-config: e30=\r\n"
#define CONFIG_FAIL "x-deno-sandbox-config: eyJsYWJlbHMiOnsiZmFpbCI6IjEifX0=\r\n"
#define CONFIG_SLOW "x-deno-sandbox-config: eyJsYWJlbHMiOnsic2xvdyI6IjEifX0=\r\n"

enum { ANSWER_MAX = 1024 * 1024, WAIT_MS = 10000 };

static int server_port;
static pid_t server_pid;
static char answer[ANSWER_MAX];
static size_t answer_size;

static void
serve(int sock)
{
    uv_loop_t loop;
    struct error err;
    struct server *server = NULL;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGPIPE, SIG_IGN);
    log_init("test", LOG_LEVEL_MAX);
    (void)uv_loop_init(&loop);
    struct auth *auth = auth_new();
    (void)auth_add_token(auth, "t", 1, NULL);
    struct api api = {&loop, manager_stub_new(&loop), auth, 768};
    if (server_new(&api, sock, &server, &err) < 0)
        _exit(1);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    _exit(0);
}

static int
start(void **state)
{
    (void)state;
    char url[SERVER_URL_MAX];
    struct error err;
    int sock = server_bind("127.0.0.1:0", false, &err);
    if (sock < 0 || server_url(sock, url, &err) < 0)
        return -1;
    server_port = atoi(strrchr(url, ':') + 1);
    server_pid = fork();
    if (server_pid == 0)
        serve(sock);
    (void)close(sock);
    return server_pid > 0 ? 0 : -1;
}

static int
stop(void **state)
{
    (void)state;
    int status;
    (void)kill(server_pid, SIGKILL);
    return waitpid(server_pid, &status, 0) == server_pid ? 0 : -1;
}

static int
dial(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server_port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 200; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0)
            return fd;
        (void)close(fd);
        (void)usleep(10000); // the child does not listen yet
    }
    fail_msg("cannot connect");
    return -1;
}

static void
put(int fd, const void *data, size_t size)
{
    const char *p = data;
    while (size > 0) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
        if (n <= 0)
            return; // the server may be done with us
        p += n;
        size -= (size_t)n;
    }
}

// Reads on until the text stands in the answer, or (NULL) to the end.
static bool
get(int fd, const char *until)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        answer[answer_size] = '\0';
        if (until != NULL && memmem(answer, answer_size, until, strlen(until)) != NULL)
            return true;
        if (poll(&p, 1, WAIT_MS) != 1)
            fail_msg("no answer in time");
        ssize_t n = recv(fd, answer + answer_size, ANSWER_MAX - 1 - answer_size, 0);
        if (n <= 0)
            return until == NULL;
        answer_size += (size_t)n;
    }
}

static void
expect_answer(const char *request, const char *status, const char *says)
{
    int fd = dial();
    char line[64];
    answer_size = 0;
    put(fd, request, strlen(request));
    (void)shutdown(fd, SHUT_WR);
    (void)get(fd, NULL);
    (void)close(fd);
    (void)snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    if (strncmp(answer, line, strlen(line)) != 0 || strstr(answer, says) == NULL ||
        strstr(answer, "x-deno-trace-id: ") == NULL)
        fail_msg("%.200s\n=> %.600s", request, answer);
}

static const struct {
    const char *request;
    const char *status;
    const char *says;
} cases[] = {
    {"GET /healthz HTTP/1.1\r\n" HOST "\r\n", "200", "{\"status\":\"ok\"}"},
    {"GET /healthz?x HTTP/1.0\r\n" HOST "\r\n", "200", "Connection: close"},
    {"HEAD /healthz HTTP/1.1\r\n" HOST "\r\n", "405", "Allow: GET\r\n"},
    {"GET / HTTP/1.1\r\n" HOST "\r\n", "404", "NOT_FOUND"},
    {"GET /api/v3/sandbox//connect HTTP/1.1\r\n" HOST AUTH "\r\n", "404", "NOT_FOUND"},
    {"PUT /api/v3/sandbox/x HTTP/1.1\r\n" HOST AUTH "\r\n", "405", "Allow: DELETE, PATCH\r\n"},
    {"GET /api/v2/sandboxes HTTP/1.1\r\n" HOST "\r\n", "401", "INVALID_TOKEN"},
    {"GET /api/v2/sandboxes HTTP/1.1\r\n" HOST "Authorization: Bearer u\r\n\r\n", "401",
     "INVALID_TOKEN"},
    {"GET /api/v2/sandboxes HTTP/1.1\r\n" HOST AUTH AUTH "\r\n", "401", "INVALID_TOKEN"},
    {"GET /api/v2/sandboxes?labels[ HTTP/1.1\r\n" HOST AUTH "\r\n", "400", "INVALID_REQUEST"},
    {"GET /api/v2/sandboxes HTTP/1.1\r\n" HOST AUTH "\r\n", "200", "["},
    {"GET /api/v2/sandbox/ws HTTP/1.1\r\n" HOST UPGRADE "\r\n", "400", "UNSUPPORTED_CLIENT"},
    {"GET /api/v2/volumes HTTP/1.1\r\n" HOST "\r\n", "401", "INVALID_TOKEN"},
    {"GET /api/v2/volumes?limit=1 HTTP/1.1\r\n" HOST AUTH "\r\n", "501", "volumes"},
    {"POST /api/v2/volumes/v/snapshot HTTP/1.1\r\n" HOST AUTH "Content-Length: 2\r\n\r\n{}", "501",
     "NOT_IMPLEMENTED"},
    {"POST /api/v3/sandbox/x/expose/http HTTP/1.1\r\n" HOST AUTH "Content-Length: 2\r\n\r\n{}",
     "501", "exposing HTTP"},
    {"DELETE /api/v3/sandbox/x HTTP/1.1\r\n" HOST AUTH "\r\n", "404", "SANDBOX_NOT_FOUND"},
    {"PATCH /api/v3/sandbox/x HTTP/1.1\r\n" HOST AUTH "Content-Length: 2000000\r\n\r\n", "413",
     "TOO_LARGE"},
    {"GET /healthz HTTP/1.1\n\n", "400", "INVALID_REQUEST"},
    {"\x16\x03\x01\x02\x01\r\n\r\n", "400", "INVALID_REQUEST"},
    {"GET /healthz HTTP/2.0\r\n" HOST "\r\n", "400", "INVALID_REQUEST"},
    // Upgrades.
    {CREATE AUTH CONFIG "\r\n", "400", "WebSocket"},
    {CREATE UPGRADE CONFIG "\r\n", "401", "INVALID_TOKEN"},
    {CREATE UPGRADE AUTH "\r\n", "400", "INVALID_CONFIG"},
    {CREATE UPGRADE AUTH CONFIG CONFIG "\r\n", "400", "INVALID_CONFIG"},
    {CREATE UPGRADE AUTH "x-deno-sandbox-config: {}\r\n\r\n", "400", "base64"},
    {CREATE UPGRADE AUTH "x-deno-sandbox-config: e30\r\n\r\n", "400", "base64"},
    {CREATE "Upgrade: websocket\r\nConnection: Upgrade\r\n" AUTH CONFIG "\r\n", "400", "13"},
    {"GET /api/v3/sandbox/sbx_ord_00000000000000000000/connect HTTP/1.1\r\n" HOST AUTH UPGRADE
     "\r\n",
     "404", "SANDBOX_NOT_FOUND"},
    {"GET /api/v3/sandbox/x/connect HTTP/1.1\r\n" HOST UPGRADE "\r\n", "401", "INVALID_TOKEN"},
};

static void
test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_answer(cases[i].request, cases[i].status, cases[i].says);
}

static void
test_a_refused_create(void **state)
{
    (void)state;
    int fd = dial();
    static const char request[] = CREATE UPGRADE AUTH CONFIG_FAIL "\r\n";
    answer_size = 0;
    put(fd, request, sizeof request - 1);
    assert_true(get(fd, "one is enough"));
    assert_non_null(strstr(answer, "HTTP/1.1 429 "));
    // The connection goes on.
    put(fd, "GET /healthz HTTP/1.1\r\n" HOST "\r\n", 34);
    assert_true(get(fd, "\"ok\""));
    (void)close(fd);
}

static void
test_keep_alive_and_pipelining(void **state)
{
    (void)state;
    static const char two[] =
        "GET /healthz HTTP/1.1\r\n" HOST "\r\n"
        "PATCH /api/v3/sandbox/x HTTP/1.1\r\n" HOST AUTH
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        "GET /api/v2/layers HTTP/1.1\r\n" HOST AUTH "Connection: close\r\n\r\n";
    for (size_t step = 1; step < sizeof two; step += 60) {
        int fd = dial();
        answer_size = 0;
        for (size_t at = 0; at < sizeof two - 1; at += step)
            put(fd, two + at, sizeof two - 1 - at < step ? sizeof two - 1 - at : step);
        assert_true(get(fd, NULL));
        const char *first = strstr(answer, "HTTP/1.1 200 ");
        assert_non_null(first);
        const char *second = strstr(first, "HTTP/1.1 404 ");
        assert_non_null(second);
        assert_non_null(strstr(second, "HTTP/1.1 501 "));
        (void)close(fd);
    }
}

static void
test_large_heads(void **state)
{
    (void)state;
    size_t size = 700 * 1024;
    char *text = malloc(size + 256);
    static const struct {
        const char *start;
        size_t filler;
        const char *status;
    } rows[] = {
        {"GET /healthz HTTP/1.1\r\n" HOST "x: ", 70 * 1024, "431"},
        {CREATE UPGRADE "x-deno-sandbox-config: ", 300 * 1024, "401"},
        {CREATE UPGRADE AUTH "x-deno-sandbox-config: ", 300 * 1024, "400"},
        {CREATE UPGRADE AUTH "x-deno-sandbox-config: ", 400 * 1024, "431"},
        {CREATE UPGRADE AUTH "x-deno-sandbox-config: ", 600 * 1024, "431"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].start);
        memcpy(text, rows[i].start, n);
        memset(text + n, 'A', rows[i].filler);
        memcpy(text + n + rows[i].filler, "\r\n\r\n", 5);
        expect_answer(text, rows[i].status, "{\"code\":");
    }
    free(text);
}

static int
open_sandbox(const char *config, char id[SANDBOX_ID_SIZE + 1])
{
    static const char mark[] = "x-deno-sandbox-id: ";
    char request[1024];
    int fd = dial();
    int size = snprintf(request, sizeof request, CREATE UPGRADE AUTH "%s\r\n", config);
    answer_size = 0;
    put(fd, request, (size_t)size);
    assert_true(get(fd, "\r\n\r\n"));
    assert_non_null(strstr(answer, "HTTP/1.1 101 "));
    // The example of RFC 6455 1.3.
    assert_non_null(strstr(answer, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_null(strstr(answer, "Sec-WebSocket-Extensions"));
    const char *at = strstr(answer, mark);
    assert_non_null(at);
    memcpy(id, at + sizeof mark - 1, SANDBOX_ID_SIZE);
    id[SANDBOX_ID_SIZE] = '\0';
    return fd;
}

static void
test_a_sandbox_lives(void **state)
{
    (void)state;
    char id[SANDBOX_ID_SIZE + 1];
    char request[512];
    int fd = open_sandbox(CONFIG, id);
    // "hi", masked with zeros; and it comes back.
    put(fd, "\x81\x82\0\0\0\0hi", 8);
    answer_size = 0;
    assert_true(get(fd, "\x81\x02hi"));
    (void)snprintf(request, sizeof request,
                   "PATCH /api/v3/sandbox/%s HTTP/1.1\r\n" HOST AUTH
                   "Content-Length: 29\r\n\r\n{\"stop_at_ms\": 9000000000000}",
                   id);
    expect_answer(request, "200", "{\"stop_at_ms\":");
    expect_answer("GET /api/v3/sandboxes HTTP/1.1\r\n" HOST AUTH "\r\n", "200",
                  "\"status\":\"running\"");
    expect_answer("GET /api/v3/sandboxes?labels[a]=b HTTP/1.1\r\n" HOST AUTH "\r\n", "200",
                  "Content-Length: 2\r\n");
    (void)snprintf(request, sizeof request,
                   "DELETE /api/v3/sandboxes/%s HTTP/1.1\r\n" HOST AUTH "\r\n", id);
    expect_answer(request, "204", "");
    answer_size = 0;
    assert_true(get(fd, "sandbox killed"));
    // Close is answered with Close, and then TCP ends at once.
    put(fd, "\x88\x82\0\0\0\0\x03\xe8", 8);
    assert_true(get(fd, NULL));
    (void)close(fd);
    expect_answer(request, "404", "SANDBOX_NOT_FOUND");
    expect_answer("GET /api/v3/sandboxes HTTP/1.1\r\n" HOST AUTH "\r\n", "200",
                  "\"endReason\":\"killed\"");
}

static void
test_bytes_sent_ahead_of_the_answer(void **state)
{
    (void)state;
    static const char request[] = CREATE UPGRADE AUTH CONFIG_SLOW "\r\n\x81\x82\0\0\0\0hi";
    int fd = dial();
    answer_size = 0;
    put(fd, request, sizeof request - 1);
    assert_true(get(fd, "\x81\x02hi"));
    (void)close(fd);
}

static void
test_a_client_that_leaves_while_it_is_made(void **state)
{
    (void)state;
    static const char request[] = CREATE UPGRADE AUTH CONFIG_SLOW "\r\n";
    int fd = dial();
    put(fd, request, sizeof request - 1);
    (void)usleep(50000);
    (void)close(fd);
    (void)usleep(300000);
    expect_answer("GET /api/v3/sandboxes HTTP/1.1\r\n" HOST AUTH "\r\n", "200",
                  "\"status\":\"stopped\"");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_a_refused_create),
        cmocka_unit_test(test_keep_alive_and_pipelining),
        cmocka_unit_test(test_large_heads),
        cmocka_unit_test(test_a_sandbox_lives),
        cmocka_unit_test(test_bytes_sent_ahead_of_the_answer),
        cmocka_unit_test(test_a_client_that_leaves_while_it_is_made),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
