// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "mask/websocket.h"

#include <jansson.h>
#include <string.h>

#define VALUE "sk-live-4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2" // as long as its placeholder
#define LONG  "a value that is longer than any placeholder there is, by far: 0123456789"

enum { VALUE_SIZE = sizeof VALUE - 1, OUT_MAX = 1024 * 1024 };

static struct policy *policy;
static struct patterns *patterns;

static int
set_up(void **state)
{
    (void)state;
    struct error err = {0};
    json_t *json = json_pack("{s:{s:[s],s:s},s:{s:[s],s:s}}", "KEY", "hosts", "api.test", "value",
                             VALUE, "LONG", "hosts", "api.test", "value", LONG);
    assert_non_null(json);
    if (policy_from_json(NULL, json, &policy, &err) != 0 ||
        patterns_new(policy, &patterns, &err) != 0)
        fail_msg("%s", err.msg);
    json_decref(json);
    return 0;
}

static struct websocket *
make(void)
{
    return websocket_new(policy, patterns, "api.test", 8);
}

// A frame of a server.
static void
put(struct buf *b, uint8_t first, const void *payload, size_t size)
{
    uint8_t head[] = {first, size < 126 ? (uint8_t)size : size < 65536 ? 126 : 127};
    assert_int_equal(buf_append(b, head, sizeof head), 0);
    for (size_t i = size < 126 ? 0 : size < 65536 ? 2 : 8; i-- > 0;)
        assert_int_equal(buf_append(b, &(uint8_t){(uint8_t)(size >> 8 * i)}, 1), 0);
    assert_int_equal(buf_append(b, payload, size), 0);
}

static void
put_text(struct buf *b, uint8_t first, const char *text)
{
    put(b, first, text, strlen(text));
}

// Reads frames: messages are joined, each ended by '\n'; control frames go to control likewise.
static void
join(const struct buf *b, struct buf *messages, struct buf *control)
{
    const uint8_t *p = buf_bytes(b);
    size_t size = buf_size(b);
    for (size_t at = 0; at < size;) {
        uint8_t first = p[at];
        size_t wide = p[at + 1] == 127 ? 8 : p[at + 1] == 126 ? 2 : 0;
        size_t length = wide == 0 ? p[at + 1] : 0;
        assert_true((p[at + 1] & 0x80) == 0);
        for (size_t i = 0; i < wide; i++)
            length = length << 8 | p[at + 2 + i];
        at += 2 + wide;
        assert_true(at + length <= size);
        struct buf *to = (first & 8) != 0 ? control : messages;
        assert_int_equal(buf_append(to, p + at, length), 0);
        if ((first & 0x80) != 0)
            assert_int_equal(buf_append_str(to, "\n"), 0);
        at += length;
    }
}

static void
check_text(struct buf *b, const char *text)
{
    assert_int_equal(buf_append(b, "", 1), 0);
    assert_string_equal((const char *)buf_bytes(b), text);
}

// Feeds in blocks of this size.
static void
feed(struct websocket *w, const struct buf *in, size_t block, struct buf *out)
{
    for (size_t at = 0; at < buf_size(in); at += block) {
        size_t n = buf_size(in) - at < block ? buf_size(in) - at : block;
        assert_int_equal(websocket_feed(w, buf_bytes(in) + at, n, out), 0);
    }
    assert_null(websocket_problem(w));
}

static void
one_frame_stays_one(void **state)
{
    (void)state;
    for (size_t block = 1; block < 300; block += block < 8 ? 1 : 97) {
        cleanup_buf struct buf in;
        cleanup_buf struct buf out;
        cleanup_buf struct buf expected;
        buf_init(&in, OUT_MAX);
        buf_init(&out, OUT_MAX);
        buf_init(&expected, OUT_MAX);
        struct websocket *w = make();
        const char *p = policy_secret_placeholder(policy, 0);
        char text[400];
        put_text(&in, 0x81, "hello");
        put_text(&expected, 0x81, "hello");
        put_text(&in, 0x82, "");
        put_text(&expected, 0x82, "");
        (void)snprintf(text, sizeof text, "%0200d<" VALUE ">", 1);
        put_text(&in, 0x81, text);
        (void)snprintf(text, sizeof text, "%0200d<%s>", 1, p);
        put_text(&expected, 0x81, text);
        put_text(&in, 0x8a, "x" VALUE);
        (void)snprintf(text, sizeof text, "x%s", p);
        put_text(&expected, 0x8a, text);
        feed(w, &in, block, &out);
        assert_int_equal(buf_size(&out), buf_size(&expected));
        assert_memory_equal(buf_bytes(&out), buf_bytes(&expected), buf_size(&out));
        assert_int_equal(websocket_take_count(w, 0), 2);
        websocket_free(w);
    }
}

// The value in two frames of a message, cut everywhere, with a control frame between them.
static void
fragments(void **state)
{
    (void)state;
    char expected[200];
    (void)snprintf(expected, sizeof expected, "<%s>\nnext\n", policy_secret_placeholder(policy, 0));
    for (size_t cut = 0; cut <= VALUE_SIZE + 2; cut++) {
        cleanup_buf struct buf in;
        cleanup_buf struct buf out;
        cleanup_buf struct buf messages;
        cleanup_buf struct buf control;
        buf_init(&in, OUT_MAX);
        buf_init(&out, OUT_MAX);
        buf_init(&messages, OUT_MAX);
        buf_init(&control, OUT_MAX);
        struct websocket *w = make();
        put(&in, 0x01, "<" VALUE ">", cut);
        put_text(&in, 0x89, "ping " VALUE);
        put_text(&in, 0x00, "");
        put(&in, 0x80, &"<" VALUE ">"[cut], VALUE_SIZE + 2 - cut);
        put_text(&in, 0x81, "next");
        feed(w, &in, 1 + cut % 7, &out);
        join(&out, &messages, &control);
        check_text(&messages, expected);
        assert_null(memmem(buf_bytes(&out), buf_size(&out), VALUE, VALUE_SIZE));
        assert_true(buf_size(&control) == VALUE_SIZE + 6);
        // The first frame that is written says what the message is.
        assert_true((buf_bytes(&out)[0] & 0x0f) == (buf_bytes(&out)[0] & 0x08 ? 9 : 1));
        websocket_free(w);
    }
}

static void
values_of_another_length(void **state)
{
    (void)state;
    cleanup_buf struct buf in;
    cleanup_buf struct buf out;
    buf_init(&in, OUT_MAX);
    buf_init(&out, OUT_MAX);
    struct websocket *w = make();
    put_text(&in, 0x81, "<" LONG ">");
    put_text(&in, 0x89, LONG);
    feed(w, &in, 3, &out);
    assert_int_equal(buf_size(&out), buf_size(&in));
    assert_null(memmem(buf_bytes(&out), buf_size(&out), LONG, 20));
    websocket_free(w);
}

// A fragment and no other for a while: what cannot be held goes, what is a value's is not told.
static void
pauses(void **state)
{
    (void)state;
    cleanup_buf struct buf in;
    cleanup_buf struct buf out;
    cleanup_buf struct buf messages;
    cleanup_buf struct buf control;
    buf_init(&in, OUT_MAX);
    buf_init(&out, OUT_MAX);
    buf_init(&messages, OUT_MAX);
    buf_init(&control, OUT_MAX);
    struct websocket *w = make();
    put_text(&in, 0x01, "a token ");
    feed(w, &in, 100, &out);
    assert_int_equal(buf_size(&out), 0);
    assert_true(websocket_holds(w));
    assert_int_equal(websocket_settle(w, &out), 0);
    assert_false(websocket_holds(w));
    assert_int_equal(buf_size(&out), 2 + strlen("a token "));
    buf_clear(&in);
    put(&in, 0x00, VALUE, VALUE_SIZE - 3);
    feed(w, &in, 100, &out);
    assert_int_equal(websocket_settle(w, &out), 0);
    assert_int_equal(buf_size(&out), 2 + strlen("a token "));
    buf_clear(&in);
    put_text(&in, 0x80, &VALUE[VALUE_SIZE - 3]);
    feed(w, &in, 100, &out);
    join(&out, &messages, &control);
    assert_int_equal(buf_size(&messages), strlen("a token ") + VALUE_SIZE + 1);
    assert_null(memmem(buf_bytes(&messages), buf_size(&messages), VALUE, VALUE_SIZE / 2));
    websocket_free(w);
}

static void
refuses(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
#define BYTES(text) {text, sizeof text - 1}
        BYTES("\xc1\x01x"),                                // compressed
        BYTES("\xa1\x01x"),                                // another reserved bit
        BYTES("\x81\x81\1\2\3\4x"),                        // masked
        BYTES("\x83\x01x"),                                // unknown
        BYTES("\x8b\x01x"),                                // an unknown control frame
        BYTES("\x09\x01x"),                                // a cut control frame
        BYTES("\x89\x7e\0\x7e"),                           // a long one
        BYTES("\x80\x01x"),                                // continues nothing
        BYTES("\x01\x01x\x81\x01x"),                       // begins within another
        BYTES("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), // without an end
        BYTES("HTTP/1.1 200 OK\r\n\r\n"),
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup_buf struct buf out;
        buf_init(&out, OUT_MAX);
        struct websocket *w = make();
        if (websocket_feed(w, (const uint8_t *)cases[i].bytes, cases[i].size, &out) == 0 ||
            websocket_problem(w) == NULL)
            fail_msg("case %zu", i);
        buf_clear(&out);
        assert_int_equal(websocket_write_close(websocket_problem(w), &out), 0);
        assert_memory_equal(buf_bytes(&out), "\x88", 1);
        assert_memory_equal(buf_bytes(&out) + 2, "\x03\xea", 2);
        websocket_free(w);
    }
}

static void
long_frames(void **state)
{
    (void)state;
    enum { SIZE = 300000 };
    static char text[SIZE];
    memset(text, 'x', sizeof text);
    memcpy(text + SIZE - VALUE_SIZE, VALUE, VALUE_SIZE);
    cleanup_buf struct buf in;
    cleanup_buf struct buf out;
    buf_init(&in, OUT_MAX);
    buf_init(&out, OUT_MAX);
    struct websocket *w = make();
    put(&in, 0x82, text, SIZE);
    put(&in, 0x82, text, 65535);
    put(&in, 0x82, text, 126);
    feed(w, &in, 16384, &out);
    assert_int_equal(buf_size(&out), buf_size(&in));
    assert_memory_equal(buf_bytes(&out), buf_bytes(&in), 10 + SIZE - VALUE_SIZE);
    assert_null(memmem(buf_bytes(&out), buf_size(&out), VALUE, VALUE_SIZE));
    websocket_free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_frame_stays_one),
        cmocka_unit_test(fragments),
        cmocka_unit_test(values_of_another_length),
        cmocka_unit_test(pauses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(long_frames),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
