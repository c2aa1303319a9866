// SPDX-License-Identifier: Apache-2.0
#include "launcher/ids.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SLOTS = 4 };

static void
remove_slots(int dir, const char *path)
{
    for (int i = 0; i < SLOTS + 1; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%d", i);
        (void)unlinkat(dir, name, 0);
    }
    (void)close(dir);
    (void)rmdir(path);
}

// Two that look from the same slot never get the same range, and a closed one is free again.
static void
test_ranges_differ(void **state)
{
    (void)state;
    char path[] = "/tmp/test-ids-XXXXXX";
    assert_non_null(mkdtemp(path));
    int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int held[SLOTS];
    for (unsigned i = 0; i < SLOTS; i++) {
        unsigned hint = 0;
        uint32_t first = 0;
        held[i] = ids_reserve(dir, &hint, &first, NULL);
        assert_true(held[i] >= 0);
        assert_int_equal(first, IDS_FIRST + i * IDS_PER_SANDBOX);
        assert_int_equal(hint, i + 1);
    }
    (void)close(held[1]);
    unsigned hint = 0;
    uint32_t first = 0;
    held[1] = ids_reserve(dir, &hint, &first, NULL);
    assert_int_equal(first, IDS_FIRST + IDS_PER_SANDBOX);
    for (unsigned i = 0; i < SLOTS; i++)
        (void)close(held[i]);
    remove_slots(dir, path);
}

static void
test_highest_range(void **state)
{
    (void)state;
    assert_true((uint64_t)IDS_FIRST + (uint64_t)IDS_SLOTS_MAX * IDS_PER_SANDBOX < UINT32_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_differ),
        cmocka_unit_test(test_highest_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
