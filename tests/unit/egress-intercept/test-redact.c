// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "egress/redact.h"

#include <jansson.h>
#include <string.h>

// 44 characters, so that the placeholder is as long.
#define VALUE "sk-live-4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2"
#define SHORT "pass=word!"

struct fixture {
    struct policy *policy;
    struct patterns *patterns;
    struct redact *redact;
    const char *placeholder;
};

static int
set_up(void **state, const char *secrets)
{
    static struct fixture f;
    struct error err = {0};
    json_t *json = json_loads(secrets, 0, NULL);
    assert_non_null(json);
    if (policy_from_json(NULL, json, &f.policy, &err) != 0)
        fail_msg("%s", err.msg);
    json_decref(json);
    assert_int_equal(patterns_new(f.policy, &f.patterns, &err), 0);
    f.redact = redact_new(f.policy, f.patterns, "api.test", 8, 443);
    f.placeholder = policy_secret_placeholder(f.policy, 0);
    *state = &f;
    return 0;
}

static int
set_up_one(void **state)
{
    return set_up(state, "{\"KEY\":{\"hosts\":[\"api.test\"],\"value\":\"" VALUE "\"}}");
}

static int
set_up_short(void **state)
{
    return set_up(state, "{\"KEY\":{\"hosts\":[\"api.test\"],\"value\":\"" SHORT "\"}}");
}

static int
set_up_none(void **state)
{
    return set_up(state, "{\"KEY\":{\"hosts\":[\"two.test\"],\"value\":\"" VALUE "\"}}");
}

// A value that each encoder writes in its own way.
static int
set_up_odd(void **state)
{
    return set_up(state, "{\"KEY\":{\"hosts\":[\"api.test\"],\"value\":"
                         "\"p/ss?>\\\"w&rd\\\\x~~~>>?\""
                         "}}");
}

// One value is another's beginning.
static int
set_up_nested(void **state)
{
    return set_up(state, "{\"LONG\":{\"hosts\":[\"api.test\"],\"value\":\"" VALUE VALUE "\"},"
                         "\"KEY\":{\"hosts\":[\"api.test\"],\"value\":\"" VALUE "\"}}");
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    redact_free(f->redact);
    patterns_free(f->patterns);
    policy_free(f->policy);
    return 0;
}

static void
feed(struct fixture *f, const char *text, size_t size, bool final, struct buf *out)
{
    struct h1_span clean;
    assert_int_equal(redact_feed(f->redact, (const uint8_t *)text, size, final, &clean), 0);
    assert_int_equal(buf_append(out, clean.data, clean.size), 0);
}

static void
assert_text(const struct buf *b, const char *text)
{
    assert_int_equal(buf_size(b), strlen(text));
    assert_memory_equal(buf_bytes(b), text, strlen(text));
}

static void
test_whole(void **state)
{
    struct fixture *f = *state;
    char wanted[256];
    struct buf out;
    buf_init(&out, 4096);
    (void)snprintf(wanted, sizeof wanted, "a%sb%s%sc", f->placeholder, f->placeholder,
                   f->placeholder);
    assert_true(redact_is_active(f->redact));
    assert_true(redact_keeps_length(f->redact));
    feed(f, "a" VALUE "b" VALUE VALUE "c", 3 + 3 * strlen(VALUE), true, &out);
    assert_text(&out, wanted);
    assert_int_equal(redact_count(f->redact), 3);
    buf_done(&out);
}

static bool
holds(const struct buf *b, const char *text)
{
    return memmem(buf_bytes(b), buf_size(b), text, strlen(text)) != NULL;
}

// Every pair of cuts: the value never comes out, the length stays.
static void
test_cuts(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "<<" VALUE "|" VALUE ">>";
    const size_t size = sizeof text - 1;
    for (size_t i = 0; i <= size; i++) {
        for (size_t j = i; j <= size; j++) {
            struct buf out;
            buf_init(&out, 4096);
            redact_reset(f->redact);
            feed(f, text, i, false, &out);
            feed(f, text + i, j - i, false, &out);
            feed(f, text + j, size - j, true, &out);
            assert_false(holds(&out, VALUE));
            assert_int_equal(buf_size(&out), size);
            buf_done(&out);
        }
    }
}

static void
test_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "<<" VALUE "|" VALUE VALUE ">>";
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof text - 1; i++)
        feed(f, text + i, 1, false, &out);
    feed(f, "", 0, true, &out);
    assert_false(holds(&out, VALUE));
    // All but what was out before it could be known.
    assert_true(holds(&out, f->placeholder + 16));
    buf_done(&out);
}

// The rest of a value whose beginning is held comes out when something else follows.
static void
test_held_is_not_lost(void **state)
{
    struct fixture *f = *state;
    for (size_t n = 1; n < strlen(VALUE); n++) {
        struct buf out;
        buf_init(&out, 4096);
        redact_reset(f->redact);
        feed(f, VALUE, n, false, &out);
        assert_int_equal(buf_size(&out), n < 16 ? n : 0);
        feed(f, "~", 1, false, &out);
        assert_int_equal(buf_size(&out), n + 1);
        assert_memory_equal(buf_bytes(&out), VALUE, n);
        buf_clear(&out);
        feed(f, VALUE, n, true, &out);
        assert_int_equal(buf_size(&out), n);
        buf_done(&out);
    }
}

static void
test_short_value(void **state)
{
    struct fixture *f = *state;
    char wanted[128];
    struct buf out;
    buf_init(&out, 4096);
    assert_false(redact_keeps_length(f->redact));
    (void)snprintf(wanted, sizeof wanted, "a%sb", f->placeholder);
    feed(f, "a" SHORT "b", 2 + strlen(SHORT), true, &out);
    assert_text(&out, wanted);
    buf_done(&out);
}

static void
test_other_host(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    buf_init(&out, 4096);
    assert_false(redact_is_active(f->redact));
    feed(f, VALUE, strlen(VALUE), false, &out);
    assert_text(&out, VALUE);
    buf_done(&out);
}

static void
test_longer_first(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    buf_init(&out, 4096);
    feed(f, VALUE VALUE, 2 * strlen(VALUE), true, &out);
    assert_text(&out, f->placeholder);
    buf_clear(&out);
    feed(f, VALUE, strlen(VALUE), false, &out);
    assert_false(holds(&out, VALUE));
    feed(f, "x", 1, true, &out);
    assert_false(holds(&out, VALUE));
    buf_done(&out);
}

static void
test_text(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(redact_text(f->redact, (struct h1_span){VALUE, strlen(VALUE)}, &out), 0);
    assert_text(&out, f->placeholder);
    buf_done(&out);
}

// Within base64 at every alignment and with anything around it.
static void
test_base64(void **state)
{
    struct fixture *f = *state;
    for (size_t before = 0; before < 7; before++) {
        for (size_t after = 0; after < 4; after++) {
            char plain[128];
            char encoded[256] = "";
            char core[256] = "";
            struct buf out;
            buf_init(&out, 4096);
            (void)snprintf(plain, sizeof plain, "%.*s" VALUE "%.*s", (int)before, "user:xy",
                           (int)after, "~~~");
            base64_encode(encoded, (const uint8_t *)plain, strlen(plain));
            redact_reset(f->redact);
            feed(f, encoded, strlen(encoded), true, &out);
            assert_int_equal(buf_size(&out), strlen(encoded));
            // What lies well within the value must be gone.
            size_t from = (before + 2) * 4 / 3;
            (void)snprintf(core, sizeof core, "%.*s", 40, encoded + from);
            assert_false(holds(&out, core));
            assert_int_equal(redact_count(f->redact), before * 4 + after + 1);
            buf_done(&out);
        }
    }
}

static void
test_encoded(void **state)
{
    static const char *const forms[] = {
        "702f73733f3e22772672645c787e7e7e3e3e3f",
        "702F73733F3E22772672645C787E7E7E3E3E3F",
        "p%2Fss%3F%3E%22w%26rd%5Cx~~~%3E%3E%3F",
        "p/ss?>\\\"w&rd\\\\x~~~>>?",
        "p\\/ss?>\\\"w&rd\\\\x~~~>>?",
        "p/ss?&gt;&quot;w&amp;rd\\x~~~&gt;&gt;?",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct buf out;
        buf_init(&out, 4096);
        redact_reset(f->redact);
        feed(f, "<", 1, false, &out);
        feed(f, forms[i], strlen(forms[i]), false, &out);
        feed(f, ">", 1, true, &out);
        if (holds(&out, forms[i]) || redact_count(f->redact) != i + 1)
            fail_msg("passed: %s", forms[i]);
        buf_done(&out);
    }
}

static void
test_base64_of_urls(void **state)
{
    struct fixture *f = *state;
    const char *blob = "dTpwL3NzPz4idyZyZFx4fn5-Pj4_";
    struct buf out;
    buf_init(&out, 4096);
    feed(f, blob, strlen(blob), true, &out);
    assert_int_equal(redact_count(f->redact), 1);
    assert_false(holds(&out, "Pz4idyZyZFx4"));
    buf_done(&out);
}

// As in a tunnel: values shorter than their placeholders, cut anywhere, and not one byte more.
static void
test_equal_length(void **state)
{
    struct fixture *f = *state;
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "a%.*sb", (int)strlen(SHORT), f->placeholder);
    for (size_t cut = 0; cut <= strlen("a" SHORT "b"); cut++) {
        struct buf out;
        buf_init(&out, 4096);
        redact_reset(f->redact);
        redact_keep_length(f->redact);
        feed(f, "a" SHORT "b", cut, false, &out);
        feed(f, &"a" SHORT "b"[cut], strlen("a" SHORT "b") - cut, false, &out);
        assert_int_equal(buf_size(&out), strlen("a" SHORT "b"));
        assert_false(holds(&out, SHORT));
        if (cut == 0)
            assert_text(&out, wanted);
        buf_done(&out);
    }
}

// Against the plain way of looking, over texts of few characters in which much nearly matches.
static void
test_search(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char text[256];
        size_t size = 0;
        while (size < 150) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            size_t from = (seed >> 33) % 40;
            size_t n = (seed >> 45) % (sizeof VALUE - from);
            memcpy(text + size, &VALUE[from], n);
            size += n;
            text[size++] = VALUE[(seed >> 20) % 44];
        }
        size_t at = 0;
        const char *wanted = memmem(text, size, VALUE, strlen(VALUE));
        const struct pattern *found = patterns_find(f->patterns, 1, text, size, 0, &at);
        assert_true((wanted == NULL) == (found == NULL));
        if (wanted != NULL)
            assert_int_equal(at, wanted - text);
        assert_null(patterns_find(f->patterns, 2, text, size, 0, &at));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_cuts, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_byte_by_byte, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_held_is_not_lost, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_short_value, set_up_short, tear_down),
        cmocka_unit_test_setup_teardown(test_other_host, set_up_none, tear_down),
        cmocka_unit_test_setup_teardown(test_longer_first, set_up_nested, tear_down),
        cmocka_unit_test_setup_teardown(test_text, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_base64, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_encoded, set_up_odd, tear_down),
        cmocka_unit_test_setup_teardown(test_base64_of_urls, set_up_odd, tear_down),
        cmocka_unit_test_setup_teardown(test_equal_length, set_up_short, tear_down),
        cmocka_unit_test_setup_teardown(test_search, set_up_one, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
