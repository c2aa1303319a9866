// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "egress/harden.h"
#include "net/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Each try runs in a child behind the filter and returns 0 or an errno.

static int
try_open(void)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 ? errno : 0;
}

static int
try_create(void)
{
    return open("/tmp/casemate-harden", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 ? errno : 0;
}

static int
try_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0 ? errno : 0;
}

static int
try_inet(void)
{
    return try_socket(AF_INET);
}

static int
try_inet6(void)
{
    return try_socket(AF_INET6);
}

static int
try_unix(void)
{
    return try_socket(AF_UNIX);
}

static int
try_netlink(void)
{
    return try_socket(AF_NETLINK);
}

static int
try_packet(void)
{
    return try_socket(AF_PACKET);
}

// IPPROTO_MPTCP: a protocol of the internet families that the worker does not speak.
static int
try_other_protocol(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 262) < 0 ? errno : 0;
}

static int
try_option(int level, int name)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return setsockopt(fd, level, name, &one, sizeof one) < 0 ? errno : 0;
}

static int
try_nodelay(void)
{
    return try_option(IPPROTO_TCP, TCP_NODELAY);
}

// A socket filter, which the kernel would compile.
static int
try_filter(void)
{
    return try_option(SOL_SOCKET, SO_ATTACH_FILTER);
}

static int
try_upper_layer(void)
{
    return try_option(IPPROTO_TCP, TCP_ULP);
}

static int
try_listen(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return listen(fd, 1) < 0 ? errno : 0;
}

static int
try_memory_file(void)
{
    return memfd_create("x", MFD_CLOEXEC) < 0 ? errno : 0;
}

static int
try_keyring(void)
{
    return syscall(SYS_add_key, "user", "x", "y", 1, -1) < 0 ? errno : 0;
}

#ifndef __SANITIZE_ADDRESS__ // whose shadow is larger
static int
try_much_memory(void)
{
    void *p = mmap(NULL, 2UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? errno : 0;
}
#endif

static int
try_map_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? errno : 0;
}

static int
try_make_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(p, 4096, PROT_READ | PROT_EXEC) != 0 ? errno : 0;
}

static int
try_clone(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid < 0 ? errno : 0;
}

static int
try_dumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 ? errno : 0;
}

static int
try_kill(void)
{
    return kill(getppid(), 0) != 0 ? errno : 0;
}

static int
try_exec(void)
{
    char *const args[] = {NULL};
    return execve("/bin/true", args, args) != 0 ? errno : 0;
}

static int
try_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 ? errno : 0;
}

static int
try_memory(void)
{
    return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0) != 0 ? errno : 0;
}

static int
try_keys(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    EVP_PKEY_free(key);
    return key == NULL ? EIO : 0;
}

// errno, or -signal.
static int
run(int (*attempt)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct error err = {0};
        if (tls_init(&err) != 0 || harden_worker(&err) != 0) {
            (void)dprintf(2, "%s\n", err.msg);
            _exit(255);
        }
        _exit(attempt());
    }
    int status = 0;
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void
test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int (*attempt)(void);
        int wanted;
    } rows[] = {
        {"open", try_open, ENOENT},
        {"create", try_create, ENOENT},
        {"AF_INET", try_inet, 0},
        {"AF_INET6", try_inet6, 0},
        {"AF_UNIX", try_unix, EPERM},
        {"AF_NETLINK", try_netlink, EPERM},
        {"AF_PACKET", try_packet, EPERM},
        {"other protocol", try_other_protocol, EPERM},
        {"TCP_NODELAY", try_nodelay, 0},
        {"SO_ATTACH_FILTER", try_filter, EPERM},
        {"TCP_ULP", try_upper_layer, EPERM},
        {"listen", try_listen, EPERM},
        {"memory file", try_memory_file, -SIGSYS},
        {"keyring", try_keyring, -SIGSYS},
#ifndef __SANITIZE_ADDRESS__
        {"2 GiB", try_much_memory, ENOMEM},
#endif
        {"map code", try_map_code, EPERM},
        {"make code", try_make_code, EPERM},
        {"clone", try_clone, EPERM},
        {"dumpable", try_dumpable, EPERM},
        {"kill", try_kill, EPERM},
        {"exec", try_exec, -SIGSYS},
        {"ptrace", try_ptrace, -SIGSYS},
        {"other's memory", try_memory, -SIGSYS},
        {"new key", try_keys, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int got = run(rows[i].attempt);
        if (got != rows[i].wanted)
            fail_msg("%s: %d instead of %d", rows[i].name, got, rows[i].wanted);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
