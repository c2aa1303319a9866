// SPDX-License-Identifier: Apache-2.0
// Bodies: content, end and refusal are the same however the bytes are cut.
#include "unit.h"

#include "http/h1.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

struct body_case {
    const char *wire;
    const char *content; // NULL: refused
    const char *rest;    // what must be left over
    enum h1_status end;
};

static const struct body_case chunked[] = {
    {"0\r\n\r\n", "", "", H1_OK},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", "", H1_OK},
    {"5\r\nhello\r\n0\r\n\r\nGET /", "hello", "GET /", H1_OK},
    {"A\r\n0123456789\r\n1\r\nx\r\n00\r\n\r\n", "0123456789x", "", H1_OK},
    {"5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", "hello", "", H1_OK},
    {"1\r\nx\r\n0\r\nA: b\r\nC-d:\r\n\r\nZ", "x", "Z", H1_OK},
    {"5\r\nhel", "hel", "", H1_MORE},
    {"5\r\nhello\r\n", "hello", "", H1_MORE}, // no last chunk: never complete
    {"5\r\nhello\r\n0\r\n", "hello", "", H1_MORE},
    {"0x5\r\nhello\r\n0\r\n\r\n", NULL, "", H1_BAD},
    {"+5\r\nhello\r\n0\r\n\r\n", NULL, "", H1_BAD},
    {"-1\r\n", NULL, "", H1_BAD},
    {" 5\r\nhello\r\n", NULL, "", H1_BAD},
    {"5 \r\nhello\r\n", NULL, "", H1_BAD},
    {"5 ;a\r\nhello\r\n", NULL, "", H1_BAD},
    {"\r\nhello\r\n", NULL, "", H1_BAD},
    {";a\r\n", NULL, "", H1_BAD},
    {"5\nhello\r\n", NULL, "", H1_BAD},
    {"5\rhello\r\n", NULL, "", H1_BAD},
    {"5\r\nhello\n0\r\n\r\n", NULL, "", H1_BAD},
    {"5\r\nhelloX\r\n0\r\n\r\n", NULL, "", H1_BAD},
    {"5\r\nhello0\r\n\r\n", NULL, "", H1_BAD},
    {"5;a\nhello\r\n", NULL, "", H1_BAD},
    {"5;a\x01\r\nhello\r\n", NULL, "", H1_BAD},
    {"10000000000000000\r\n", NULL, "", H1_BAD},
    {"ffffffffffffffff\r\n", NULL, "", H1_BAD},
    {"000000000000000005\r\n", NULL, "", H1_BAD},
    {"0\r\nA b\r\n\r\n", NULL, "", H1_BAD},
    {"0\r\n: b\r\n\r\n", NULL, "", H1_BAD},
    {"0\r\n A: b\r\n\r\n", NULL, "", H1_BAD},
    {"0\r\nA : b\r\n\r\n", NULL, "", H1_BAD},
    {"0\r\nA: b\n\r\n", NULL, "", H1_BAD},
    {"0\r\nA: \x01\r\n\r\n", NULL, "", H1_BAD},
    {"0\r\n\rX", NULL, "", H1_BAD},
};

struct outcome {
    enum h1_status status;
    char content[64];
    size_t content_size;
    size_t used;
};

static struct outcome
feed_in_pieces(const struct h1_head *head, const char *wire, size_t piece)
{
    struct outcome o = {.status = H1_MORE};
    struct h1_body b;
    h1_body_init(&b, head);
    size_t size = strlen(wire);
    do {
        size_t n = size - o.used < piece ? size - o.used : piece;
        cleanup_free uint8_t *copy = malloc(n > 0 ? n : 1);
        assert_non_null(copy);
        memcpy(copy, wire + o.used, n);
        size_t used;
        struct h1_span content;
        o.status = h1_body_feed(&b, copy, n, &used, &content);
        assert_true(used <= n);
        o.used += used;
        assert_true(o.content_size + content.size < sizeof o.content);
        if (content.size > 0)
            memcpy(o.content + o.content_size, content.data, content.size);
        o.content_size += content.size;
    } while (o.status == H1_MORE && o.used < size);
    return o;
}

static void
chunked_table(void **state)
{
    (void)state;
    const struct h1_head head = {.framing = H1_BODY_CHUNKED};
    for (size_t i = 0; i < ARRAY_SIZE(chunked); i++) {
        const struct body_case *c = &chunked[i];
        for (size_t piece = 1; piece <= strlen(c->wire); piece++) {
            struct outcome o = feed_in_pieces(&head, c->wire, piece);
            if (o.status != c->end)
                fail_msg("case %zu in pieces of %zu: %d", i, piece, (int)o.status);
            if (c->content == NULL)
                continue;
            o.content[o.content_size] = '\0';
            assert_string_equal(o.content, c->content);
            assert_string_equal(c->wire + o.used, c->rest);
        }
    }
}

static void
length_and_close(void **state)
{
    (void)state;
    struct h1_head head = {.framing = H1_BODY_LENGTH, .content_length = 5};
    struct outcome o = feed_in_pieces(&head, "helloGET", 3);
    assert_int_equal(o.status, H1_OK);
    assert_int_equal(o.used, 5);
    assert_int_equal(feed_in_pieces(&head, "hell", 4).status, H1_MORE);
    head.content_length = 0;
    assert_int_equal(feed_in_pieces(&head, "", 1).status, H1_OK);
    head.framing = H1_BODY_NONE;
    o = feed_in_pieces(&head, "GET", 3);
    assert_int_equal(o.status, H1_OK);
    assert_int_equal(o.used, 0);
    head.framing = H1_BODY_UNTIL_CLOSE;
    o = feed_in_pieces(&head, "anything", 3);
    assert_int_equal(o.status, H1_MORE);
    assert_int_equal(o.content_size, 8);
}

// Feeds one text again and again; true if the body is refused before it has taken limit bytes.
static bool
refused_within(const char *start, const char *repeated, size_t limit)
{
    const struct h1_head head = {.framing = H1_BODY_CHUNKED};
    struct h1_body b;
    h1_body_init(&b, &head);
    size_t total = 0;
    const char *text = start;
    while (total < limit) {
        size_t at = 0;
        while (at < strlen(text)) {
            size_t used;
            struct h1_span content;
            enum h1_status r =
                h1_body_feed(&b, (const uint8_t *)text + at, strlen(text) - at, &used, &content);
            if (r == H1_BAD)
                return true;
            at += used;
        }
        total += at;
        text = repeated;
    }
    return false;
}

static void
trailers_are_kept(void **state)
{
    (void)state;
    static const char wire[] =
        "1\r\na\r\n0;x=y\r\nFirst: \t one two \r\nEmpty:\r\nColon:a:b\r\n\r\nGET";
    struct h1_head head = {.framing = H1_BODY_CHUNKED};
    for (size_t step = 1; step < sizeof wire; step++) {
        struct buf trailers;
        struct h1_body b;
        enum h1_status r = H1_MORE;
        buf_init(&trailers, H1_TRAILER_MAX);
        h1_body_init(&b, &head);
        b.trailers = &trailers;
        for (size_t at = 0; r == H1_MORE;) {
            size_t left = sizeof wire - 1 - at < step ? sizeof wire - 1 - at : step;
            size_t used;
            struct h1_span content;
            r = h1_body_feed(&b, (const uint8_t *)wire + at, left, &used, &content);
            at += used;
        }
        assert_int_equal(r, H1_OK);
        struct h1_field f;
        size_t at = 0;
        assert_true(h1_next_trailer(&trailers, &at, &f));
        assert_true(h1_span_is(f.name, "First") && h1_span_is(f.value, "one two"));
        assert_true(h1_next_trailer(&trailers, &at, &f));
        assert_true(h1_span_is(f.name, "Empty") && f.value.size == 0);
        assert_true(h1_next_trailer(&trailers, &at, &f));
        assert_true(h1_span_is(f.name, "Colon") && h1_span_is(f.value, "a:b"));
        assert_false(h1_next_trailer(&trailers, &at, &f));
        assert_int_equal(at, buf_size(&trailers));
        buf_done(&trailers);
    }
}

static void
floods_are_bounded(void **state)
{
    (void)state;
    assert_true(refused_within("5;", "aaaaaaaa", 2 * H1_CHUNK_LINE_MAX));
    assert_true(
        refused_within("", "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n", 4 * H1_TRAILER_MAX));
    assert_true(refused_within("0\r\nA:", "aaaaaaaa", 2 * H1_TRAILER_MAX));
    assert_true(refused_within("0\r\n", "A:\r\n", 4 * 2 * H1_FIELDS_MAX));
    assert_false(refused_within("", "1\r\nx\r\n", 4 * H1_TRAILER_MAX));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunked_table),
        cmocka_unit_test(length_and_close),
        cmocka_unit_test(trailers_are_kept),
        cmocka_unit_test(floods_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
