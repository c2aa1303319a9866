// SPDX-License-Identifier: Apache-2.0
// Streams from a client, without a link: what is held, delivered, refused.
#include "unit.h"

#include "init/instream.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    char data[64];
    size_t size;
    int ends, errors, gones;
    bool refuse;
};

static bool
on_data(void *user, const uint8_t *data, size_t size)
{
    struct seen *s = user;
    assert_true(s->size + size <= sizeof s->data);
    memcpy(s->data + s->size, data, size);
    s->size += size;
    return !s->refuse;
}

static void
on_end(void *user)
{
    ((struct seen *)user)->ends++;
}

static void
on_error(void *user, const json_t *error)
{
    assert_string_equal(json_string_value(error), "boom");
    ((struct seen *)user)->errors++;
}

static void
on_gone(void *user)
{
    ((struct seen *)user)->gones++;
}

static const struct instream_events events = {on_data, on_end, on_error, on_gone};

static int
set_up(void **state)
{
    static struct channel c;
    c = (struct channel){0};
    list_init(&c.items);
    map_init(&c.instreams, INSTREAMS_MAX);
    *state = &c;
    return 0;
}

static int
tear_down(void **state)
{
    struct channel *c = *state;
    instreams_drop(c);
    assert_int_equal(c->instream_held, 0);
    for (uint64_t id = 0; id < 8; id++)
        channel_unqueue(c, FRAME_STREAM_REFUSE, id);
    map_done(&c->instreams);
    return 0;
}

static void
note(struct channel *c, const char *text)
{
    json_t *v = json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
    assert_non_null(v);
    instream_note(c, json_string_value(json_object_get(v, "m")), json_object_get(v, "p"));
    json_decref(v);
}

#define NOTE(c, what, rest)                                                                        \
    note(c, "{\"m\":\"$sandbox.stream." what "\",\"p\":{\"streamId\":1" rest "}}")

static void
held_until_taken(void **state)
{
    struct channel *c = *state;
    struct seen seen = {0};
    NOTE(c, "enqueue", ",\"data\":\"eA==\""); // not started
    assert_null(instream_find(c, 1));
    NOTE(c, "start", "");
    NOTE(c, "enqueue", ",\"data\":\"b25l\"");
    NOTE(c, "enqueue", ",\"data\":\"\"");
    assert_int_equal(c->instream_held, 3);
    struct instream *s = instream_find(c, 1);
    assert_non_null(s);
    assert_true(instream_take(s, &events, &seen));
    assert_int_equal(c->instream_held, 0);
    assert_null(instream_find(c, 1)); // taken
    NOTE(c, "enqueue", ",\"data\":\"dHdv\"");
    assert_memory_equal(seen.data, "onetwo", 6);
    NOTE(c, "end", "");
    NOTE(c, "end", "");
    assert_int_equal(seen.ends, 1);
    assert_int_equal(c->item_count, 0);
}

static void
over_before_taken(void **state)
{
    struct channel *c = *state;
    struct seen seen = {0};
    NOTE(c, "start", "");
    NOTE(c, "error", ",\"error\":\"boom\"");
    NOTE(c, "enqueue", ",\"data\":\"eA==\"");
    assert_false(instream_take(instream_find(c, 1), &events, &seen));
    assert_int_equal(seen.errors, 1);
    assert_int_equal(seen.size, 0);
    assert_null(instream_find(c, 1));
}

static void
refused(void **state)
{
    struct channel *c = *state;
    struct seen seen = {.refuse = true};
    NOTE(c, "start", "");
    assert_true(instream_take(instream_find(c, 1), &events, &seen));
    NOTE(c, "enqueue", ",\"data\":\"eA==\"");
    NOTE(c, "enqueue", ",\"data\":\"eQ==\"");
    NOTE(c, "end", "");
    assert_int_equal(seen.size, 1);
    assert_int_equal(seen.ends, 0);
    assert_int_equal(c->item_count, 1);
}

static void
nonsense(void **state)
{
    struct channel *c = *state;
    NOTE(c, "start", "");
    NOTE(c, "enqueue", "");
    NOTE(c, "what", "");
    note(c, "{\"m\":\"other\",\"p\":{\"streamId\":2}}");
    note(c, "{\"m\":\"$sandbox.stream.start\",\"p\":{\"streamId\":-2}}");
    note(c, "{\"m\":\"$sandbox.stream.start\",\"p\":{\"streamId\":\"2\"}}");
    note(c, "{\"m\":\"$sandbox.stream.start\",\"p\":[]}");
    assert_int_equal(c->instreams.count, 1);
    NOTE(c, "enqueue", ",\"data\":\"eA=\"");
    assert_int_equal(c->instreams.count, 0);
    assert_int_equal(c->item_count, 1);
}

static void
dropped(void **state)
{
    struct channel *c = *state;
    struct seen seen = {0};
    NOTE(c, "start", "");
    assert_true(instream_take(instream_find(c, 1), &events, &seen));
    instreams_drop(c);
    assert_int_equal(seen.gones, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(held_until_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(over_before_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nonsense, set_up, tear_down),
        cmocka_unit_test_setup_teardown(dropped, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
