// SPDX-License-Identifier: Apache-2.0
// Clients and a guest around a real manager: the test plays launcher, worker and casemate-init,
// honest or hostile, at the other ends of the sockets.
#include "certificate.h"
#include "unit.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "sandbox/sandbox-internal.h"
#include "wire/events.h"
#include "wire/launch.h"
#include "wire/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static char certificate[2048]; // of a CA, PEM

struct client {
    struct buf text; // messages, each ended by a newline
    uint16_t closed; // code, 0: open
    bool paused;
    uint64_t ping;
    struct channel *channel;
};

struct guest {
    struct sandbox *sandbox;
    char id[SANDBOX_ID_SIZE + 1];
    int fd; // data channel
    int events;
    struct buf in;
};

struct bench {
    uv_loop_t loop;
    struct manager *manager;
    int launcher;
    char roots[64];
    char audit[64];
    struct guest guests[2];
    struct sandbox *created;
    bool launcher_gone;
};

static void
client_text(void *user, const void *data, size_t size, bool first, bool last)
{
    struct client *c = user;
    (void)first;
    assert_int_equal(buf_append(&c->text, data, size), 0);
    if (last)
        assert_int_equal(buf_append_str(&c->text, "\n"), 0);
}

static void
client_ping(void *user, uint64_t token)
{
    ((struct client *)user)->ping = token;
}

static void
client_close(void *user, uint16_t code, const char *reason)
{
    (void)reason;
    ((struct client *)user)->closed = code;
}

static void
client_pause(void *user, bool paused)
{
    ((struct client *)user)->paused = paused;
}

static const struct channel_client client_calls = {
    .send_text = client_text, .ping = client_ping, .close = client_close, .pause = client_pause};

static void
turn(struct bench *b)
{
    for (int i = 0; i < 20; i++)
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
}

static void
from_launcher(struct bench *b, const struct launch_message *m, const int *fds, size_t count)
{
    struct error err;
    assert_int_equal(launch_send(b->launcher, m, fds, count, &err), 0);
    turn(b);
}

static void
to_launcher(struct bench *b, enum launch_type type, struct launch_message *m, int *fds,
            size_t *count)
{
    struct error err;
    turn(b);
    assert_int_equal(launch_recv(b->launcher, m, fds, count, &err), 1);
    assert_int_equal(m->type, type);
}

static void
send_frame(struct bench *b, struct guest *g, struct frame f)
{
    cleanup_buf struct buf out;
    buf_init(&out, FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX);
    assert_int_equal(frame_encode(&out, &f), 0);
    assert_int_equal(fd_write_all(g->fd, buf_bytes(&out), buf_size(&out)), 0);
    turn(b);
}

// The next frame to the guest, or one of kind FRAME_NONE when nothing more comes.
static struct frame
next_frame(struct bench *b, struct guest *g)
{
    static struct buf keep;
    struct frame f = {0};
    size_t used;
    turn(b);
    while (frame_decode(&g->in, &f, &used) == FRAME_STATUS_MORE) {
        struct pollfd p = {.fd = g->fd, .events = POLLIN};
        if (poll(&p, 1, 20) <= 0)
            return (struct frame){0};
        uint8_t *room = buf_reserve(&g->in, 65536);
        ssize_t n = read(g->fd, room, 65536);
        if (n <= 0)
            return (struct frame){0};
        buf_commit(&g->in, (size_t)n);
        turn(b);
    }
    buf_done(&keep);
    buf_init(&keep, FRAME_PAYLOAD_MAX + 1);
    (void)buf_append(&keep, f.payload, f.size);
    (void)buf_append(&keep, "", 1);
    f.payload = buf_bytes(&keep);
    buf_consume(&g->in, used);
    return f;
}

static void
on_created(void *user, struct sandbox *s, const struct error *err)
{
    struct bench *b = user;
    if (s == NULL)
        fail_msg("create: %s", err->msg);
    b->created = s;
}

static void
create(struct bench *b, struct guest *g)
{
    struct sandbox_spec spec = {
        .memory_mib = 768, .disk_mib = 1024, .cpu_millis = 1000, .pids_max = 64};
    struct launch_message m;
    struct error err;
    int fds[FD_PASS_MAX];
    size_t count;
    assert_int_equal(policy_from_json(NULL, NULL, &spec.policy, &err), 0);
    manager_create(b->manager, &spec, on_created, b);
    to_launcher(b, LAUNCH_CREATE, &m, fds, &count);
    assert_int_equal(count, LAUNCH_CREATE_FDS);
    memcpy(g->id, m.id, sizeof m.id);
    g->events = fds[LAUNCH_FD_EVENTS];
    (void)close(fds[LAUNCH_FD_POLICY]);
    (void)close(fds[LAUNCH_FD_ROOTS]);
    cleanup_fd int cpu = fd_memfd_sealed("cpu", "usage_usec 1500000\n", 19);
    cleanup_fd int memory = fd_memfd_sealed("memory", "4096\n", 5);
    int usage[LAUNCH_USAGE_FDS] = {cpu, memory};
    m.type = LAUNCH_CREATED;
    from_launcher(b, &m, usage, LAUNCH_USAGE_FDS);
    to_launcher(b, LAUNCH_CHANNEL, &m, fds, &count);
    assert_int_equal(count, 1);
    g->fd = fds[0];
    buf_init(&g->in, 1024 * 1024);
    char ready[1 + sizeof certificate] = {EVENT_READY};
    memcpy(ready + 1, certificate, strlen(certificate));
    assert_int_equal(fd_send_msg(g->events, ready, 1 + strlen(certificate), NULL, 0), 0);
    static const uint8_t version[] = {FRAME_PROTOCOL_VERSION, 0, 0, 0};
    send_frame(b, g, (struct frame){.kind = FRAME_HELLO, .payload = version, .size = 4});
    assert_non_null(b->created);
    g->sandbox = b->created;
    b->created = NULL;
    while (next_frame(b, g).kind != FRAME_SETUP_DONE)
        ;
}

static void
on_launcher_gone(void *user, const struct error *why)
{
    (void)why;
    ((struct bench *)user)->launcher_gone = true;
}

static int
set_up(void **state)
{
    static struct bench b;
    int pair[2];
    struct error err;
    b = (struct bench){0};
    make_certificate(certificate, sizeof certificate, "test", "critical,CA:true");
    assert_int_equal(uv_loop_init(&b.loop), 0);
    assert_int_equal(fd_socketpair(SOCK_SEQPACKET | SOCK_NONBLOCK, pair), 0);
    strcpy(b.roots, "/tmp/casemate-test-roots-XXXXXX");
    strcpy(b.audit, "/tmp/casemate-test-audit-XXXXXX");
    int roots = mkstemp(b.roots);
    int audit = mkstemp(b.audit);
    assert_int_equal(fd_write_all(roots, certificate, strlen(certificate)), 0);
    (void)close(roots);
    (void)close(audit);
    struct manager_options options = {.launcher_socket = pair[0],
                                      .region = "ord",
                                      .roots_file = b.roots,
                                      .audit_file = b.audit,
                                      .sandboxes_max = 8,
                                      .on_launcher_gone = on_launcher_gone,
                                      .user = &b};
    b.launcher = pair[1];
    assert_int_equal(manager_new(&b.loop, &options, &b.manager, &err), 0);
    from_launcher(&b, &(struct launch_message){.type = LAUNCH_READY}, NULL, 0);
    create(&b, &b.guests[0]);
    create(&b, &b.guests[1]);
    *state = &b;
    return 0;
}

static void
ended(struct bench *b, struct guest *g)
{
    struct launch_message m = {.type = LAUNCH_ENDED, .reason = LAUNCH_REASON_DESTROYED};
    memcpy(m.id, g->id, sizeof m.id);
    from_launcher(b, &m, NULL, 0);
    (void)close(g->fd);
    (void)close(g->events);
    buf_done(&g->in);
}

static int
tear_down_rest(struct bench *b)
{
    manager_free(b->manager);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT); // until the audit file is written
    assert_int_equal(uv_loop_close(&b->loop), 0);
    (void)unlink(b->roots);
    (void)unlink(b->audit);
    return 0;
}

static int
tear_down(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 2; i++) {
        sandbox_end(b->guests[i].sandbox, SANDBOX_END_KILLED);
        ended(b, &b->guests[i]);
    }
    (void)close(b->launcher);
    return tear_down_rest(b);
}

static int
tear_down_without_launcher(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 2; i++) {
        (void)close(b->guests[i].fd);
        (void)close(b->guests[i].events);
        buf_done(&b->guests[i].in);
    }
    return tear_down_rest(b);
}

static void
open_client(struct bench *b, struct client *c, int guest, enum client_family family)
{
    *c = (struct client){0};
    buf_init(&c->text, 16 * 1024 * 1024);
    c->channel = channel_new(b->guests[guest].sandbox, family, false, 1048576, &client_calls, c);
    assert_non_null(c->channel);
    assert_int_equal(next_frame(b, &b->guests[guest]).kind, FRAME_OPEN);
}

static void
close_client(struct client *c)
{
    channel_free(c->channel);
    buf_done(&c->text);
}

static void
receive(struct client *c, const char *text)
{
    channel_receive(c->channel, text, strlen(text), true);
}

static void
expect_text(struct client *c, const char *text)
{
    assert_int_equal(buf_size(&c->text), strlen(text));
    assert_memory_equal(buf_bytes(&c->text), text, strlen(text));
    buf_clear(&c->text);
}

static struct frame
result(uint32_t channel, uint64_t call, uint8_t flags, const char *payload, size_t size)
{
    return (struct frame){.kind = FRAME_RESULT,
                          .flags = flags,
                          .channel = channel,
                          .number = call,
                          .payload = (const uint8_t *)payload,
                          .size = size};
}

#define TEXT(s) s, sizeof(s) - 1

static void
a_call_travels_and_is_answered(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    struct client c;
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    const char *text =
        "{\"method\":\"envGet\",\"params\":{\"key\":\"A\"},\"id\":\"x\\\"1\",\"jsonrpc\":\"2.0\"}";
    for (size_t i = 0; i < strlen(text); i++)
        channel_receive(c.channel, text + i, 1, i + 1 == strlen(text));
    cleanup_buf struct buf got;
    buf_init(&got, 4096);
    struct frame f;
    do {
        f = next_frame(b, g);
        assert_int_equal(f.kind, FRAME_MESSAGE);
        assert_int_equal(buf_append(&got, f.payload, f.size), 0);
    } while (f.flags & FRAME_MORE);
    assert_int_equal(f.flags, FRAME_IS_CALL);
    assert_int_equal(buf_size(&got), strlen(text));
    assert_memory_equal(buf_bytes(&got), text, strlen(text));
    send_frame(b, g, result(f.channel, f.number, FRAME_IS_OK, TEXT("\0null")));
    expect_text(&c, "{\"jsonrpc\":\"2.0\",\"id\":\"x\\\"1\",\"result\":{\"ok\":null}}\n");
    // The call is answered: a second answer is a breach.
    send_frame(b, g, result(f.channel, f.number, FRAME_IS_OK, TEXT("\0null")));
    assert_int_equal(c.closed, 1011);
    close_client(&c);
}

static void
a_long_answer_is_passed_on_in_pieces(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    struct client c;
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    receive(&c, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"readTextFile\"}");
    struct frame f = next_frame(b, g);
    send_frame(b, g, result(f.channel, f.number, FRAME_IS_OK | FRAME_MORE, TEXT("\0\"ab")));
    receive(&c, "ping");
    send_frame(b, g, result(f.channel, f.number, FRAME_MORE, TEXT("cd")));
    send_frame(b, g, result(f.channel, f.number, 0, TEXT("ef\"")));
    expect_text(&c, "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"ok\":\"abcdef\"}}\npong\n");
    assert_int_equal(c.closed, 0);
    close_client(&c);
}

static void
stream_ids_are_the_daemons(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    struct client c;
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    receive(&c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"spawn\",\"params\":{}}");
    struct frame f = next_frame(b, g);
    // The guest tries to name a stream itself; its member stands first and the daemon's wins.
    send_frame(b, g,
               result(f.channel, f.number, FRAME_IS_OK,
                      TEXT("\2\1\0\0\0\0\0\0\0{\"pid\":5,\"stdoutStreamId\":4}\n")));
    unsigned long long id = 0;
    cleanup_free char *text = strndup((char *)buf_bytes(&c.text), buf_size(&c.text));
    assert_int_equal(
        sscanf(text,
               "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"ok\":{\"pid\":5,"
               "\"stdoutStreamId\":4,\"stdoutStreamId\":%llu,\"stderrStreamId\":null}}}",
               &id),
        1);
    assert_true(id > 0 && id < 1ull << 53);
    buf_clear(&c.text);
    struct frame note = {.kind = FRAME_STREAM_START, .channel = f.channel, .number = 1};
    send_frame(b, g, note);
    note.kind = FRAME_STREAM_DATA;
    note.payload = (const uint8_t *)"aGkK";
    note.size = 4;
    send_frame(b, g, note);
    char want[256];
    (void)snprintf(
        want, sizeof want,
        "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.start\",\"params\":{\"streamId\":"
        "%llu}}\n{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.enqueue\",\"params\":{"
        "\"streamId\":%llu,\"data\":\"aGkK\"}}\n",
        id, id);
    expect_text(&c, want);
    // After the client's cancel nothing of the stream comes any more, and the guest is told.
    (void)snprintf(
        want, sizeof want,
        "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.cancel\",\"params\":{\"streamId\":"
        "%llu,\"reason\":null}}",
        id);
    receive(&c, want);
    struct frame cancel = next_frame(b, g);
    assert_int_equal(cancel.kind, FRAME_CANCEL);
    assert_int_equal(cancel.number, 1);
    send_frame(b, g, note);
    note.kind = FRAME_STREAM_END;
    note.size = 0;
    send_frame(b, g, note);
    assert_int_equal(buf_size(&c.text), 0);
    assert_int_equal(c.closed, 0);
    close_client(&c);
}

static void
start_watcher(struct bench *b, struct client *c, uint32_t *ret_channel, unsigned long long *ret_id)
{
    struct guest *g = &b->guests[0];
    open_client(b, c, 0, CLIENT_JAVASCRIPT);
    receive(c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"spawnDeno\",\"params\":{}}");
    struct frame f = next_frame(b, g);
    send_frame(b, g,
               result(f.channel, f.number, FRAME_IS_OK,
                      TEXT("\3\0\0\0\0\0\0\0\0\1\0\0\0{\"pid\":5,\"watcherId\":\"w-1\"}\n")));
    cleanup_free char *text = strndup((char *)buf_bytes(&c->text), buf_size(&c->text));
    assert_int_equal(
        sscanf(text,
               "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"ok\":{\"pid\":5,\"watcherId\":\"w-1\","
               "\"stdoutStreamId\":null,\"stderrStreamId\":null,\"watcherId\":\"w-%llu\"}}}",
               ret_id),
        1);
    buf_clear(&c->text);
    *ret_channel = f.channel;
}

static void
restarts_are_told_under_the_daemons_name(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    struct client c;
    uint32_t channel;
    unsigned long long id = 0;
    start_watcher(b, &c, &channel, &id);
    char want[160];
    (void)snprintf(want, sizeof want,
                   "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.deno.watcher.restart\",\"params\":{"
                   "\"watcherId\":\"w-%llu\"}}\n",
                   id);
    struct frame note = {.kind = FRAME_RESTARTED, .channel = channel, .number = 1};
    send_frame(b, g, note);
    expect_text(&c, want);
    // Its end is nobody's business but ours, and after it there is nothing to tell.
    note.kind = FRAME_STREAM_END;
    send_frame(b, g, note);
    note.kind = FRAME_RESTARTED;
    send_frame(b, g, note);
    assert_int_equal(buf_size(&c.text), 0);
    assert_int_equal(c.closed, 0);
    close_client(&c);
}

static void
a_watcher_carries_no_data(void **state)
{
    struct bench *b = *state;
    struct client c;
    uint32_t channel;
    unsigned long long id = 0;
    start_watcher(b, &c, &channel, &id);
    send_frame(b, &b->guests[0],
               (struct frame){.kind = FRAME_STREAM_START, .channel = channel, .number = 1});
    assert_int_equal(c.closed, 1011);
    assert_int_equal(buf_size(&c.text), 0);
    close_client(&c);
}

static void
a_hostile_guest_reaches_no_other_stream(void **state)
{
    struct bench *b = *state;
    struct client victim;
    struct client own;
    open_client(b, &victim, 0, CLIENT_JAVASCRIPT);
    open_client(b, &own, 1, CLIENT_JAVASCRIPT);
    receive(&victim,
            "{\"jsonrpc\":\"2.0\",\"method\":\"$sandbox.stream.start\",\"params\":{\"streamId\":"
            "9}}");
    // A refusal of a stream that this client never started goes nowhere.
    send_frame(b, &b->guests[1],
               (struct frame){.kind = FRAME_STREAM_REFUSE,
                              .channel = 1,
                              .number = 9,
                              .payload = (const uint8_t *)"null",
                              .size = 4});
    assert_int_equal(buf_size(&own.text), 0);
    assert_int_equal(buf_size(&victim.text), 0);
    // Data for a stream that was never announced goes nowhere, too.
    send_frame(b, &b->guests[1],
               (struct frame){.kind = FRAME_STREAM_START, .channel = 1, .number = 1});
    assert_int_equal(buf_size(&own.text), 0);
    // An answer to nothing, and the sandbox is over; the other one is untouched.
    send_frame(b, &b->guests[1], result(1, 77, FRAME_IS_OK, TEXT("\0null")));
    assert_int_equal(own.closed, 1011);
    assert_int_equal(victim.closed, 0);
    assert_int_equal(sandbox_state(b->guests[1].sandbox), SANDBOX_STOPPING);
    assert_int_equal(sandbox_state(b->guests[0].sandbox), SANDBOX_RUNNING);
    close_client(&victim);
    close_client(&own);
}

struct breach {
    const char *name;
    const char *method;
    struct frame frame;
};

#define PAYLOAD(s) .payload = (const uint8_t *)(s), .size = sizeof(s) - 1

static const struct breach breaches[] = {
    {"kind not a guest's", "x", {.kind = FRAME_OPEN, .channel = 1}},
    {"channel that never was", "x", {.kind = FRAME_STREAM_END, .channel = 9}},
    {"channel zero", "x", {.kind = FRAME_STREAM_END, .channel = 0}},
    {"greets twice", "x", {.kind = FRAME_HELLO, .channel = 0, PAYLOAD("\1\0\0\0")}},
    {"not JSON",
     "x",
     {.kind = FRAME_RESULT, .flags = FRAME_IS_OK, .channel = 1, .number = 1, PAYLOAD("\0{")}},
    {"two values",
     "x",
     {.kind = FRAME_RESULT, .flags = FRAME_IS_OK, .channel = 1, .number = 1, PAYLOAD("\0{},{}")}},
    {"breaks out of the envelope",
     "x",
     {.kind = FRAME_RESULT,
      .flags = FRAME_IS_OK,
      .channel = 1,
      .number = 1,
      PAYLOAD("\0null}},{\"a\":{\"b\":1")}},
    {"not UTF-8",
     "x",
     {.kind = FRAME_RESULT,
      .flags = FRAME_IS_OK,
      .channel = 1,
      .number = 1,
      PAYLOAD("\0\"\xff\"")}},
    {"no outcome", "x", {.kind = FRAME_RESULT, .channel = 1, .number = 1, PAYLOAD("\0null")}},
    {"two outcomes",
     "x",
     {.kind = FRAME_RESULT,
      .flags = FRAME_IS_OK | FRAME_IS_ERROR,
      .channel = 1,
      .number = 1,
      PAYLOAD("\0null")}},
    {"streams of a method without",
     "x",
     {.kind = FRAME_RESULT,
      .flags = FRAME_IS_OK,
      .channel = 1,
      .number = 1,
      PAYLOAD("\1\1\0\0\0{}")}},
    {"no streams of a method with",
     "walk",
     {.kind = FRAME_RESULT, .flags = FRAME_IS_OK, .channel = 1, .number = 1, PAYLOAD("\0{}")}},
    {"streams in an array",
     "walk",
     {.kind = FRAME_RESULT,
      .flags = FRAME_IS_OK,
      .channel = 1,
      .number = 1,
      PAYLOAD("\1\1\0\0\0[]")}},
    {"streams in pieces",
     "walk",
     {.kind = FRAME_RESULT,
      .flags = FRAME_IS_OK | FRAME_MORE,
      .channel = 1,
      .number = 1,
      PAYLOAD("\1\1\0\0\0{}")}},
    {"one stream twice",
     "spawn",
     {.kind = FRAME_RESULT,
      .flags = FRAME_IS_OK,
      .channel = 1,
      .number = 1,
      PAYLOAD("\2\1\0\0\0\1\0\0\0{}")}},
    {"too many streams",
     "spawn",
     {.kind = FRAME_RESULT, .flags = FRAME_IS_OK, .channel = 1, .number = 1, PAYLOAD("\377{}")}},
    {"unknown call",
     "x",
     {.kind = FRAME_RESULT, .flags = FRAME_IS_OK, .channel = 1, .number = 2, PAYLOAD("\0null")}},
    {"refusal that is no JSON",
     "x",
     {.kind = FRAME_STREAM_REFUSE, .channel = 1, .number = 2, PAYLOAD("x")}},
};

static void
every_breach_ends_the_sandbox(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_SIZE(breaches); i++) {
        struct guest *g = &b->guests[0];
        struct client c;
        char call[128];
        open_client(b, &c, 0, CLIENT_JAVASCRIPT);
        (void)snprintf(call, sizeof call, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"%s\"}",
                       breaches[i].method);
        receive(&c, call);
        (void)next_frame(b, g);
        send_frame(b, g, breaches[i].frame);
        if (c.closed != 1011 || buf_size(&c.text) > 0)
            fail_msg("%s: closed %d, text %.*s", breaches[i].name, c.closed, (int)buf_size(&c.text),
                     (char *)buf_bytes(&c.text));
        close_client(&c);
        ended(b, g);
        struct launch_message m;
        int fds[FD_PASS_MAX];
        size_t count;
        to_launcher(b, LAUNCH_DESTROY, &m, fds, &count);
        create(b, g);
    }
}

static void
credit_is_kept(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    struct client c;
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    receive(&c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"walk\",\"params\":{}}");
    struct frame f = next_frame(b, g);
    send_frame(b, g, result(f.channel, f.number, FRAME_IS_OK, TEXT("\1\1\0\0\0{}")));
    static char data[FRAME_PAYLOAD_MAX];
    memset(data, 'A', sizeof data);
    struct frame chunk = {.kind = FRAME_STREAM_START, .channel = f.channel, .number = 1};
    send_frame(b, g, chunk);
    chunk.kind = FRAME_STREAM_DATA;
    chunk.payload = (const uint8_t *)data;
    chunk.size = sizeof data;
    // The client reads nothing: no credit comes back, and one frame too many is the end.
    size_t fit = FRAME_CREDIT_INITIAL / (FRAME_HEADER_SIZE + sizeof data) - 1;
    for (size_t i = 0; i < fit; i++)
        send_frame(b, g, chunk);
    assert_int_equal(c.closed, 0);
    channel_sent(c.channel, buf_size(&c.text));
    struct frame credit;
    do
        credit = next_frame(b, g);
    while (credit.kind == FRAME_CREDIT && credit.number < FRAME_CREDIT_INITIAL / 2);
    assert_int_equal(credit.kind, FRAME_CREDIT);
    for (size_t i = 0; i < fit + 8 && c.closed == 0; i++)
        send_frame(b, g, chunk);
    assert_int_equal(c.closed, 1011);
    close_client(&c);
}

static void
bad_messages_close_the_client_only(void **state)
{
    static const struct {
        const char *text;
        uint16_t code;
    } cases[] = {
        {"", 4000},
        {"pin", 4000},
        {"pingx", 4000},
        {"{", 4000},
        {"{}x", 4000},
        {"[1]", 4001},
        {"{}", 4001},
        {"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"x\"}", 4001},
        {"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"x\"}", 4001},
        {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"x\"}", 4001},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"x\"}", 4001},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", 4001},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sp\\u0061wn\"}", 4001},
        {"\"\xff\"", 4000},
    };
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct client c;
        open_client(b, &c, 0, CLIENT_JAVASCRIPT);
        receive(&c, cases[i].text);
        if (c.closed != cases[i].code)
            fail_msg("%s: closed with %d", cases[i].text, c.closed);
        assert_int_equal(next_frame(b, &b->guests[0]).kind, FRAME_NONE);
        close_client(&c);
        assert_int_equal(next_frame(b, &b->guests[0]).kind, FRAME_CLOSE);
    }
    assert_int_equal(sandbox_state(b->guests[0].sandbox), SANDBOX_RUNNING);
}

static void
ping_is_answered_in_any_pieces(void **state)
{
    struct bench *b = *state;
    struct client c;
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    for (size_t i = 0; i < 4; i++)
        channel_receive(c.channel, &"ping"[i], 1, i == 3);
    receive(&c, "ping");
    expect_text(&c, "pong\npong\n");
    close_client(&c);
}

static void
barriers_wait_for_the_pong(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    struct client c;
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    send_frame(b, g, (struct frame){.kind = FRAME_BARRIER, .channel = 1, .number = 42});
    assert_int_equal(next_frame(b, g).kind, FRAME_NONE);
    channel_pong(c.channel, c.ping + 1);
    assert_int_equal(next_frame(b, g).kind, FRAME_NONE);
    channel_pong(c.channel, c.ping);
    struct frame f = next_frame(b, g);
    assert_int_equal(f.kind, FRAME_BARRIER_DONE);
    assert_int_equal(f.number, 42);
    close_client(&c);
}

static void
python_is_answered_before_the_close(void **state)
{
    struct bench *b = *state;
    struct client c;
    open_client(b, &c, 0, CLIENT_PYTHON);
    receive(&c, "{\"method\":\"processWait\",\"params\":{\"pid\":5},\"id\":3,\"jsonrpc\":\"2.0\"}");
    sandbox_end(b->guests[0].sandbox, SANDBOX_END_TIMEOUT);
    expect_text(&c, "{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":1,\"message\":\"WebSocket "
                    "connection closed\"}}\n");
    assert_int_equal(c.closed, 1001);
    close_client(&c);
}

static void
python_is_answered_behind_a_broken_result(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    struct client c;
    open_client(b, &c, 0, CLIENT_PYTHON);
    receive(&c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"readTextFile\"}");
    struct frame f = next_frame(b, g);
    receive(&c, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"envGet\"}");
    send_frame(b, g, result(f.channel, f.number, FRAME_IS_OK | FRAME_MORE, TEXT("\0\"ab")));
    sandbox_end(g->sandbox, SANDBOX_END_TIMEOUT);
    expect_text(&c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"ok\":\"ab\n"
                    "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":1,\"message\":\"WebSocket "
                    "connection closed\"}}\n");
    assert_int_equal(c.closed, 1001);
    close_client(&c);
}

static void
a_sandbox_takes_only_so_many_clients(void **state)
{
    struct bench *b = *state;
    static struct client clients[SANDBOX_CHANNELS_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
        assert_true(channel_has_room(b->guests[0].sandbox));
        open_client(b, &clients[i], 0, CLIENT_JAVASCRIPT);
    }
    assert_false(channel_has_room(b->guests[0].sandbox));
    assert_true(channel_has_room(b->guests[1].sandbox));
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
        close_client(&clients[i]);
    assert_true(channel_has_room(b->guests[0].sandbox));
}

static void
a_guest_that_does_not_read_is_ended(void **state)
{
    struct bench *b = *state;
    struct sandbox *s = b->guests[0].sandbox;
    static char text[FRAME_PAYLOAD_MAX];
    struct client c;
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    memset(text, ' ', sizeof text);
    for (int i = 0; i < 100 && !c.paused; i++)
        channel_receive(c.channel, text, sizeof text, false);
    assert_true(c.paused);
    int64_t now = clock_monotonic_ms();
    guest_check(s, now + 59 * 1000);
    assert_int_equal(c.closed, 0);
    guest_check(s, now + 61 * 1000);
    assert_int_equal(c.closed, 1011);
    assert_int_equal(sandbox_state(s), SANDBOX_STOPPING);
    close_client(&c);
}

static void
a_guest_that_reads_again_is_not(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    static char text[FRAME_PAYLOAD_MAX];
    struct client c;
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    memset(text, ' ', sizeof text);
    for (int i = 0; i < 100 && !c.paused; i++)
        channel_receive(c.channel, text, sizeof text, false);
    assert_true(c.paused);
    while (next_frame(b, g).kind == FRAME_MESSAGE)
        ;
    assert_false(c.paused);
    guest_check(g->sandbox, clock_monotonic_ms() + 3600 * 1000);
    assert_int_equal(c.closed, 0);
    close_client(&c);
}

// Protocol rule 8: it would end the client's process.
static void
an_empty_chunk_never_reaches_the_client(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    struct client c;
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    receive(&c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"walk\"}");
    struct frame f = next_frame(b, g);
    send_frame(b, g, result(f.channel, f.number, FRAME_IS_OK, TEXT("\1\1\0\0\0{}")));
    send_frame(b, g, (struct frame){.kind = FRAME_STREAM_START, .channel = 1, .number = 1});
    buf_clear(&c.text);
    send_frame(b, g, (struct frame){.kind = FRAME_STREAM_DATA, .channel = 1, .number = 1});
    assert_int_equal(buf_size(&c.text), 0);
    assert_int_equal(c.closed, 1011);
    close_client(&c);
}

// One write of many frames: they come in turns, in order, and none is lost.
static void
a_flood_of_frames_comes_in_turns(void **state)
{
    enum { FRAMES = 2000 };
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    struct client c;
    cleanup_buf struct buf out;
    buf_init(&out, 1024 * 1024);
    open_client(b, &c, 0, CLIENT_JAVASCRIPT);
    receive(&c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"envGet\"}");
    struct frame f = next_frame(b, g);
    struct frame piece = result(f.channel, f.number, FRAME_IS_OK | FRAME_MORE, TEXT("\0\""));
    for (int i = 0; i < FRAMES; i++) {
        assert_int_equal(frame_encode(&out, &piece), 0);
        piece = result(f.channel, f.number, FRAME_MORE, i % 2 == 0 ? "a" : "b", 1);
    }
    piece = result(f.channel, f.number, 0, TEXT("\""));
    assert_int_equal(frame_encode(&out, &piece), 0);
    assert_int_equal(fd_write_all(g->fd, buf_bytes(&out), buf_size(&out)), 0);
    (void)uv_run(&b->loop, UV_RUN_NOWAIT);
    assert_in_range(buf_size(&c.text), 1, FRAMES / 2);
    for (int i = 0; i < 1000 && (buf_size(&c.text) == 0 || c.text.data[c.text.tail - 1] != '\n');
         i++)
        (void)uv_run(&b->loop, UV_RUN_ONCE);
    const char *text = strstr((char *)buf_bytes(&c.text), "\"ok\":\"");
    assert_non_null(text);
    text += strlen("\"ok\":\"");
    for (int i = 0; i < FRAMES - 1; i++)
        assert_int_equal(text[i], i % 2 == 0 ? 'a' : 'b');
    assert_memory_equal(text + FRAMES - 1, "\"}}\n", 4);
    assert_int_equal(c.closed, 0);
    close_client(&c);
}

// What stands in the audit file, once its writer, on a thread, has come to it.
static void
audit_text(struct bench *b, char *text, size_t size)
{
    cleanup_fd int fd = open(b->audit, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;
    for (int i = 0; i < 200 && n <= 0; i++) {
        turn(b);
        n = pread(fd, text, size - 1, 0);
        (void)usleep(5000);
    }
    assert_true(n > 0);
    text[n] = '\0';
}

// Several events in one datagram: each is judged alone, and one that is none ends the sandbox.
static void
events_come_in_lines(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    char text[512] = {0};
    const char two[] = "\x02{\"ev\":\"swap\"}\n{\"ev\":\"request\"}";
    assert_int_equal(fd_send_msg(g->events, two, sizeof two - 1, NULL, 0), 0);
    audit_text(b, text, sizeof text);
    char wanted[256];
    (void)snprintf(wanted, sizeof wanted,
                   "{\"ev\":\"swap\",\"sandbox\":\"%s\"}\n"
                   "{\"ev\":\"request\",\"sandbox\":\"%s\"}\n",
                   g->id, g->id);
    assert_string_equal(text, wanted);
    const char trailing[] = "\x02{\"ev\":\"swap\"}\n";
    assert_int_equal(fd_send_msg(g->events, trailing, sizeof trailing - 1, NULL, 0), 0);
    turn(b);
    assert_int_equal(sandbox_end_reason(g->sandbox), SANDBOX_END_FAULT);
}

static void
too_many_events_in_one_datagram_end_the_sandbox(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    char many[1 + (EVENT_LINES_MAX + 1) * 8] = "\x02";
    size_t used = 1;
    for (int i = 0; i <= EVENT_LINES_MAX; i++) {
        memcpy(many + used, i > 0 ? "\n{\"a\":1}" : "{\"a\":1}", i > 0 ? 8 : 7);
        used += i > 0 ? 8 : 7;
    }
    assert_int_equal(fd_send_msg(g->events, many, used, NULL, 0), 0);
    turn(b);
    assert_int_equal(sandbox_end_reason(g->sandbox), SANDBOX_END_FAULT);
}

// A worker that was taken over must not write events of another sandbox into the audit.
static void
an_event_is_of_its_own_sandbox(void **state)
{
    struct bench *b = *state;
    struct guest *g = &b->guests[0];
    char text[512] = {0};
    const char forged[] = "\x02{\"verdict\":\"deny\",\"sandbox\":\"sbx_ord_forged\"}";
    assert_int_equal(fd_send_msg(g->events, forged, sizeof forged - 1, NULL, 0), 0);
    audit_text(b, text, sizeof text);
    json_t *event = json_loads(text, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(event, "sandbox")), g->id);
    json_decref(event);
    const char open_end[] = "\x02{\"verdict\":\"deny\"} ";
    assert_int_equal(fd_send_msg(g->events, open_end, sizeof open_end - 1, NULL, 0), 0);
    turn(b);
    assert_int_equal(sandbox_end_reason(g->sandbox), SANDBOX_END_FAULT);
}

// The socket has an error then, where it would otherwise have an end.
static void
a_launcher_that_dies_with_messages_unread_is_noticed(void **state)
{
    struct bench *b = *state;
    sandbox_end(b->guests[0].sandbox,
                SANDBOX_END_KILLED); // tells the launcher, which does not read
    (void)close(b->launcher);
    turn(b);
    assert_true(b->launcher_gone);
    assert_int_equal(sandbox_end_reason(b->guests[1].sandbox), SANDBOX_END_FAULT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_travels_and_is_answered),
        TEST(a_long_answer_is_passed_on_in_pieces),
        TEST(stream_ids_are_the_daemons),
        TEST(restarts_are_told_under_the_daemons_name),
        TEST(a_watcher_carries_no_data),
        TEST(a_hostile_guest_reaches_no_other_stream),
        TEST(every_breach_ends_the_sandbox),
        TEST(credit_is_kept),
        TEST(bad_messages_close_the_client_only),
        TEST(ping_is_answered_in_any_pieces),
        TEST(barriers_wait_for_the_pong),
        TEST(python_is_answered_before_the_close),
        TEST(python_is_answered_behind_a_broken_result),
        TEST(a_sandbox_takes_only_so_many_clients),
        TEST(a_guest_that_does_not_read_is_ended),
        TEST(a_guest_that_reads_again_is_not),
        TEST(an_empty_chunk_never_reaches_the_client),
        TEST(a_flood_of_frames_comes_in_turns),
        TEST(events_come_in_lines),
        TEST(too_many_events_in_one_datagram_end_the_sandbox),
        TEST(an_event_is_of_its_own_sandbox),
        cmocka_unit_test_setup_teardown(a_launcher_that_dies_with_messages_unread_is_noticed,
                                        set_up, tear_down_without_launcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
