// SPDX-License-Identifier: Apache-2.0
// The server's side of a WebSocket over a stream in memory: what it makes of frames, however they
// are cut, and what it sends.
#include "api/websocket.h"
#include "unit.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

struct fixture {
    uv_loop_t loop;
    struct stream stream; // first, so that ops find us; see of()
    struct buf wire;      // what the server wrote
    struct websocket *websocket;
    bool reading;
    bool shut;
    bool closed;
    bool gone;
    bool full; // writes return 1
    struct buf text;
    unsigned messages;
    uint64_t token;
    size_t sent;
};

static struct fixture *
of(const struct stream *s)
{
    return (struct fixture *)(uintptr_t)((const char *)s - offsetof(struct fixture, stream));
}

static int
fake_write(struct stream *s, const void *data, size_t size)
{
    struct fixture *f = of(s);
    if (f->closed || f->shut)
        return -1;
    assert_int_equal(buf_append(&f->wire, data, size), 0);
    return f->full;
}

static void
fake_read_start(struct stream *s)
{
    of(s)->reading = true;
}

static void
fake_read_stop(struct stream *s)
{
    of(s)->reading = false;
}

static void
fake_shutdown(struct stream *s)
{
    of(s)->shut = true;
}

static void
fake_close(struct stream *s)
{
    of(s)->closed = true;
}

static size_t
fake_queued(const struct stream *s)
{
    const struct fixture *f = of(s);
    return f->full ? buf_size(&f->wire) : 0;
}

static const struct stream_ops fake_ops = {fake_write,    fake_read_start, fake_read_stop,
                                           fake_shutdown, fake_close,      fake_queued};

static void
on_text(void *user, const void *data, size_t size, bool last)
{
    struct fixture *f = user;
    assert_int_equal(buf_append(&f->text, data, size), 0);
    if (last) {
        assert_int_equal(buf_append_str(&f->text, "|"), 0);
        f->messages++;
    }
}

static void
on_pong(void *user, uint64_t token)
{
    ((struct fixture *)user)->token = token;
}

static void
on_sent(void *user, size_t size)
{
    ((struct fixture *)user)->sent += size;
}

static void
on_gone(void *user)
{
    ((struct fixture *)user)->gone = true;
}

static const struct websocket_events events = {on_text, on_pong, on_sent, on_gone};

static struct fixture *
fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->stream.ops = &fake_ops;
    buf_init(&f->wire, 64 * 1024 * 1024);
    buf_init(&f->text, 64 * 1024 * 1024);
    f->websocket = websocket_new(&f->loop, &f->stream, &events, f);
    websocket_start(f->websocket, NULL, 0);
    assert_true(f->reading);
    return f;
}

static void
fixture_free(struct fixture *f)
{
    f->stream.events->on_close(f->stream.user, NULL);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->gone);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    buf_done(&f->wire);
    buf_done(&f->text);
    free(f);
}

static void
feed(struct fixture *f, const void *data, size_t size, size_t step)
{
    const uint8_t *p = data;
    for (size_t at = 0; at < size; at += step)
        f->stream.events->on_data(f->stream.user, p + at, size - at < step ? size - at : step);
}

// Appends a client's frame, masked unless flags say otherwise.
static void
add_frame(struct buf *out, uint8_t first_byte, bool masked, const void *payload, size_t size)
{
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    uint8_t head[14] = {first_byte};
    size_t n = 2;
    uint8_t bit = masked ? 0x80 : 0;
    if (size < 126) {
        head[1] = (uint8_t)(bit | size);
    } else if (size < 65536) {
        head[1] = (uint8_t)(bit | 126);
        head[n++] = (uint8_t)(size >> 8);
        head[n++] = (uint8_t)size;
    } else {
        head[1] = (uint8_t)(bit | 127);
        for (int i = 7; i >= 0; i--)
            head[n++] = (uint8_t)(size >> (8 * i));
    }
    if (masked)
        for (int i = 0; i < 4; i++)
            head[n++] = mask[i];
    assert_int_equal(buf_append(out, head, n), 0);
    for (size_t i = 0; i < size; i++) {
        uint8_t c = ((const uint8_t *)payload)[i];
        if (masked)
            c ^= mask[i % 4];
        assert_int_equal(buf_append(out, &c, 1), 0);
    }
}

static void
add_text(struct buf *out, uint8_t first_byte, const char *text)
{
    add_frame(out, first_byte, true, text, strlen(text));
}

static void
expect_wire(struct fixture *f, const void *bytes, size_t size)
{
    assert_int_equal(buf_size(&f->wire), size);
    if (size > 0)
        assert_memory_equal(buf_bytes(&f->wire), bytes, size);
    buf_clear(&f->wire);
}

static void
expect_text(struct fixture *f, const char *text)
{
    assert_int_equal(buf_size(&f->text), strlen(text));
    if (text[0] != '\0')
        assert_memory_equal(buf_bytes(&f->text), text, strlen(text));
    buf_clear(&f->text);
}

// The server sent Close with this code (and a reason), and its FIN.
static void
expect_close(struct fixture *f, uint16_t code)
{
    const uint8_t *b = buf_bytes(&f->wire);
    assert_true(buf_size(&f->wire) >= 4);
    assert_int_equal(b[0], 0x88);
    assert_int_equal(b[2] << 8 | b[3], code);
    assert_true(f->shut);
}

static void
test_fragments_and_control_frames(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 2, 3, 7, 1000};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct fixture *f = fixture_new();
        struct buf in;
        buf_init(&in, 4096);
        add_text(&in, 0x81, "one");
        add_text(&in, 0x81, "");
        add_text(&in, 0x01, "tw");
        add_text(&in, 0x89, "hi");
        add_text(&in, 0x00, "");
        add_text(&in, 0x8a, "12345678");
        add_text(&in, 0x80, "o");
        add_text(&in, 0x01, "");
        add_text(&in, 0x80, "");
        feed(f, buf_bytes(&in), buf_size(&in), steps[i]);
        expect_text(f, "one||two||");
        expect_wire(f, "\x8a\x02hi", 4);
        assert_int_equal(f->token, 0x3132333435363738);
        buf_done(&in);
        fixture_free(f);
    }
}

static void
test_a_long_message_is_streamed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct buf in;
    size_t size = 300000;
    char *payload = malloc(size);
    for (size_t i = 0; i < size; i++)
        payload[i] = (char)('a' + i % 26);
    buf_init(&in, 1024 * 1024);
    add_frame(&in, 0x81, true, payload, size);
    feed(f, buf_bytes(&in), 100000, 65536);
    assert_int_equal(f->messages, 0);
    assert_true(buf_size(&f->text) > 90000); // not held back
    feed(f, buf_bytes(&in) + 100000, buf_size(&in) - 100000, 65536);
    assert_int_equal(f->messages, 1);
    assert_memory_equal(buf_bytes(&f->text), payload, size);
    free(payload);
    buf_done(&in);
    fixture_free(f);
}

static const struct {
    uint8_t first_byte;
    bool masked;
    size_t size;
    uint16_t code;
} bad_frames[] = {
    {0x81, false, 3, 1002},  {0x91, true, 3, 1002}, {0xc1, true, 3, 1002}, {0x83, true, 3, 1002},
    {0x8b, true, 3, 1002},   {0x80, true, 3, 1002}, {0x00, true, 3, 1002}, {0x09, true, 3, 1002},
    {0x89, true, 126, 1002}, {0x88, true, 1, 1002}, {0x82, true, 3, 1003}, {0x02, true, 3, 1003},
};

static void
test_bad_frames(void **state)
{
    (void)state;
    char payload[200] = {0};
    for (size_t i = 0; i < sizeof bad_frames / sizeof *bad_frames; i++)
        for (size_t step = 1; step < 100; step += 50) {
            struct fixture *f = fixture_new();
            struct buf in;
            buf_init(&in, 4096);
            add_frame(&in, bad_frames[i].first_byte, bad_frames[i].masked, payload,
                      bad_frames[i].size);
            add_text(&in, 0x81, "after");
            feed(f, buf_bytes(&in), buf_size(&in), step);
            expect_text(f, "");
            expect_close(f, bad_frames[i].code);
            buf_done(&in);
            fixture_free(f);
        }
}

static void
test_data_frame_inside_a_message(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct buf in;
    buf_init(&in, 4096);
    add_text(&in, 0x01, "a");
    add_text(&in, 0x81, "b");
    feed(f, buf_bytes(&in), buf_size(&in), 1);
    expect_text(f, "a");
    expect_close(f, 1002);
    buf_done(&in);
    fixture_free(f);
}

static void
test_too_big(void **state)
{
    (void)state;
    // 128 MiB and one byte, announced at once; and a fragment that says the rest is 128 MiB more.
    static const uint8_t at_once[] = {0x81, 0xff, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 'x'};
    static const uint8_t parts[] = {0x01, 0x81, 0, 0, 0, 0, 'x', 0x00, 0xff, 0, 0,
                                    0,    0,    8, 0, 0, 0, 0,   0,    0,    0, 'x'};
    struct fixture *f = fixture_new();
    feed(f, at_once, sizeof at_once, 1);
    expect_text(f, "");
    expect_close(f, 1009);
    fixture_free(f);
    f = fixture_new();
    feed(f, parts, sizeof parts, 1);
    expect_text(f, "x");
    expect_close(f, 1009);
    fixture_free(f);
}

static const struct {
    const char *payload;
    size_t size;
    const char *answer;
    size_t answer_size;
} closes[] = {
    {"", 0, "\x88\x00", 2},
    {"\x03\xe8", 2, "\x88\x02\x03\xe8", 4},
    {"\x0f\xa0Invalid JSON", 14, "\x88\x02\x0f\xa0", 4},
    {"\x03\xec", 2, NULL, 1002}, // 1004
    {"\x03\xed", 2, NULL, 1002}, // 1005
    {"\x03\xee", 2, NULL, 1002}, // 1006
    {"\x00\x01", 2, NULL, 1002},
    {"\x13\x88", 2, NULL, 1002}, // 5000
    {"\x03\xe8\xff", 3, NULL, 1007},
};

static void
test_client_closes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof closes / sizeof *closes; i++) {
        struct fixture *f = fixture_new();
        struct buf in;
        buf_init(&in, 4096);
        add_frame(&in, 0x88, true, closes[i].payload, closes[i].size);
        add_text(&in, 0x81, "after");
        feed(f, buf_bytes(&in), buf_size(&in), 1);
        if (closes[i].answer != NULL) {
            expect_wire(f, closes[i].answer, closes[i].answer_size);
            assert_true(f->shut);
        } else {
            expect_close(f, (uint16_t)closes[i].answer_size);
        }
        expect_text(f, "");
        buf_done(&in);
        fixture_free(f);
    }
}

static void
test_server_closes(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct buf in;
    websocket_close(f->websocket, 1001, "sandbox timed out");
    expect_wire(f, "\x88\x13\x03\xe9sandbox timed out", 21);
    assert_false(f->shut);
    websocket_close(f->websocket, 1000, "again");
    websocket_send_text(f->websocket, "x", 1, true, true);
    websocket_ping(f->websocket, 1);
    buf_init(&in, 4096);
    add_text(&in, 0x81, "late");
    add_text(&in, 0x89, "late");
    feed(f, buf_bytes(&in), buf_size(&in), 1);
    expect_text(f, "");
    expect_wire(f, "", 0);
    buf_clear(&in);
    add_frame(&in, 0x88, true, "\x03\xe9", 2);
    feed(f, buf_bytes(&in), buf_size(&in), 1);
    expect_wire(f, "", 0); // one Close is enough
    assert_true(f->shut);
    buf_done(&in);
    fixture_free(f);
}

static void
test_end_in_the_middle_of_a_frame(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    feed(f, "\x81\xfe\x01", 3, 1);
    f->stream.events->on_end(f->stream.user);
    assert_true(f->shut);
    expect_wire(f, "", 0);
    fixture_free(f);
}

static void
test_outgoing_text(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    websocket_send_text(f->websocket, "ab", 2, true, false);
    expect_wire(f, "", 0);
    websocket_send_text(f->websocket, "c", 1, false, true);
    expect_wire(f,
                "\x81\x03"
                "abc",
                5);
    websocket_send_text(f->websocket, "", 0, true, true);
    expect_wire(f, "\x81\x00", 2);
    assert_int_equal(f->sent, 3);
    websocket_ping(f->websocket, 0x0102030405060708);
    expect_wire(f, "\x89\x08\x01\x02\x03\x04\x05\x06\x07\x08", 10);
    fixture_free(f);
}

static void
test_long_outgoing_text_is_fragmented(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    size_t size = 2 * WEBSOCKET_FRAGMENT_SIZE + 5;
    char *text = malloc(size);
    memset(text, 'x', size);
    websocket_send_text(f->websocket, text, size, true, true);
    const uint8_t *b = buf_bytes(&f->wire);
    size_t step = 10 + WEBSOCKET_FRAGMENT_SIZE;
    assert_int_equal(buf_size(&f->wire), 2 * step + 7);
    assert_int_equal(b[0], 0x01);
    assert_int_equal(b[1], 127);
    assert_int_equal(b[step], 0x00);
    assert_int_equal(b[2 * step], 0x80);
    assert_int_equal(b[2 * step + 1], 5);
    assert_int_equal(f->sent, size);
    free(text);
    fixture_free(f);
}

static void
test_credit_waits_for_a_full_stream(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->full = true;
    websocket_send_text(f->websocket, "abc", 3, true, true);
    websocket_send_text(f->websocket, "def", 3, true, true);
    assert_int_equal(f->sent, 0);
    f->full = false;
    f->stream.events->on_drain(f->stream.user);
    assert_int_equal(f->sent, 6);
    fixture_free(f);
}

static void
test_a_client_that_never_reads_is_cut_off(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char *text = calloc(1, 65536);
    f->full = true;
    for (size_t i = 0; i <= WEBSOCKET_QUEUE_MAX / 65536 && !f->closed; i++)
        websocket_send_text(f->websocket, text, 65536, true, true);
    assert_true(f->closed);
    free(text);
    fixture_free(f);
}

static void
test_pause(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    websocket_pause(f->websocket, true);
    assert_false(f->reading);
    websocket_pause(f->websocket, false);
    assert_true(f->reading);
    websocket_pause(f->websocket, true);
    websocket_close(f->websocket, 1000, ""); // the client's Close must be read
    assert_true(f->reading);
    fixture_free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fragments_and_control_frames),
        cmocka_unit_test(test_a_long_message_is_streamed),
        cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_data_frame_inside_a_message),
        cmocka_unit_test(test_too_big),
        cmocka_unit_test(test_client_closes),
        cmocka_unit_test(test_server_closes),
        cmocka_unit_test(test_end_in_the_middle_of_a_frame),
        cmocka_unit_test(test_outgoing_text),
        cmocka_unit_test(test_long_outgoing_text_is_fragmented),
        cmocka_unit_test(test_credit_waits_for_a_full_stream),
        cmocka_unit_test(test_a_client_that_never_reads_is_cut_off),
        cmocka_unit_test(test_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
