// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "policy/policy-internal.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, LIMIT = 64 * 1024 };

// As a user whose locked memory is bounded: what asks for more is refused, and says so.
static int
ask(size_t size)
{
    const struct rlimit limit = {.rlim_cur = LIMIT, .rlim_max = LIMIT};
    struct vault v = {0};
    struct error err = {0};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 || (geteuid() == 0 && setuid(NOBODY) < 0))
        return 99;
    if (vault_init(&v, size, &err) == 0) {
        memset(v.data, 'x', size);
        vault_done(&v);
        return 0;
    }
    return err.code == ERR_LIMIT && strstr(err.msg, "locked memory") != NULL ? 1 : 98;
}

static int
run(size_t size)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(ask(size));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void
what_cannot_be_locked_is_refused(void **state)
{
    (void)state;
    assert_int_equal(run(LIMIT / 2), 0);
    assert_int_equal(run(2 * LIMIT), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_cannot_be_locked_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
