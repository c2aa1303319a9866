// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "launcher/restart.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static void
only_so_many_in_a_minute(void **state)
{
    (void)state;
    struct restart r;
    int64_t now = 1000;
    restart_init(&r);
    for (int i = 0; i < RESTARTS_MAX; i++) {
        assert_true(restart_grant(&r, now));
        assert_int_equal(r.at_ms - now, i == 0 ? 0 : RESTART_PAUSE_MS << (i - 1));
        now = r.at_ms;
    }
    assert_false(restart_grant(&r, now));
    assert_false(restart_grant(&r, 1000 + RESTARTS_MS));
    assert_true(restart_grant(&r, 1000 + RESTARTS_MS + 1));
    assert_int_equal(r.count, 1);
}

static void
the_authority_can_be_sealed_and_all_is_closed(void **state)
{
    (void)state;
    struct restart r;
    int pair[2];
    restart_init(&r);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(restart_keep(&r, pair[0], pair[1], NULL), 0);
    assert_int_equal(fcntl(r.ca_fd, F_GET_SEALS), 0);
    assert_int_equal(fcntl(r.policy_fd, F_GETFD), FD_CLOEXEC);
    const int whole = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
    assert_int_equal(fcntl(r.sent_fd, F_GET_SEALS), whole);
    int ca = r.ca_fd;
    restart_done(&r);
    assert_int_equal(fcntl(ca, F_GETFD), -1);
    assert_int_equal(r.policy_fd, -1);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_so_many_in_a_minute),
        cmocka_unit_test(the_authority_can_be_sealed_and_all_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
