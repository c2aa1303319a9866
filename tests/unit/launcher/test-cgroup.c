// SPDX-License-Identifier: Apache-2.0
#include "launcher/cgroup.h"
#include "unit.h"

#include <string.h>

static const char hybrid[] =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

static const char unified[] =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

static void
test_hybrid(void **state)
{
    (void)state;
    struct cgroup_layout l;
    assert_int_equal(cgroup_layout_parse(&l, hybrid, NULL), 0);
    assert_string_equal(l.v2, "/sys/fs/cgroup/unified");
    assert_string_equal(l.v1[CGROUP_CPU], "/sys/fs/cgroup/cpu,cpuacct");
    assert_string_equal(l.v1[CGROUP_MEMORY], "/sys/fs/cgroup/memory");
    assert_string_equal(l.v1[CGROUP_PIDS], "");
    char text[64];
    cgroup_layout_describe(&l, text, sizeof text);
    assert_string_equal(text, "cgroup v2, v1: cpu memory");
}

static void
test_unified(void **state)
{
    (void)state;
    struct cgroup_layout l;
    assert_int_equal(cgroup_layout_parse(&l, unified, NULL), 0);
    assert_string_equal(l.v2, "/sys/fs/cgroup");
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++)
        assert_string_equal(l.v1[c], "");
    char text[64];
    cgroup_layout_describe(&l, text, sizeof text);
    assert_string_equal(text, "cgroup v2");
}

static void
test_escapes(void **state)
{
    (void)state;
    struct cgroup_layout l;
    assert_int_equal(
        cgroup_layout_parse(&l, "30 23 0:26 / /my\\040cgroup\\134x rw - cgroup2 none rw\n", NULL),
        0);
    assert_string_equal(l.v2, "/my cgroup\\x");
}

static void
test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\n\n",
        "30",
        "30 23 0:26 / /sys/fs/cgroup rw cgroup2 none rw",
        "30 23 0:26 / - cgroup2 none rw",
        "30 23 0:26 / /sys/fs/cgroup rw - cgroup2",
        "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cgroup_layout l;
        struct error err = {0};
        assert_int_equal(cgroup_layout_parse(&l, bad[i], &err), -1);
        assert_int_equal(err.code, ERR_UNAVAILABLE);
    }
}

static void
test_controllers(void **state)
{
    (void)state;
    assert_true(cgroup_controllers_has("cpuset cpu io memory pids\n", "cpu"));
    assert_true(cgroup_controllers_has("cpuset cpu io memory pids\n", "pids"));
    assert_false(cgroup_controllers_has("cpuset cpuacct io\n", "cpu"));
    assert_false(cgroup_controllers_has("", "cpu"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hybrid),      cmocka_unit_test(test_unified),
        cmocka_unit_test(test_escapes),     cmocka_unit_test(test_bad),
        cmocka_unit_test(test_controllers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
