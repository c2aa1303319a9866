// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "mask/match.h"
#include "mask/redact.h"
#include "policy/policy-internal.h"

#include <jansson.h>
#include <string.h>

// 44 characters, so that the placeholder is as long.
#define VALUE "sk-live-4f9aQ2mZx8Lr7TbYc1Vw6Np3Hd5Kj0Gs9Ue2"
#define SHORT "pass=word!18-long!"

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
    f.redact = redact_new(f.policy, f.patterns, "api.test", 8);
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

static int
set_up_path(void **state)
{
    return set_up(state, "{\"KEY\":{\"hosts\":[\"api.test\"],\"where\":[\"path\"],\"value\":"
                         "\"1234:us/r=+p@ss-word-of-all\"}}");
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

// Each beginning of the form comes out at once up to a length that stands for characters of the
// value at least, whatever it is fed in.
static void
assert_held_from(struct redact *r, struct patterns *all, const struct pattern *p, size_t characters)
{
    struct h1_span clean;
    assert_true(p->hold >= characters);
    for (size_t n = 1; n < p->size; n++) {
        for (size_t step = 1; step <= n; step += n > 1 ? n - 1 : 1) {
            size_t out = 0;
            redact_reset(r);
            patterns_be_wary(all, false);
            for (size_t at = 0; at < n; at += step) {
                size_t size = n - at < step ? n - at : step;
                assert_int_equal(redact_feed(r, (const uint8_t *)p->text + at, size, false, &clean),
                                 0);
                out += clean.size;
            }
            assert_int_equal(out, n < p->hold ? n : step < n ? p->hold - 1 : 0);
        }
    }
    redact_reset(r);
}

// Case 70: what everybody may know of a value, and 15 characters more in whatever form, come out at
// once and at their full size; one character more is held. So whoever has a value echoed in parts
// learns nothing that he could have guessed.
static void
test_hold_back(void **state)
{
    static const char *const prefixes[] = {"", "sk-ant-api03-", "sk-proj-", "github_pat_11"};
    struct fixture *f = *state;
    (void)f;
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        struct error err = {0};
        char value[128];
        struct policy *policy;
        struct patterns *patterns;
        (void)snprintf(value, sizeof value, "%s" VALUE, prefixes[i]);
        json_t *json = json_pack("{s:{s:[s],s:s}}", "KEY", "hosts", "api.test", "value", value);
        assert_int_equal(policy_from_json(NULL, json, &policy, &err), 0);
        json_decref(json);
        // As the policy's loader does with a "prefix".
        policy->secrets[0].prefix_size = strlen(prefixes[i]);
        assert_int_equal(patterns_new(policy, &patterns, &err), 0);
        struct redact *r = redact_new(policy, patterns, "api.test", 8);
        for (size_t k = 0; k < patterns_count(patterns); k++)
            assert_held_from(r, patterns, patterns_at(patterns, k), strlen(prefixes[i]) + 16);
        redact_free(r);
        patterns_free(patterns);
        policy_free(policy);
    }
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
        patterns_be_wary(f->patterns, false);
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

// Of a guess that is held, and of one that is not, wherever it is cut, the same comes out at the
// same time, once one was.
static void
test_one_guess(void **state)
{
    struct fixture *f = *state;
    static const char *const ends[] = {"!", ""};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        struct buf out;
        buf_init(&out, 4096);
        patterns_be_wary(f->patterns, false);
        feed(f, VALUE, 20, false, &out);
        assert_int_equal(buf_size(&out), 0);
        if (i == 0)
            feed(f, "!", 1, false, &out);
        else
            redact_reset(f->redact); // as when the sandbox does not wait
        assert_true(patterns_are_wary(f->patterns));
        for (size_t n = 1; n < strlen(VALUE); n++) {
            buf_clear(&out);
            redact_reset(f->redact);
            feed(f, VALUE, n, false, &out);
            assert_int_equal(buf_size(&out), 0);
            feed(f, VALUE, n, true, &out);
            assert_int_equal(buf_size(&out), 2 * n);
        }
        buf_done(&out);
    }
}

// A value that is cut where it becomes a guess is no guess.
static void
test_no_guess(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    buf_init(&out, 4096);
    feed(f, VALUE, 10, false, &out);
    feed(f, &VALUE[10], 10, false, &out);
    feed(f, &VALUE[20], 5, false, &out);
    assert_int_equal(buf_size(&out), 10);
    feed(f, &VALUE[25], strlen(VALUE) - 25, false, &out);
    assert_int_equal(buf_size(&out), strlen(VALUE));
    assert_memory_equal(buf_bytes(&out) + 10, f->placeholder + 10, strlen(VALUE) - 10);
    feed(f, VALUE VALUE, 60, false, &out);
    feed(f, &VALUE[16], strlen(VALUE) - 16, true, &out);
    assert_int_equal(redact_count(f->redact), 3);
    assert_false(patterns_are_wary(f->patterns));
    buf_done(&out);
}

// Where more surely follows, no byte of a value comes out, and what is delayed tells nothing.
static void
test_more_follows(void **state)
{
    struct fixture *f = *state;
    enum { PADDING = 1000, SIZE = 2 * PADDING + sizeof VALUE - 1 };
    static char text[SIZE];
    const size_t reach = match_longest(patterns_match(f->patterns, 1)) - 1;
    assert_true(reach < PADDING);
    memset(text, '.', sizeof text);
    memcpy(text + PADDING, VALUE, strlen(VALUE));
    redact_expect_more(f->redact, true);
    for (size_t cut = PADDING - 2; cut < PADDING + strlen(VALUE); cut++) {
        struct buf out;
        struct h1_span first;
        buf_init(&out, 2 * SIZE);
        redact_reset(f->redact);
        feed(f, text, cut, false, &out);
        assert_int_equal(buf_size(&out), cut - reach);
        first = redact_release(f->redact, (const uint8_t *)text + cut, SIZE - cut);
        assert_true((first.size > 0) == (cut <= PADDING));
        assert_int_equal(buf_append(&out, first.data, first.size), 0);
        feed(f, text + cut, SIZE - cut, false, &out);
        assert_int_equal(buf_size(&out), SIZE - reach);
        feed(f, "", 0, true, &out);
        assert_int_equal(buf_size(&out), SIZE);
        assert_memory_equal(buf_bytes(&out) + PADDING, f->placeholder, strlen(VALUE));
        assert_false(patterns_are_wary(f->patterns));
        buf_done(&out);
    }
    redact_expect_more(f->redact, false);
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
        "p%2fss%3f%3e%22w%26rd%5cx~~~%3e%3e%3f",
        "p%2fss%3f%3e%22w%26rd%5cx%7e%7e%7e%3e%3e%3f",
        "p/ss?%3E%22w&rd%5Cx~~~%3E%3E?",
        "p/ss%3F%3E%22w%26rd%5Cx~~~%3E%3E%3F",
        "%70%2F%73%73%3F%3E%22%77%26%72%64%5C%78%7E%7E%7E%3E%3E%3F",
        "%70%2f%73%73%3f%3e%22%77%26%72%64%5c%78%7e%7e%7e%3e%3e%3f",
        "p/ss?\\u003e\\\"w\\u0026rd\\\\x~~~\\u003e\\u003e?",
        "p/ss?\\u003E\\\"w\\u0026rd\\\\x~~~\\u003E\\u003E?",
        "p\\/ss?\\u003E\\u0022w\\u0026rd\\\\x~~~\\u003E\\u003E?",
        "\\u0070\\u002f\\u0073\\u0073\\u003f\\u003e\\u0022\\u0077\\u0026\\u0072\\u0064\\u005c\\u007"
        "8"
        "\\u007e\\u007e\\u007e\\u003e\\u003e\\u003f",
        "\\u0070\\u002F\\u0073\\u0073\\u003F\\u003E\\u0022\\u0077\\u0026\\u0072\\u0064\\u005C\\u007"
        "8"
        "\\u007E\\u007E\\u007E\\u003E\\u003E\\u003F",
        "p/ss?&gt;\"w&amp;rd\\x~~~&gt;&gt;?",
        "p&#x2F;ss?&gt;&quot;w&amp;rd\\x~~~&gt;&gt;?",
        "&#112;&#47;&#115;&#115;&#63;&#62;&#34;&#119;&#38;&#114;&#100;&#92;&#120;&#126;&#126;&#126;"
        "&#62;&#62;&#63;",
        "&#x70;&#x2f;&#x73;&#x73;&#x3f;&#x3e;&#x22;&#x77;&#x26;&#x72;&#x64;&#x5c;&#x78;&#x7e;&#x7e;"
        "&#x7e;&#x3e;&#x3e;&#x3f;",
        "&#x70;&#x2F;&#x73;&#x73;&#x3F;&#x3E;&#x22;&#x77;&#x26;&#x72;&#x64;&#x5C;&#x78;&#x7E;&#x7E;"
        "&#x7E;&#x3E;&#x3E;&#x3F;",
        "p&#47;ss&#63;&#62;&#34;w&#38;rd&#92;x&#126;&#126;&#126;&#62;&#62;&#63;",
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

// As the swap writes a value into a path, hosts show it in messages and redirects.
static void
test_own_path(void **state)
{
    static const char path[] = "404: /bot1234:us%2Fr%3D%2Bp@ss-word-of-all/me";
    struct fixture *f = *state;
    struct buf out;
    buf_init(&out, 4096);
    feed(f, path, strlen(path), true, &out);
    assert_int_equal(redact_count(f->redact), 1);
    assert_false(holds(&out, "us%2Fr"));
    buf_done(&out);
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

static struct match_tail
plain_tail(const struct match *m, const char *text, size_t size)
{
    struct match_tail tail = {0};
    for (size_t i = 0; i < match_count(m); i++) {
        const struct pattern *p = match_at(m, i);
        for (size_t n = 1; n < p->size && n <= size; n++) {
            if (memcmp(text + size - n, p->text, n) != 0)
                continue;
            tail.begun = n > tail.begun ? n : tail.begun;
            tail.held = n >= p->hold && n > tail.held ? n : tail.held;
        }
    }
    return tail;
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
        const struct match *m = patterns_match(f->patterns, 1);
        const char *wanted = memmem(text, size, VALUE, strlen(VALUE));
        const struct pattern *found = match_find(m, text, size, 0, &at);
        assert_true((wanted == NULL) == (found == NULL));
        if (wanted != NULL)
            assert_int_equal(at, wanted - text);
        struct match_tail plain = plain_tail(m, text, size);
        struct match_tail tail = match_tail(m, text, size, 0);
        assert_int_equal(tail.begun, plain.begun);
        assert_int_equal(tail.held, plain.held);
    }
    assert_null(patterns_match(f->patterns, 2));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_cuts, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_byte_by_byte, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_held_is_not_lost, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_one_guess, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_no_guess, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_more_follows, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_hold_back, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_short_value, set_up_short, tear_down),
        cmocka_unit_test_setup_teardown(test_other_host, set_up_none, tear_down),
        cmocka_unit_test_setup_teardown(test_longer_first, set_up_nested, tear_down),
        cmocka_unit_test_setup_teardown(test_text, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_base64, set_up_one, tear_down),
        cmocka_unit_test_setup_teardown(test_encoded, set_up_odd, tear_down),
        cmocka_unit_test_setup_teardown(test_own_path, set_up_path, tear_down),
        cmocka_unit_test_setup_teardown(test_base64_of_urls, set_up_odd, tear_down),
        cmocka_unit_test_setup_teardown(test_equal_length, set_up_short, tear_down),
        cmocka_unit_test_setup_teardown(test_search, set_up_one, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
