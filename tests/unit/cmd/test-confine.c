// SPDX-License-Identifier: Apache-2.0
// Each call is made in a child of its own, which may be killed for it.
#include "cmd/casemated-confine.h"
#include "unit.h"

#include <errno.h>
#include <linux/prctl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLED = -1, UNCONFINED = 200 };

static const struct call {
    long number;
    long args[3];
    int alone;    // errno, 0 or KILLED, where there are no commands
    int commands; // and where there are
} calls[] = {
    {SYS_getpid, {0}, 0, 0},
    {SYS_mount, {0}, KILLED, EPERM},
    {SYS_fsopen, {0}, KILLED, EPERM},
    {SYS_bpf, {0}, KILLED, EPERM},
    {SYS_unshare, {0}, KILLED, EPERM},
    {SYS_process_vm_readv, {0}, KILLED, EPERM},
#ifndef __SANITIZE_ADDRESS__
    {SYS_ptrace, {0}, KILLED, EPERM},
    {SYS_clone, {SIGCHLD}, ENOSYS, 0},
    {SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC}, ENOSYS, EBADF},
    {SYS_socketpair, {AF_INET, SOCK_STREAM, 0}, ENOSYS, EFAULT},
    {SYS_prctl, {PR_SET_DUMPABLE, 1}, ENOSYS, 0},
    {SYS_kill, {1, 0}, ENOSYS, 0},
#endif
    {SYS_execve, {0}, KILLED, EFAULT},
    {SYS_connect, {-1}, KILLED, EBADF},
    {SYS_socket, {AF_INET, SOCK_STREAM, 0}, ENOSYS, 0},
    {SYS_accept4, {-1}, EBADF, EBADF},
    {9999, {0}, ENOSYS, ENOSYS},
};

static int
outcome(const struct call *c, bool runs_commands)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct error err = {0};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || confine_daemon(runs_commands, &err) < 0)
            (void)syscall(SYS_exit_group, UNCONFINED);
        long r = syscall(c->number, c->args[0], c->args[1], c->args[2], MAP_PRIVATE, -1, 0);
        (void)syscall(SYS_exit_group, r < 0 ? errno : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSYS ? KILLED : UNCONFINED;
    return WEXITSTATUS(status);
}

static void
test_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        print_message("call %ld\n", calls[i].number);
        assert_int_equal(outcome(&calls[i], false), calls[i].alone);
        assert_int_equal(outcome(&calls[i], true), calls[i].commands);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
