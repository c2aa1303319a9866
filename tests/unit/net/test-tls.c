// SPDX-License-Identifier: Apache-2.0
// Both ends of TLS in one loop, over a socket pair.
#include "unit.h"

#include "base/buf.h"
#include "base/fd.h"
#include "net/tls.h"

#include <malloc.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t both[] = "\x02h2\x08http/1.1";
static const uint8_t http11[] = "\x08http/1.1";

struct end {
    struct stream *s;
    struct buf got;
    bool opened;
    bool ended;
    bool closed;
    bool drained;
    bool echo;
    bool paused;
    bool close_on_data;
    struct error why; // code 0: none
};

static uv_loop_t loop;
static EVP_PKEY *key;
static X509 *certificate;
static SSL_CTX *server_ctx;
static SSL_CTX *client_ctx;
static struct tls_sessions *sessions;

static void
on_open(void *user)
{
    struct end *e = user;
    e->opened = true;
    if (!e->paused)
        stream_read_start(e->s);
}

static void
on_data(void *user, const uint8_t *data, size_t size)
{
    struct end *e = user;
    assert_int_equal(buf_append(&e->got, data, size), 0);
    if (e->echo)
        (void)stream_write(e->s, data, size);
    if (e->close_on_data)
        stream_close(e->s);
}

static void
on_end(void *user)
{
    ((struct end *)user)->ended = true;
}

static void
on_drain(void *user)
{
    ((struct end *)user)->drained = true;
}

static void
on_close(void *user, const struct error *why)
{
    struct end *e = user;
    assert_false(e->closed);
    e->closed = true;
    if (why != NULL)
        e->why = *why;
}

static const struct stream_events events = {on_open, on_data, on_end, on_drain, on_close};

static X509 *
new_certificate(void)
{
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_EXTENSION *name =
        X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:api.test,DNS:*.wild.test");
    X509_add_ext(x, name, -1);
    X509_EXTENSION_free(name);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static int
set_up(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(tls_init(&err), 0);
    key = EVP_EC_gen("P-256");
    certificate = new_certificate();
    X509_STORE *store = X509_STORE_new();
    X509_STORE_add_cert(store, certificate);
    assert_int_equal(tls_server_context(certificate, key, NULL, &server_ctx, &err), 0);
    assert_int_equal(tls_client_context(store, &client_ctx, &err), 0);
    X509_STORE_free(store);
    return uv_loop_init(&loop);
}

static int
tear_down(void **state)
{
    (void)state;
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return uv_loop_close(&loop); // fails if anything was left open
}

static struct stream *
wrap(int fd)
{
    struct stream *s = NULL;
    struct error err = {0};
    assert_int_equal(stream_from_fd(&loop, fd, &s, &err), 0);
    return s;
}

static void
start(struct end *e, int fd, struct tls_options options)
{
    struct error err = {0};
    buf_init(&e->got, 64 * 1024 * 1024);
    options.ctx = options.server ? server_ctx : client_ctx;
    assert_int_equal(tls_stream_new(&loop, wrap(fd), &options, &e->s, &err), 0);
    stream_set_user(e->s, &events, e);
    assert_false(e->opened);
    assert_int_equal(stream_write(e->s, "x", 1), -1); // not before on_open
}

static void
start_both(struct end *client, struct end *server, const char *name)
{
    int pair[2];
    assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
    (void)fd_set_nonblock(pair[0]);
    (void)fd_set_nonblock(pair[1]);
    start(client, pair[0],
          (struct tls_options){.name = name, .alpn = both, .alpn_size = sizeof both - 1});
    start(server, pair[1],
          (struct tls_options){.server = true, .alpn = http11, .alpn_size = sizeof http11 - 1});
}

static void
spin(const bool *until)
{
    for (int i = 0; i < 2000 && !*until; i++)
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(*until);
}

static void
finish(struct end *a, struct end *b)
{
    if (!a->closed)
        stream_close(a->s);
    if (!b->closed)
        stream_close(b->s);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(a->closed && b->closed);
    buf_done(&a->got);
    buf_done(&b->got);
}

static void
test_echo(void **state)
{
    (void)state;
    struct end client = {0};
    struct end server = {.echo = true};
    size_t size;
    start_both(&client, &server, "api.test");
    spin(&client.opened);
    spin(&server.opened);
    assert_memory_equal(tls_stream_alpn(client.s, &size), "http/1.1", 8);
    assert_int_equal(size, 8);
    assert_int_equal(stream_write(client.s, "hello", 5), 0);
    while (buf_size(&client.got) < 5)
        uv_run(&loop, UV_RUN_ONCE);
    assert_memory_equal(buf_bytes(&client.got), "hello", 5);
    stream_shutdown(client.s);
    spin(&server.ended);
    assert_false(client.closed);
    stream_write(server.s, "bye", 3); // the other direction goes on
    stream_shutdown(server.s);
    spin(&client.closed);
    spin(&server.closed);
    assert_true(client.ended);
    assert_int_equal(client.why.code, 0);
    assert_int_equal(server.why.code, 0);
    assert_memory_equal(buf_bytes(&client.got), "hellobye", 8);
    finish(&client, &server);
}

static void
refused(const char *name, const char *words)
{
    struct end client = {0};
    struct end server = {0};
    start_both(&client, &server, name);
    spin(&client.closed);
    assert_false(client.opened);
    assert_non_null(strstr(client.why.msg, words));
    finish(&client, &server);
}

static void
test_names(void **state)
{
    (void)state;
    refused("evil.test", "hostname mismatch");
    refused("a.b.wild.test", "hostname mismatch");
    refused("wild.test", "hostname mismatch");
    struct end client = {0};
    struct end server = {0};
    start_both(&client, &server, "a.wild.test");
    spin(&client.opened);
    finish(&client, &server);
}

// A connection that just ends is not an end.
static void
test_truncation(void **state)
{
    (void)state;
    struct end client = {0};
    struct end server = {0};
    start_both(&client, &server, "api.test");
    spin(&client.opened);
    spin(&server.opened);
    stream_close(server.s);
    spin(&client.closed);
    assert_false(client.ended);
    assert_non_null(strstr(client.why.msg, "close_notify"));
    finish(&client, &server);
}

static void
test_pause(void **state)
{
    (void)state;
    enum { SIZE = 8 * 1024 * 1024, BLOCK = 64 * 1024 };
    static uint8_t block[BLOCK];
    struct end client = {0};
    struct end server = {.paused = true};
    start_both(&client, &server, "api.test");
    spin(&client.opened);
    spin(&server.opened);
    size_t sent = 0;
    while (stream_write(client.s, block, BLOCK) == 0)
        sent += BLOCK;
    sent += BLOCK;
    assert_true(sent < SIZE);
    for (int i = 0; i < 50; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(buf_size(&server.got), 0);
    assert_false(client.drained);
    stream_read_start(server.s);
    spin(&client.drained);
    while (buf_size(&server.got) < sent)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(buf_size(&server.got), sent);
    finish(&client, &server);
}

// An idle connection gives OpenSSL's buffers back, and works on afterwards.
static void
test_rest(void **state)
{
    (void)state;
    enum { BUFFERS = 32 * 1024, TIME_MS = 5000 };
    struct end client = {0};
    struct end server = {.echo = true};
    start_both(&client, &server, "api.test");
    spin(&client.opened);
    spin(&server.opened);
    assert_int_equal(stream_write(client.s, "hello", 5), 0);
    while (buf_size(&client.got) < 5)
        uv_run(&loop, UV_RUN_ONCE);
    size_t busy = mallinfo2().uordblks;
    uint64_t began = uv_now(&loop);
    while (mallinfo2().uordblks + 2 * BUFFERS > busy && uv_now(&loop) - began < TIME_MS) {
        (void)usleep(1000);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    if (busy > 0) // not under a sanitizer, which does not count
        assert_true(mallinfo2().uordblks + 2 * BUFFERS <= busy);
    assert_int_equal(stream_write(client.s, "again", 5), 0);
    while (buf_size(&client.got) < 10)
        uv_run(&loop, UV_RUN_ONCE);
    assert_memory_equal(buf_bytes(&client.got), "helloagain", 10);
    finish(&client, &server);
}

static void
test_close_in_callback(void **state)
{
    (void)state;
    struct end client = {0};
    struct end server = {.close_on_data = true};
    start_both(&client, &server, "api.test");
    spin(&client.opened);
    spin(&server.opened);
    static uint8_t block[128 * 1024]; // more than comes in one piece
    stream_write(client.s, block, sizeof block);
    spin(&server.closed);
    assert_in_range(buf_size(&server.got), 1, sizeof block / 2);
    assert_int_equal(server.why.code, 0);
    finish(&client, &server);
}

static void
test_garbage(void **state)
{
    (void)state;
    int pair[2];
    struct end server = {0};
    assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
    (void)fd_set_nonblock(pair[1]);
    start(&server, pair[1],
          (struct tls_options){.server = true, .first = "GET / HTTP/1.1\r\n", .first_size = 16});
    spin(&server.closed);
    assert_false(server.opened);
    assert_true(server.why.code != 0);
    (void)close(pair[0]);
    buf_done(&server.got);
}

// A peer that asks for new keys without end and reads no answer: each answer would wait in memory.
static void
test_key_updates(void **state)
{
    (void)state;
    int pair[2];
    struct end server = {0};
    assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
    (void)fd_set_nonblock(pair[0]);
    (void)fd_set_nonblock(pair[1]);
    start(&server, pair[1], (struct tls_options){.server = true});
    SSL *client = SSL_new(client_ctx);
    SSL_set_verify(client, SSL_VERIFY_NONE, NULL);
    SSL_set_fd(client, pair[0]);
    while (SSL_connect(client) != 1 || !server.opened)
        uv_run(&loop, UV_RUN_NOWAIT);
    unsigned asked = 0;
    (void)signal(SIGPIPE, SIG_IGN);
    // After the failure it lingers for a second, and drops what still comes.
    while (!server.closed && asked < 10000000) {
        asked +=
            SSL_key_update(client, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(client) == 1;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_true(server.closed);
    assert_int_equal(server.why.code, ERR_PROTOCOL);
    SSL_free(client);
    (void)close(pair[0]);
    buf_done(&server.got);
}

// One connection, which stays long enough for the server's ticket to come. Whether it was resumed.
static bool
connect_keyed(const char *name, const char *session_key)
{
    int pair[2];
    struct end client = {0};
    struct end server = {.echo = true};
    assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
    (void)fd_set_nonblock(pair[0]);
    (void)fd_set_nonblock(pair[1]);
    start(&client, pair[0],
          (struct tls_options){.name = name, .sessions = sessions, .session_key = session_key});
    start(&server, pair[1], (struct tls_options){.server = true});
    spin(&client.opened);
    spin(&server.opened);
    bool resumed = tls_stream_resumed(client.s);
    assert_int_equal(resumed, tls_stream_resumed(server.s));
    stream_write(client.s, "x", 1);
    while (buf_size(&client.got) < 1)
        uv_run(&loop, UV_RUN_ONCE);
    finish(&client, &server);
    return resumed;
}

static void
resume_with(int version)
{
    SSL_CTX_set_max_proto_version(client_ctx, version);
    sessions = tls_sessions_new();
    assert_false(connect_keyed("api.test", "api"));
    assert_true(connect_keyed("api.test", "api"));
    assert_true(connect_keyed("api.test", "api"));
    assert_false(connect_keyed("api.test", "other"));
    // The key is what its user says; the name is still compared.
    assert_false(connect_keyed("a.wild.test", "names"));
    assert_true(connect_keyed("b.wild.test", "names"));
    SSL_SESSION *session = tls_sessions_take(sessions, "names", "evil.test");
    assert_null(session);
    assert_false(connect_keyed("a.wild.test", "names"));
    tls_sessions_free(sessions);
    sessions = NULL;
    SSL_CTX_set_max_proto_version(client_ctx, 0);
}

static void
test_resumption(void **state)
{
    (void)state;
    resume_with(TLS1_2_VERSION);
    resume_with(TLS1_3_VERSION);
}

// A ticket of TLS 1.3 is offered once, and what is kept is bounded, for one key and for all.
static void
test_session_table(void **state)
{
    (void)state;
    sessions = tls_sessions_new();
    assert_false(connect_keyed("api.test", "first"));
    SSL_SESSION *session = tls_sessions_take(sessions, "first", "api.test");
    assert_non_null(session);
    assert_null(tls_sessions_take(sessions, "first", "api.test"));
    unsigned kept = 0;
    for (int i = 0; i < 10; i++)
        tls_sessions_put(sessions, "first", session);
    SSL_SESSION *again;
    while ((again = tls_sessions_take(sessions, "first", "api.test")) != NULL) {
        SSL_SESSION_free(again);
        kept++;
    }
    assert_int_equal(kept, 4);
    char name[16];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        tls_sessions_put(sessions, name, session);
    }
    assert_null(tls_sessions_take(sessions, "67", "api.test"));
    again = tls_sessions_take(sessions, "68", "api.test");
    assert_non_null(again);
    SSL_SESSION_free(again);
    SSL_SESSION_free(session);
    tls_sessions_free(sessions);
}

// Of a server that promises to take early data, none is sent: the first flight is a ClientHello and
// no more, and the server gets nothing before the handshake is done.
static void
test_no_early_data(void **state)
{
    (void)state;
    SSL_CTX_set_max_early_data(server_ctx, 16384);
    SSL_CTX_set_options(server_ctx, SSL_OP_NO_ANTI_REPLAY); // else its tickets are of another sort
    sessions = tls_sessions_new();
    assert_false(connect_keyed("api.test", "early"));
    SSL_SESSION *session = tls_sessions_take(sessions, "early", "api.test");
    assert_non_null(session);
    assert_int_equal(SSL_SESSION_get_max_early_data(session), 16384);
    tls_sessions_put(sessions, "early", session);
    SSL_SESSION_free(session);
    int pair[2];
    struct end client = {0};
    assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
    (void)fd_set_nonblock(pair[0]);
    start(&client, pair[0],
          (struct tls_options){.name = "api.test", .sessions = sessions, .session_key = "early"});
    SSL *server = SSL_new(server_ctx);
    SSL_set_fd(server, pair[1]);
    uint8_t byte;
    size_t got = 0;
    int rc;
    // The server answers, then would wait for the client's end of early data if there were any.
    (void)fd_set_nonblock(pair[1]);
    while ((rc = SSL_read_early_data(server, &byte, 1, &got)) == SSL_READ_EARLY_DATA_ERROR)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(rc, SSL_READ_EARLY_DATA_FINISH);
    assert_int_equal(SSL_get_early_data_status(server), SSL_EARLY_DATA_NOT_SENT);
    while (SSL_accept(server) != 1)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_true(SSL_session_reused(server));
    spin(&client.opened);
    stream_close(client.s);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(client.closed);
    SSL_free(server);
    (void)close(pair[1]);
    tls_sessions_free(sessions);
    SSL_CTX_set_max_early_data(server_ctx, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),          cmocka_unit_test(test_names),
        cmocka_unit_test(test_truncation),    cmocka_unit_test(test_pause),
        cmocka_unit_test(test_rest),          cmocka_unit_test(test_close_in_callback),
        cmocka_unit_test(test_garbage),       cmocka_unit_test(test_key_updates),
        cmocka_unit_test(test_resumption),    cmocka_unit_test(test_session_table),
        cmocka_unit_test(test_no_early_data),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
