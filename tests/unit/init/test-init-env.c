// SPDX-License-Identifier: Apache-2.0
// Environments.
#include "unit.h"

#include "init/env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
env(void **state)
{
    (void)state;
    struct env e cleanup_env;
    struct env copy cleanup_env;
    env_init(&e);
    for (int i = 0; i < 100; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "N%d", i);
        assert_int_equal(env_set(&e, name, name), 0);
    }
    assert_int_equal(env_set(&e, "N1", "other=1"), 0);
    assert_int_equal(e.count, 100);
    assert_string_equal(env_get(&e, "N1"), "other=1");
    assert_string_equal(env_get(&e, "N10"), "N10");
    assert_null(env_get(&e, "N"));
    env_copy(&copy, &e);
    env_unset(&e, "N0");
    env_unset(&e, "N99");
    env_unset(&e, "none");
    assert_int_equal(e.count, 98);
    assert_null(e.entries[98]);
    assert_null(env_get(&e, "N0"));
    assert_string_equal(env_get(&copy, "N0"), "N0");
    assert_false(env_name_is_valid(""));
    assert_false(env_name_is_valid("A=B"));
    assert_true(env_name_is_valid("A B"));

    char *large = malloc(ENV_SIZE_MAX);
    assert_non_null(large);
    memset(large, 'x', ENV_SIZE_MAX - 1);
    large[ENV_SIZE_MAX - 1] = '\0';
    size_t before = e.size;
    assert_int_equal(env_set(&e, "LARGE", large), -E2BIG);
    large[ENV_SIZE_MAX / 2] = '\0';
    assert_int_equal(env_set(&e, "LARGE", large), 0);
    assert_int_equal(env_set(&e, "LARGE", large), 0);
    assert_int_equal(env_set(&e, "OTHER", large), -E2BIG);
    env_unset(&e, "LARGE");
    assert_int_equal(e.size, before);
    free(large);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(env)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
