// SPDX-License-Identifier: Apache-2.0
// The filters are loaded in a child, which then makes the calls.
#include "launcher/seccomp-filter.h"
#include "unit.h"

#include <errno.h>
#include <linux/if_vlan.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct call {
    const char *name;
    long number;
    long args[4];
    int expected; // errno; 0: anything but EPERM, ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT
} calls[] = {
    {"getpid", SYS_getpid, {0}, 0},
    {"mount", SYS_mount, {0}, EPERM},
    {"umount2", SYS_umount2, {0}, EPERM},
    {"unshare", SYS_unshare, {CLONE_NEWUSER}, EPERM},
    {"setns", SYS_setns, {-1}, EPERM},
    {"bpf", SYS_bpf, {0}, EPERM},
    {"perf_event_open", SYS_perf_event_open, {0}, EPERM},
    {"keyctl", SYS_keyctl, {0}, EPERM},
    {"io_uring_setup", SYS_io_uring_setup, {1}, EPERM},
    {"userfaultfd", SYS_userfaultfd, {0}, EPERM},
    {"open_by_handle_at", SYS_open_by_handle_at, {-1}, EPERM},
    {"fsopen", SYS_fsopen, {0}, EPERM},
    {"clone3", SYS_clone3, {0}, ENOSYS},
    {"unknown", 9999, {0}, ENOSYS},
    {"fchmodat2", 452, {-1}, 0},
    {"clone new user", SYS_clone, {CLONE_NEWUSER | SIGCHLD}, EPERM},
    {"clone new mount", SYS_clone, {CLONE_NEWNS | SIGCHLD}, EPERM},
    {"clone new net", SYS_clone, {CLONE_NEWNET | CLONE_NEWPID | SIGCHLD}, EPERM},
    {"TIOCSTI", SYS_ioctl, {-1, TIOCSTI}, EPERM},
    {"TIOCSTI, high bits", SYS_ioctl, {-1, (long)(TIOCSTI | 1ULL << 32)}, EPERM},
    {"TIOCLINUX", SYS_ioctl, {-1, TIOCLINUX}, EPERM},
    {"TIOCSETD", SYS_ioctl, {-1, TIOCSETD}, EPERM},
    {"TCGETS", SYS_ioctl, {-1, TCGETS}, 0},
    {"bridge", SYS_ioctl, {-1, SIOCGIFBR}, EPERM},
    {"VLAN", SYS_ioctl, {-1, SIOCGIFVLAN}, EPERM},
    {"SIOCGIFCONF", SYS_ioctl, {-1, SIOCGIFCONF}, 0},
    {"unix pair", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0}, 0},
    {"vsock pair", SYS_socketpair, {AF_VSOCK, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {"packet pair", SYS_socketpair, {AF_PACKET, SOCK_RAW, 0}, EAFNOSUPPORT},
    {"io_setup", SYS_io_setup, {1}, ENOSYS},
    {"seccomp filter", SYS_seccomp, {SECCOMP_SET_MODE_FILTER}, EINVAL},
    {"seccomp, what is there", SYS_seccomp, {SECCOMP_GET_ACTION_AVAIL, 1}, 0},
    {"seccomp by prctl", SYS_prctl, {PR_SET_SECCOMP, SECCOMP_MODE_FILTER}, EINVAL},
    {"socket filter", SYS_setsockopt, {-1, SOL_SOCKET, SO_ATTACH_FILTER}, ENOPROTOOPT},
    {"reuseport filter", SYS_setsockopt, {-1, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF}, ENOPROTOOPT},
    {"socket option", SYS_setsockopt, {-1, SOL_SOCKET, SO_REUSEADDR}, 0},
    {"kernel TLS", SYS_setsockopt, {-1, IPPROTO_TCP, TCP_ULP}, ENOPROTOOPT},
    {"TCP option", SYS_setsockopt, {-1, IPPROTO_TCP, TCP_NODELAY}, 0},
    {"encapsulation", SYS_setsockopt, {-1, IPPROTO_UDP, UDP_ENCAP}, ENOPROTOOPT},
    {"huge pages",
     SYS_mmap,
     {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB},
     ENOMEM},
    {"plain pages", SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS}, 0},
    {"huge memory file", SYS_memfd_create, {0, MFD_HUGETLB | MFD_CLOEXEC}, ENOMEM},
    {"huge shared memory", SYS_shmget, {IPC_PRIVATE, 4096, SHM_HUGETLB | IPC_CREAT}, ENOMEM},
    {"memory file", SYS_memfd_create, {0, MFD_CLOEXEC}, 0},
    {"personality, query", SYS_personality, {0xffffffff}, 0},
    {"personality, 32 bit", SYS_personality, {PER_LINUX32}, ENOSYS},
    {"unix", SYS_socket, {AF_UNIX, SOCK_STREAM, 0}, 0},
    {"tcp", SYS_socket, {AF_INET, SOCK_STREAM, 0}, 0},
    {"tcp, by name", SYS_socket, {AF_INET, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP}, 0},
    {"udp6", SYS_socket, {AF_INET6, SOCK_DGRAM, IPPROTO_UDP}, 0},
    {"raw", SYS_socket, {AF_INET, SOCK_RAW, IPPROTO_ICMP}, EPERM},
    {"raw6, flags", SYS_socket, {AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP}, EPERM},
    {"mptcp", SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_MPTCP}, EPROTONOSUPPORT},
    {"packet", SYS_socket, {AF_PACKET, SOCK_RAW, 0}, EAFNOSUPPORT},
    {"vsock", SYS_socket, {AF_VSOCK, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {"alg", SYS_socket, {AF_ALG, SOCK_SEQPACKET, 0}, EAFNOSUPPORT},
    {"family 63", SYS_socket, {63, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {"family 1000", SYS_socket, {1000, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {"packet, high bits", SYS_socket, {(long)(AF_PACKET | 1ULL << 32), SOCK_RAW, 0}, EAFNOSUPPORT},
    {"netlink route", SYS_socket, {AF_NETLINK, SOCK_RAW, NETLINK_ROUTE}, 0},
    {"netlink audit", SYS_socket, {AF_NETLINK, SOCK_RAW, NETLINK_AUDIT}, EAFNOSUPPORT},
    {"netlink netfilter", SYS_socket, {AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER}, EAFNOSUPPORT},
};

static bool
is_refusal(int sys)
{
    return sys == EPERM || sys == ENOSYS || sys == EAFNOSUPPORT || sys == EPROTONOSUPPORT;
}

static int
count_wrong(void)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const struct call *c = &calls[i];
        errno = 0;
        long r = syscall(c->number, c->args[0], c->args[1], c->args[2], c->args[3], 0, 0);
        int got = r < 0 ? errno : 0;
        if (c->expected == 0 ? !is_refusal(got) : got == c->expected)
            continue;
        (void)fprintf(stderr, "%s: errno %d, not %d\n", c->name, got, c->expected);
        wrong++;
    }
    return wrong;
}

static int
run_filtered(const struct seccomp_filter *f, int (*body)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        // Loading takes this or a capability.
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_filter_load(f, NULL) < 0)
            _exit(100);
        _exit(body());
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void
test_calls(void **state)
{
    (void)state;
    struct seccomp_filter f;
    assert_int_equal(seccomp_filter_build(&f, NULL), 0);
    int status = run_filtered(&f, count_wrong);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    seccomp_filter_done(&f);
}

#ifdef __x86_64__
static int
call_i386(void)
{
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(20L) : "memory"); // getpid
    return 0;
}

static int
call_x32(void)
{
    (void)syscall(0x40000000 + SYS_getpid);
    return 0;
}

static void
test_other_architectures_are_killed(void **state)
{
    (void)state;
    struct seccomp_filter f;
    assert_int_equal(seccomp_filter_build(&f, NULL), 0);
    int (*const bodies[])(void) = {call_i386, call_x32};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        int status = run_filtered(&f, bodies[i]);
        // A kernel without 32-bit support faults instead.
        assert_true(WIFSIGNALED(status));
    }
    seccomp_filter_done(&f);
}
#endif

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
#ifdef __x86_64__
        cmocka_unit_test(test_other_architectures_are_killed),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
