// SPDX-License-Identifier: Apache-2.0
// The connection between two peers of the test's own, which speak HTTP/2 through nghttp2.
#include "unit.h"

#include "base/cleanup.h"
#include "egress/h2-fake.h"
#include "egress/h2-internal.h"

#include <nghttp2/nghttp2.h>

static struct worker worker;

// A client or a host, and what it has seen.
struct peer {
    nghttp2_session *session;
    struct fake *fake; // the side of the connection that faces it
    int heads;
    int32_t last_stream;
    int resets;
    uint32_t reset_code;
    int goaways;
    size_t body;
    size_t to_send; // of a body without end
    char status[8];
    struct buf *text; // gets the body; NULL: nobody wants it
};

struct bench {
    struct pair pair;
    struct peer client;
    struct peer host;
};

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct peer *p = user;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        p->heads++;
        p->last_stream = frame->hd.stream_id;
    } else if (frame->hd.type == NGHTTP2_RST_STREAM) {
        p->resets++;
        p->reset_code = frame->rst_stream.error_code;
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        p->goaways++;
    }
    return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
          size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags, void *user)
{
    (void)session;
    (void)frame;
    (void)flags;
    struct peer *p = user;
    if (name_size == 7 && memcmp(name, ":status", 7) == 0)
        (void)snprintf(p->status, sizeof p->status, "%.*s", (int)value_size, (const char *)value);
    return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t size,
        void *user)
{
    (void)session;
    (void)flags;
    (void)id;
    struct peer *p = user;
    p->body += size;
    if (p->text != NULL)
        assert_int_equal(buf_append(p->text, data, size), 0);
    return 0;
}

static void
make_peer(struct peer *p, struct fake *fake, bool server)
{
    nghttp2_session_callbacks *c;
    nghttp2_option *o;
    p->fake = fake;
    assert_int_equal(nghttp2_session_callbacks_new(&c), 0);
    assert_int_equal(nghttp2_option_new(&o), 0);
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    assert_int_equal(server ? nghttp2_session_server_new2(&p->session, c, p, o)
                            : nghttp2_session_client_new2(&p->session, c, p, o),
                     0);
    assert_int_equal(nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, NULL, 0), 0);
    nghttp2_session_callbacks_del(c);
    nghttp2_option_del(o);
}

// What the connection wrote goes to the peer, and what the peer has to say to the connection.
static bool
exchange_bytes(struct bench *b, struct peer *p)
{
    bool any = buf_size(&p->fake->out) > 0;
    if (any) {
        ssize_t n =
            nghttp2_session_mem_recv(p->session, buf_bytes(&p->fake->out), buf_size(&p->fake->out));
        assert_int_equal(n, buf_size(&p->fake->out));
        buf_clear(&p->fake->out);
    }
    const uint8_t *data;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(p->session, &data)) > 0) {
        pair_feed(&b->pair, p->fake, data, (size_t)n);
        any = true;
    }
    return any;
}

static void
settle(struct bench *b)
{
    bool more = true;
    for (int i = 0; more && i < 10000; i++) {
        more = exchange_bytes(b, &b->client);
        if (b->host.session != NULL)
            more = exchange_bytes(b, &b->host) || more;
    }
    assert_false(more);
}

static void
start(struct bench *b, bool with_host)
{
    *b = (struct bench){0};
    pair_start(&b->pair, &worker, with_host);
    make_peer(&b->client, &b->pair.client, false);
    if (with_host)
        make_peer(&b->host, &b->pair.upstream, true);
    settle(b);
}

static void
stop(struct bench *b)
{
    nghttp2_session_del(b->client.session);
    nghttp2_session_del(b->host.session);
    pair_end(&b->pair);
}

static nghttp2_nv
field(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

static int32_t
ask(struct bench *b, const nghttp2_data_provider *body)
{
    const nghttp2_nv list[] = {field(":method", body != NULL ? "POST" : "GET"),
                               field(":scheme", "https"), field(":authority", "api.test"),
                               field(":path", "/")};
    int32_t id = nghttp2_submit_request(b->client.session, NULL, list, 4, body, NULL);
    assert_true(id > 0);
    settle(b);
    return id;
}

static ssize_t
read_much(nghttp2_session *session, int32_t id, uint8_t *out, size_t size, uint32_t *flags,
          nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)id;
    (void)flags;
    (void)user;
    struct peer *p = source->ptr;
    memset(out, 'x', size);
    p->to_send += size;
    return (ssize_t)size;
}

static void
answer_with_much(struct bench *b)
{
    const nghttp2_nv status = field(":status", "200");
    const nghttp2_data_provider body = {.source = {.ptr = &b->host}, .read_callback = read_much};
    assert_int_equal(
        nghttp2_submit_response(b->host.session, b->host.last_stream, &status, 1, &body), 0);
}

// A client that takes nothing, neither by its window nor by its socket, stops the host.
static void
slow_client_stops_the_host(void **state)
{
    (void)state;
    struct bench b;
    start(&b, true);
    (void)ask(&b, NULL);
    b.pair.client.full = true;
    answer_with_much(&b);
    settle(&b);
    assert_in_range(b.host.to_send, 1, 512 * 1024);
    size_t before = b.host.to_send;
    b.pair.client.full = false;
    b.pair.client.stream.events->on_drain(b.pair.client.stream.user);
    for (int i = 0; i < 20; i++) {
        size_t taken = b.client.body;
        settle(&b);
        assert_int_equal(nghttp2_session_consume(b.client.session, 1, b.client.body - taken), 0);
        (void)nghttp2_submit_window_update(b.client.session, NGHTTP2_FLAG_NONE, 1, 65535);
        (void)nghttp2_submit_window_update(b.client.session, NGHTTP2_FLAG_NONE, 0, 65535);
    }
    assert_true(b.host.to_send > before);
    stop(&b);
}

static void
slow_host_stops_the_client(void **state)
{
    (void)state;
    struct bench b;
    start(&b, true);
    b.pair.upstream.full = true;
    const nghttp2_data_provider body = {.source = {.ptr = &b.client}, .read_callback = read_much};
    (void)ask(&b, &body);
    assert_in_range(b.client.to_send, 1, 512 * 1024);
    stop(&b);
}

static void
lost_host_is_told_of(void **state)
{
    (void)state;
    struct bench b;
    start(&b, true);
    (void)ask(&b, NULL);
    assert_int_equal(b.host.heads, 1);
    b.pair.upstream.closing = true;
    pair_settle(&b.pair);
    settle(&b);
    assert_string_equal(b.client.status, "502");
    assert_int_equal(b.client.goaways, 1);
    assert_true(b.pair.client.ended);
    stop(&b);
}

static void
no_host_is_goaway(void **state)
{
    (void)state;
    struct bench b;
    start(&b, false);
    assert_int_equal(b.client.goaways, 1);
    assert_true(b.pair.client.ended);
    stop(&b);
}

static void
resets_cross_over(void **state)
{
    (void)state;
    struct bench b;
    start(&b, true);
    int32_t id = ask(&b, NULL);
    (void)nghttp2_submit_rst_stream(b.client.session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    settle(&b);
    assert_int_equal(b.host.resets, 1);
    assert_int_equal(b.host.reset_code, NGHTTP2_CANCEL);
    (void)ask(&b, NULL);
    (void)nghttp2_submit_rst_stream(b.host.session, NGHTTP2_FLAG_NONE, b.host.last_stream,
                                    NGHTTP2_REFUSED_STREAM);
    settle(&b);
    assert_int_equal(b.client.resets, 1);
    assert_int_equal(b.client.reset_code, NGHTTP2_REFUSED_STREAM);
    assert_int_equal(b.host.heads, 2); // and nothing was tried again
    stop(&b);
}

static void
more_streams_than_the_host_takes_wait(void **state)
{
    (void)state;
    struct bench b;
    start(&b, true);
    const nghttp2_settings_entry one = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1};
    assert_int_equal(nghttp2_submit_settings(b.host.session, NGHTTP2_FLAG_NONE, &one, 1), 0);
    settle(&b);
    (void)ask(&b, NULL);
    int32_t first = b.host.last_stream;
    (void)ask(&b, NULL);
    assert_int_equal(b.host.heads, 1);
    const nghttp2_nv status = field(":status", "204");
    assert_int_equal(nghttp2_submit_response(b.host.session, first, &status, 1, NULL), 0);
    settle(&b);
    assert_int_equal(b.host.heads, 2);
    stop(&b);
}

static void
push_ends_the_host(void **state)
{
    (void)state;
    static const uint8_t push[] = {0, 0, 4, 5, 4, 0, 0, 0, 1, 0, 0, 0, 2};
    struct bench b;
    start(&b, true);
    (void)ask(&b, NULL);
    pair_feed(&b.pair, &b.pair.upstream, push, sizeof push);
    settle(&b);
    assert_string_equal(b.client.status, "502");
    assert_true(b.pair.upstream.closing);
    stop(&b);
}

static ssize_t
read_nothing(nghttp2_session *session, int32_t id, uint8_t *out, size_t size, uint32_t *flags,
             nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)id;
    (void)out;
    (void)size;
    (void)flags;
    (void)source;
    (void)user;
    return NGHTTP2_ERR_DEFERRED;
}

// A DATA frame of stream 1.
static void
add_data(struct buf *to, const char *text, size_t size)
{
    const uint8_t head[] = {
        (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, 0, 0, 0, 0, 0, 1};
    assert_int_equal(buf_append(to, head, sizeof head), 0);
    assert_int_equal(buf_append(to, text, size), 0);
}

static void
start_answer(struct bench *b, struct buf *text)
{
    const nghttp2_nv status = field(":status", "200");
    const nghttp2_data_provider later = {.read_callback = read_nothing};
    start(b, true);
    b->client.text = text;
    (void)ask(b, NULL);
    assert_int_equal(nghttp2_submit_response(b->host.session, 1, &status, 1, &later), 0);
    settle(b);
}

static void
take_all(struct bench *b)
{
    for (int i = 0; i < 20; i++) {
        size_t taken = b->client.body;
        settle(b);
        (void)nghttp2_session_consume(b->client.session, 1, b->client.body - taken);
        (void)nghttp2_submit_window_update(b->client.session, NGHTTP2_FLAG_NONE, 1, 65535);
        (void)nghttp2_submit_window_update(b->client.session, NGHTTP2_FLAG_NONE, 0, 65535);
    }
    settle(b);
}

static void
assert_placeholder(const struct buf *text, size_t at)
{
    const char *placeholder = policy_secret_placeholder(worker.policy, 0);
    assert_int_equal(buf_size(text), at + strlen(FAKE_VALUE));
    assert_memory_equal(buf_bytes(text) + at, placeholder, strlen(placeholder));
}

// Frames that come at once are looked at as one, and a frame that is whole is not held.
static void
frames_do_not_cut_a_value(void **state)
{
    (void)state;
    for (size_t cut = 1; cut < strlen(FAKE_VALUE); cut += 6) {
        struct bench b;
        cleanup_buf struct buf text;
        cleanup_buf struct buf frames;
        buf_init(&text, 1024);
        buf_init(&frames, 1024);
        start_answer(&b, &text);
        add_data(&frames, FAKE_VALUE, cut);
        add_data(&frames, &FAKE_VALUE[cut], strlen(FAKE_VALUE) - cut);
        pair_feed(&b.pair, &b.pair.upstream, buf_bytes(&frames), buf_size(&frames));
        settle(&b);
        assert_placeholder(&text, 0);
        // Within one frame, in two writes.
        buf_clear(&frames);
        buf_clear(&text);
        add_data(&frames, FAKE_VALUE, strlen(FAKE_VALUE));
        pair_feed(&b.pair, &b.pair.upstream, buf_bytes(&frames), 9 + cut);
        settle(&b);
        assert_int_equal(buf_size(&text), 0);
        pair_feed(&b.pair, &b.pair.upstream, buf_bytes(&frames) + 9 + cut,
                  buf_size(&frames) - 9 - cut);
        settle(&b);
        assert_placeholder(&text, 0);
        stop(&b);
    }
}

// Nor does the end of the window, which the client could move to where it likes.
static void
windows_do_not_cut_a_value(void **state)
{
    (void)state;
    enum { FRAME = 16384, CUT = 10 };
    static char filler[FRAME];
    struct bench b;
    cleanup_buf struct buf text;
    cleanup_buf struct buf frames;
    buf_init(&text, 1024 * 1024);
    buf_init(&frames, 1024 * 1024);
    start_answer(&b, &text);
    memset(filler, '.', sizeof filler);
    for (size_t at = FRAME; at < H2_STREAM_WINDOW; at += FRAME)
        add_data(&frames, filler, FRAME);
    memcpy(filler + FRAME - CUT, FAKE_VALUE, CUT);
    add_data(&frames, filler, FRAME);
    pair_feed(&b.pair, &b.pair.upstream, buf_bytes(&frames), buf_size(&frames));
    take_all(&b);
    assert_null(memmem(buf_bytes(&text), buf_size(&text), "sk-live", 7));
    buf_clear(&frames);
    add_data(&frames, &FAKE_VALUE[CUT], strlen(FAKE_VALUE) - CUT);
    pair_feed(&b.pair, &b.pair.upstream, buf_bytes(&frames), buf_size(&frames));
    take_all(&b);
    assert_placeholder(&text, H2_STREAM_WINDOW - CUT);
    stop(&b);
}

static int
set_up(void **state)
{
    (void)state;
    pair_policy(&worker);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    patterns_free(worker.patterns);
    policy_free(worker.policy);
    return uv_loop_close(worker.loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_client_stops_the_host),
        cmocka_unit_test(slow_host_stops_the_client),
        cmocka_unit_test(lost_host_is_told_of),
        cmocka_unit_test(no_host_is_goaway),
        cmocka_unit_test(resets_cross_over),
        cmocka_unit_test(more_streams_than_the_host_takes_wait),
        cmocka_unit_test(push_ends_the_host),
        cmocka_unit_test(frames_do_not_cut_a_value),
        cmocka_unit_test(windows_do_not_cut_a_value),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
