// SPDX-License-Identifier: Apache-2.0
#include "api/config.h"
#include "unit.h"

#include "base/base64.h"

#include <string.h>

#define NOW 1000000000000

static int
parse(const char *text, struct config *ret, struct error *err)
{
    return config_parse(text, strlen(text), CONFIG_MEMORY_MIN_MIB, NOW, NULL, ret, err);
}

static const struct {
    const char *text;
    uint32_t memory_mib;
    int64_t stop_at_ms;
} good[] = {
    {"{}", 1280, 0},
    {"{\"memory_mb\": null, \"labels\": null, \"root\": null, \"volumes\": null, \"port\": null}",
     1280, 0},
    {"{\"memory_mb\": 768, \"volumes\": [], \"debug\": false}", 768, 0},
    {"{\"memory_mb\": 4096, \"volumes\": {}, \"root\": {}, \"ssh\": false}", 4096, 0},
    {"{\"stop_at_ms\": 1000000000001}", 1280, NOW + 1},
    {"{\"stop_at_ms\": 9000000000000}", 1280, NOW + 30 * 60 * 1000},
    {"{\"timeout\": \"session\"}", 1280, 0},
    {"{\"timeout\": \"30s\"}", 1280, NOW + 30000},
    {"{\"timeout\": \"5m\"}", 1280, NOW + 300000},
    {"{\"timeout\": \"99999999999999999999999m\"}", 1280, NOW + 30 * 60 * 1000},
    {"{\"region\": \"us-east-1\", \"unknown\": [1, {}]}", 1280, 0},
    {"{\"labels\": {\"a\": \"b\"}, \"env\": {\"A\": \"1\", \"B\": \"\"}}", 1280, 0},
    {"{\"allow_net\": [\"a.example\"], \"secrets\": {\"KEY\": {\"hosts\": [\"a.example\"], "
     "\"value\": \"v1234567\"}}}",
     1280, 0},
};

static void
test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct error err = {0};
        struct config c;
        if (parse(good[i].text, &c, &err) < 0)
            fail_msg("%s: %s", good[i].text, err.msg);
        assert_int_equal(c.spec.memory_mib, good[i].memory_mib);
        assert_int_equal(c.spec.stop_at_ms, good[i].stop_at_ms);
        assert_non_null(c.spec.policy);
        config_done(&c);
    }
}

static const struct {
    const char *text;
    enum error_code code;
    const char *says;
} bad[] = {
    {"", ERR_INVALID_CONFIG, "not valid JSON"},
    {"[]", ERR_INVALID_CONFIG, "object"},
    {"{", ERR_INVALID_CONFIG, "not valid JSON"},
    {"{} x", ERR_INVALID_CONFIG, "not valid JSON"},
    {"{\"env\": {\"A\": \"hunter2\", }}", ERR_INVALID_CONFIG, "not valid JSON"},
    {"{\"memory_mb\": 768, \"memory_mb\": 769}", ERR_INVALID_CONFIG, "repeated"},
    {"{\"memory_mb\": 767}", ERR_INVALID_CONFIG, "768 to 4096"},
    {"{\"memory_mb\": 4097}", ERR_INVALID_CONFIG, "768 to 4096"},
    {"{\"memory_mb\": \"1280\"}", ERR_INVALID_CONFIG, "memory_mb"},
    {"{\"memory_mb\": 1280.5}", ERR_INVALID_CONFIG, "memory_mb"},
    {"{\"memory_mb\": -9223372036854775808}", ERR_INVALID_CONFIG, "memory_mb"},
    {"{\"stop_at_ms\": \"1\"}", ERR_INVALID_CONFIG, "stop_at_ms"},
    {"{\"stop_at_ms\": 1000000000000}", ERR_INVALID_CONFIG, "past"},
    {"{\"stop_at_ms\": 1e300}", ERR_INVALID_CONFIG, "stop_at_ms"},
    {"{\"stop_at_ms\": 1000000000001, \"timeout\": \"5m\"}", ERR_INVALID_CONFIG, "not both"},
    {"{\"timeout\": \"\"}", ERR_INVALID_CONFIG, "timeout"},
    {"{\"timeout\": \"0s\"}", ERR_INVALID_CONFIG, "timeout"},
    {"{\"timeout\": \"-5s\"}", ERR_INVALID_CONFIG, "timeout"},
    {"{\"timeout\": \"5\"}", ERR_INVALID_CONFIG, "timeout"},
    {"{\"timeout\": \"5h\"}", ERR_INVALID_CONFIG, "timeout"},
    {"{\"timeout\": \"5ms\"}", ERR_INVALID_CONFIG, "timeout"},
    {"{\"timeout\": \" 5s\"}", ERR_INVALID_CONFIG, "timeout"},
    {"{\"timeout\": 5}", ERR_INVALID_CONFIG, "timeout"},
    {"{\"labels\": []}", ERR_INVALID_CONFIG, "labels"},
    {"{\"labels\": {\"\": \"x\"}}", ERR_INVALID_CONFIG, "labels"},
    {"{\"labels\": {\"a\": 1}}", ERR_INVALID_CONFIG, "'a'"},
    {"{\"labels\": {\"a\":\"\",\"b\":\"\",\"c\":\"\",\"d\":\"\",\"e\":\"\",\"f\":\"\"}}",
     ERR_INVALID_CONFIG, "at most 5"},
    {"{\"env\": {\"A=B\": \"x\"}}", ERR_INVALID_CONFIG, "env"},
    {"{\"env\": {\"\": \"x\"}}", ERR_INVALID_CONFIG, "env"},
    {"{\"env\": {\"A\": 1}}", ERR_INVALID_CONFIG, "'A'"},
    {"{\"env\": {\"A\": \"\\u0000\"}}", ERR_INVALID_CONFIG, "NUL"},
    {"{\"env\": {\"K\": \"x\"}, \"secrets\": {\"K\": {\"hosts\": [\"a.b\"], \"value\": "
     "\"vvvvvvvv\"}}}",
     ERR_INVALID_CONFIG, "'K'"},
    {"{\"region\": 1}", ERR_INVALID_CONFIG, "region"},
    {"{\"root\": \"x\"}", ERR_INVALID_CONFIG, "root"},
    {"{\"root\": {\"volume\": \"x\"}}", ERR_UNSUPPORTED, "root"},
    {"{\"volumes\": \"x\"}", ERR_INVALID_CONFIG, "volumes"},
    {"{\"volumes\": [{\"volume\": \"v\", \"path\": \"/m\"}]}", ERR_UNSUPPORTED, "volumes"},
    {"{\"volumes\": {\"/m\": \"v\"}}", ERR_UNSUPPORTED, "volumes"},
    {"{\"ssh\": 1}", ERR_INVALID_CONFIG, "ssh"},
    {"{\"ssh\": true}", ERR_UNSUPPORTED, "ssh"},
    {"{\"port\": 80}", ERR_UNSUPPORTED, "port"},
    {"{\"allow_net\": \"x\"}", ERR_INVALID_CONFIG, "allow_net"},
    {"{\"secrets\": []}", ERR_INVALID_CONFIG, "secrets"},
};

static void
test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        struct config c;
        if (parse(bad[i].text, &c, &err) == 0)
            fail_msg("accepted: %s", bad[i].text);
        if (err.code != (int32_t)bad[i].code || strstr(err.msg, bad[i].says) == NULL)
            fail_msg("%s: said %s", bad[i].text, err.msg);
        assert_null(strstr(err.msg, "hunter2"));
    }
}

static void
test_label_sizes(void **state)
{
    (void)state;
    char text[512];
    struct config c;
    for (int extra = 0; extra < 2; extra++) {
        (void)snprintf(text, sizeof text, "{\"labels\": {\"%0*d\": \"%0*d\"}}", 64 + extra, 0, 128,
                       0);
        assert_int_equal(parse(text, &c, NULL), -extra);
        if (extra == 0)
            config_done(&c);
        (void)snprintf(text, sizeof text, "{\"labels\": {\"%0*d\": \"%0*d\"}}", 64, 0, 128 + extra,
                       0);
        assert_int_equal(parse(text, &c, NULL), -extra);
        if (extra == 0)
            config_done(&c);
    }
}

static void
test_lowered_floor(void **state)
{
    (void)state;
    static const char text[] = "{\"memory_mb\": 128}";
    struct config c;
    assert_int_equal(config_parse(text, sizeof text - 1, 128, NOW, NULL, &c, NULL), 0);
    assert_int_equal(c.spec.memory_mib, 128);
    config_done(&c);
}

static void
check_decode(const void *raw, size_t size, const char *wanted)
{
    char text[256];
    struct error err = {0};
    struct buf out;
    buf_init_secret(&out, CONFIG_DECODED_MAX);
    base64_encode(text, raw, size);
    assert_int_equal(config_decode(text, base64_encoded_size(size), &out, &err), 0);
    assert_int_equal(buf_size(&out), strlen(wanted));
    assert_memory_equal(buf_bytes(&out), wanted, strlen(wanted));
    buf_done(&out);
}

static void
test_decode(void **state)
{
    (void)state;
    check_decode("{}", 2, "{}");
    check_decode("\xc3\xa9", 2, "\xc3\xa9");           // UTF-8 stays
    check_decode("a\xe9\xff", 3, "a\xc3\xa9\xc3\xbf"); // ISO 8859-1 is converted
    static const char *const wrong[] = {"e30", "e3=0", "e30==", "e31=", "{}", "e3 0=", "e30=\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct error err = {0};
        struct buf out;
        buf_init_secret(&out, CONFIG_DECODED_MAX);
        assert_int_equal(config_decode(wrong[i], strlen(wrong[i]), &out, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_CONFIG);
        buf_done(&out);
    }
}

static void
test_decode_cap(void **state)
{
    (void)state;
    struct error err = {0};
    size_t size = base64_encoded_size(CONFIG_TEXT_MAX);
    char *text = malloc(size + 4);
    struct buf out;
    buf_init_secret(&out, CONFIG_DECODED_MAX);
    memset(text, 'A', size + 4);
    assert_int_equal(config_decode(text, size + 4, &out, &err), -1);
    assert_int_equal(err.code, ERR_HEADER_TOO_LARGE);
    memset(text, '/', size); // 0xff: each byte becomes two
    assert_int_equal(config_decode(text, size, &out, &err), 0);
    assert_true(buf_size(&out) > 2 * CONFIG_TEXT_MAX - 4);
    buf_done(&out);
    free(text);
}

static void
test_extension(void **state)
{
    (void)state;
    int64_t stop = 0;
    struct error err = {0};
    static const char *const wrong[] = {"",   "{}",
                                        "[]", "{\"stop_at_ms\": \"x\"}",
                                        "1",  "{\"stop_at_ms\": 1000000000000}",
                                        "{]", "{\"stop_at_ms\": null}"};
    assert_int_equal(
        config_parse_extension("{\"stop_at_ms\": 1000000010000}", 29, NOW, &stop, &err), 0);
    assert_int_equal(stop, NOW + 10000);
    assert_int_equal(
        config_parse_extension("{\"stop_at_ms\": 2000000000000}", 29, NOW, &stop, &err), 0);
    assert_int_equal(stop, NOW + CONFIG_LIFE_MAX_MS);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(config_parse_extension(wrong[i], strlen(wrong[i]), NOW, &stop, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_REQUEST);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_label_sizes), cmocka_unit_test(test_lowered_floor),
        cmocka_unit_test(test_decode),      cmocka_unit_test(test_decode_cap),
        cmocka_unit_test(test_extension),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
