// SPDX-License-Identifier: Apache-2.0
#include "launcher/permit.h"
#include "unit.h"

#include "base/cleanup.h"
#include "base/fd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const char id[] = "sbx_ord_0123456789abcdefghjk";

static struct launch_message
message(enum launch_type type)
{
    struct launch_message m = {
        .type = type, .memory_mib = 768, .disk_mib = 10240, .cpu_millis = 2000, .pids_max = 512};
    memcpy(m.id, id, sizeof id);
    return m;
}

// One row a request: the states in which it is permitted.
static void
test_states(void **state)
{
    (void)state;
    static const struct {
        enum launch_type type;
        size_t fds;
        bool permitted[SANDBOX_STATE_MAX];
    } rows[] = {
        {LAUNCH_CREATE, 3, {[SANDBOX_ABSENT] = true}},
        {LAUNCH_CHANNEL,
         1,
         {[SANDBOX_ABSENT] = true,
          [SANDBOX_RUNNING] = true,
          [SANDBOX_KILLING] = true,
          [SANDBOX_CLEANING] = true}},
        {LAUNCH_DESTROY, 0, {true, true, true, true, true}},
        {LAUNCH_READY, 0, {false}},
        {LAUNCH_CREATED, 2, {false}},
        {LAUNCH_FAILED, 0, {false}},
        {LAUNCH_ENDED, 0, {false}},
        {LAUNCH_WORKER, 1, {false}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct launch_message m = message(rows[i].type);
        for (int s = 0; s < SANDBOX_STATE_MAX; s++) {
            struct error err = {0};
            int r = permit_check(&m, rows[i].fds, (enum sandbox_state)s, &err);
            assert_int_equal(r, rows[i].permitted[s] ? 0 : -1);
            assert_int_equal(err.code, rows[i].permitted[s] ? ERR_NONE : ERR_FORBIDDEN);
        }
    }
}

static void
test_descriptor_counts(void **state)
{
    (void)state;
    for (size_t count = 0; count <= FD_PASS_MAX; count++) {
        struct launch_message create = message(LAUNCH_CREATE);
        struct launch_message channel = message(LAUNCH_CHANNEL);
        struct launch_message destroy = message(LAUNCH_DESTROY);
        assert_int_equal(permit_check(&create, count, SANDBOX_ABSENT, NULL), count == 3 ? 0 : -1);
        assert_int_equal(permit_check(&channel, count, SANDBOX_RUNNING, NULL), count == 1 ? 0 : -1);
        assert_int_equal(permit_check(&destroy, count, SANDBOX_RUNNING, NULL), count == 0 ? 0 : -1);
    }
}

static void
test_malformed_ids(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "sbx_ord_",
                                      "../../../../etc/passwd",
                                      "sbx_ord_0123456789abcdefgh/.",
                                      "sbx_ORD_0123456789abcdefghjk",
                                      "sbx_ord_0123456789abcdefghj"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct launch_message m = message(LAUNCH_DESTROY);
        memset(m.id, 0, sizeof m.id);
        memcpy(m.id, bad[i], strlen(bad[i]));
        assert_int_equal(permit_check(&m, 0, SANDBOX_ABSENT, NULL), -1);
    }
}

static void
test_limits(void **state)
{
    (void)state;
    struct launch_message good = message(LAUNCH_CREATE);
    assert_int_equal(permit_check_limits(&good, NULL), 0);
    const struct {
        size_t offset;
        uint32_t value;
    } bad[] = {
        {offsetof(struct launch_message, memory_mib), 0},
        {offsetof(struct launch_message, memory_mib), LAUNCH_MEMORY_MIN_MIB - 1},
        {offsetof(struct launch_message, memory_mib), LAUNCH_MEMORY_MAX_MIB + 1},
        {offsetof(struct launch_message, memory_mib), UINT32_MAX},
        {offsetof(struct launch_message, disk_mib), LAUNCH_DISK_MIN_MIB - 1},
        {offsetof(struct launch_message, disk_mib), LAUNCH_DISK_MAX_MIB + 1},
        {offsetof(struct launch_message, cpu_millis), 0},
        {offsetof(struct launch_message, cpu_millis), LAUNCH_CPU_MILLIS_MAX + 1},
        {offsetof(struct launch_message, pids_max), 0},
        {offsetof(struct launch_message, pids_max), LAUNCH_PIDS_MAX + 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct launch_message m = good;
        struct error err = {0};
        memcpy((char *)&m + bad[i].offset, &bad[i].value, sizeof bad[i].value);
        assert_int_equal(permit_check_limits(&m, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_CONFIG);
    }
}

static void
test_kinds_of_descriptors(void **state)
{
    (void)state;
    cleanup_fd int sealed = fd_memfd_sealed("test", "x", 1);
    cleanup_fd int open = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int events[2];
    int stream[2];
    assert_int_equal(fd_socketpair(SOCK_SEQPACKET, events), 0);
    assert_int_equal(fd_socketpair(SOCK_STREAM, stream), 0);
    struct launch_message create = message(LAUNCH_CREATE);
    struct launch_message channel = message(LAUNCH_CHANNEL);
    assert_int_equal(permit_check_fds(&create, (int[]){sealed, sealed, events[0]}, NULL), 0);
    assert_int_equal(permit_check_fds(&create, (int[]){open, sealed, events[0]}, NULL), -1);
    assert_int_equal(permit_check_fds(&create, (int[]){sealed, open, events[0]}, NULL), -1);
    assert_int_equal(permit_check_fds(&create, (int[]){sealed, sealed, stream[0]}, NULL), -1);
    assert_int_equal(permit_check_fds(&create, (int[]){sealed, sealed, sealed}, NULL), -1);
    assert_int_equal(permit_check_fds(&channel, (int[]){stream[0]}, NULL), 0);
    assert_int_equal(permit_check_fds(&channel, (int[]){events[0]}, NULL), -1);
    assert_int_equal(permit_check_fds(&channel, (int[]){sealed}, NULL), -1);
    for (int i = 0; i < 2; i++) {
        (void)close(events[i]);
        (void)close(stream[i]);
    }
}

// What the launcher would hold for as long as the sandbox lives, or others could connect to later.
static void
test_bounds_of_descriptors(void **state)
{
    (void)state;
    cleanup_fd int sealed = fd_memfd_sealed("test", "x", 1);
    cleanup_fd int empty = fd_memfd_sealed("test", "", 0);
    cleanup_fd int large = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cleanup_fd int lonely = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    cleanup_fd int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr any = {.sa_family = AF_UNIX}; // the kernel chooses an abstract name
    int events[2];
    assert_int_equal(ftruncate(large, LAUNCH_ROOTS_MAX + 1), 0);
    assert_int_equal(fcntl(large, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    assert_int_equal(bind(listening, &any, sizeof any.sa_family), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(fd_socketpair(SOCK_SEQPACKET, events), 0);
    struct launch_message create = message(LAUNCH_CREATE);
    struct launch_message channel = message(LAUNCH_CHANNEL);
    assert_int_equal(permit_check_fds(&create, (int[]){large, sealed, events[0]}, NULL), -1);
    assert_int_equal(permit_check_fds(&create, (int[]){sealed, large, events[0]}, NULL), -1);
    assert_int_equal(permit_check_fds(&create, (int[]){empty, sealed, events[0]}, NULL), -1);
    assert_int_equal(permit_check_fds(&create, (int[]){sealed, empty, events[0]}, NULL), -1);
    assert_int_equal(permit_check_fds(&create, (int[]){sealed, sealed, lonely}, NULL), -1);
    assert_int_equal(permit_check_fds(&channel, &listening, NULL), -1);
    // A client that is gone already is no reason to end the launcher.
    (void)close(events[1]);
    assert_int_equal(permit_check_fds(&create, (int[]){sealed, sealed, events[0]}, NULL), 0);
    (void)close(events[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_descriptor_counts),
        cmocka_unit_test(test_malformed_ids),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_kinds_of_descriptors),
        cmocka_unit_test(test_bounds_of_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
