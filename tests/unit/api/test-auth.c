// SPDX-License-Identifier: Apache-2.0
#include "api/auth.h"
#include "unit.h"

#include <string.h>

static bool
passes(const struct auth *a, const char *value)
{
    struct error err = {0};
    int status = auth_check(a, value, value != NULL ? strlen(value) : 0, &err);
    if (status < 0)
        assert_int_equal(err.code, ERR_INVALID_TOKEN);
    return status == 0;
}

static void
test_only_known_tokens_pass(void **state)
{
    (void)state;
    struct auth *a = auth_new();
    assert_false(passes(a, "Bearer x"));
    assert_int_equal(auth_add_token(a, "ddo_one", 7, NULL), 0);
    assert_int_equal(auth_add_token(a, "ddo_two", 7, NULL), 0);
    assert_true(passes(a, "Bearer ddo_one"));
    assert_true(passes(a, "bearer ddo_two"));
    static const char *const bad[] = {
        "",        "Bearer",          "Bearer ",         "Bearer ddo_on",  "Bearer ddo_one ",
        "ddo_one", "Basic ddo_one",   "Bearer  ddo_one", "Bearer ddo_onE", "Bearer ddo_three",
        "Bearer,", "Bearer\tddo_one",
    };
    assert_false(passes(a, NULL));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(passes(a, bad[i]));
    auth_free(a);
}

static void
test_sizes_are_bounded(void **state)
{
    (void)state;
    char text[AUTH_TOKEN_TEXT_MAX + 16];
    struct auth *a = auth_new();
    memset(text, 'x', sizeof text);
    assert_int_equal(auth_add_token(a, text, AUTH_TOKEN_TEXT_MAX, NULL), 0);
    assert_int_equal(auth_add_token(a, text, AUTH_TOKEN_TEXT_MAX + 1, NULL), -1);
    assert_int_equal(auth_add_token(a, text, 0, NULL), -1);
    memcpy(text, "Bearer ", 7);
    assert_int_equal(auth_check(a, text, 7 + AUTH_TOKEN_TEXT_MAX, NULL), 0);
    assert_int_equal(auth_check(a, text, 8 + AUTH_TOKEN_TEXT_MAX, NULL), -1);
    while (auth_add_token(a, "y", 1, NULL) == 0)
        continue;
    auth_free(a);
}

static void
test_dev_token(void **state)
{
    (void)state;
    char token[AUTH_DEV_TOKEN_SIZE + 1];
    char value[64] = "Bearer ";
    struct auth *a = auth_new();
    assert_int_equal(auth_make_dev_token(a, token, NULL), 0);
    assert_int_equal(strlen(token), AUTH_DEV_TOKEN_SIZE);
    assert_memory_equal(token, "ddo_", 4);
    strcat(value, token);
    assert_true(passes(a, value));
    auth_free(a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_known_tokens_pass),
        cmocka_unit_test(test_sizes_are_bounded),
        cmocka_unit_test(test_dev_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
