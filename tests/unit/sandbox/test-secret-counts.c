// SPDX-License-Identifier: Apache-2.0
// What a worker says is counted only as far as it can be meant; its sandbox may speak through it.
#include "unit.h"

#include "sandbox/secret-counts.c"

#include <stdio.h>

static void
take(struct sandbox *s, const char *event)
{
    secret_counts_take(s, (const uint8_t *)event, strlen(event));
}

static void
events_are_counted(void **state)
{
    (void)state;
    struct sandbox s = {0};
    take(&s, "{\"ev\":\"swap\",\"secret\":\"S1\",\"where\":\"header\"}");
    take(&s, "{\"ev\":\"swap\",\"secret\":\"S1\",\"suppressed\":41}");
    take(&s, "{\"ev\":\"misuse\",\"secret\":\"S1\",\"reason\":\"placeholder_seen\"}");
    take(&s, "{\"ev\":\"placeholder_seen\",\"secret\":\"S2\"}");
    take(&s, "{\"ev\":\"misuse\",\"secret\":\"S2\",\"reason\":\"other\"}");
    assert_int_equal(s.counts->count, 2);
    assert_true(s.counts->changed);
    assert_string_equal(s.counts->names[0].name, "S1");
    assert_int_equal(s.counts->names[0].of[SWAPPED], 43);
    assert_int_equal(s.counts->names[0].of[SEEN], 1);
    assert_int_equal(s.counts->names[0].of[REFUSED], 0);
    assert_int_equal(s.counts->names[1].of[SEEN], 1);
    assert_int_equal(s.counts->names[1].of[REFUSED], 1);
    secret_counts_free(&s);
    assert_null(s.counts);
}

static void
what_cannot_be_meant_is_not(void **state)
{
    (void)state;
    static const char *const events[] = {
        "{\"ev\":\"swap\"}",
        "{\"ev\":\"swap\",\"secret\":\"\"}",
        "{\"ev\":\"swap\",\"secret\":7}",
        "{\"ev\":\"swap\",\"secret\":\"a\\\"b\"}",
        "{\"ev\":\"swap\",\"secret\":\"\\u0041\"}",
        "{\"ev\":\"swap\",\"secret\":\"a b\"}",
        "{\"ev\":\"request\",\"secret\":\"S1\"}",
        "{\"name\":\"x\\\"secret\\\":1\",\"ev\":\"swap\"}",
    };
    struct sandbox s = {0};
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        take(&s, events[i]);
    char event[128];
    (void)snprintf(event, sizeof event, "{\"ev\":\"swap\",\"secret\":\"%0*d\"}", NAME_SIZE_MAX + 1,
                   7);
    take(&s, event);
    assert_null(s.counts);
    for (int i = 0; i < 2 * NAMES_MAX; i++) {
        (void)snprintf(event, sizeof event, "{\"ev\":\"swap\",\"secret\":\"S%d\"}", i);
        take(&s, event);
    }
    assert_int_equal(s.counts->count, NAMES_MAX);
    take(&s, "{\"ev\":\"swap\",\"secret\":\"S0\",\"suppressed\":99999999999999999999}");
    take(&s, "{\"ev\":\"swap\",\"secret\":\"S0\",\"suppressed\":-5}");
    assert_int_equal(s.counts->names[0].of[SWAPPED], 3);
    secret_counts_tell(&s); // nobody to tell
    assert_true(s.counts->changed);
    secret_counts_free(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_counted),
        cmocka_unit_test(what_cannot_be_meant_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
