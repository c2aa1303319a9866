// SPDX-License-Identifier: Apache-2.0
// Three walls, each of which stands alone: a list of system calls (seccomp(2)), Landlock without
// any right to the file system, and no_new_privs with a process that nobody may dump or trace.
// open(2) is refused with ENOENT, for libraries that look for an optional file and go on without
// it.
#include "egress/harden.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

enum { WORKER_DATA_MAX = 1024 * 1024 * 1024 };

// A loop over sockets. What libuv makes once (its epoll and event descriptors) was made before.
static const int allowed[] = {
    // Bytes over descriptors that are open: sockets, the log, the event socket.
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(lseek), // dprintf(3) asks where it stands
    SCMP_SYS(pipe2),
    SCMP_SYS(splice), // between a socket and such a pipe: other files cannot be opened
    // Connections in and out; bind(2) and listen(2) are not among them.
    SCMP_SYS(close),
    SCMP_SYS(shutdown),
    SCMP_SYS(accept4),
    SCMP_SYS(connect),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    // libuv's wait.
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    // The allocator: mmap(2) and mprotect(2) below.
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    // Locks of OpenSSL and of the C library.
    SCMP_SYS(futex),
    // Clocks where the vDSO has none, and random numbers.
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),
    // OpenSSL's random generator looks whether it was forked.
    SCMP_SYS(getpid),
    // abort(3) and the end.
    SCMP_SYS(gettid),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
#ifdef __SANITIZE_ADDRESS__ // what its run-time calls
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(fstat),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
#endif
};

static const int absent[] = {
    SCMP_SYS(open),     SCMP_SYS(openat), SCMP_SYS(openat2),   SCMP_SYS(stat),
    SCMP_SYS(lstat),    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(newfstatat),
    SCMP_SYS(readlink), SCMP_SYS(statx),
};

// Nothing in the worker comes near these.
static const int fatal[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(bpf),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(keyctl),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(process_madvise),
    SCMP_SYS(modify_ldt),
    SCMP_SYS(personality),
    SCMP_SYS(memfd_create),
    SCMP_SYS(memfd_secret),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(open_tree),
    SCMP_SYS(acct),
    SCMP_SYS(swapon),
    SCMP_SYS(delete_module),
};

static int
add_list(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int rc = seccomp_rule_add(filter, action, calls[i], 0);
        if (rc != 0)
            return rc;
    }
    return 0;
}

// Calls of which only some uses are harmless.
static int
add_conditions(scmp_filter_ctx filter)
{
    static const struct {
        int call;
        struct scmp_arg_cmp condition;
    } rules[] = {
        {SCMP_SYS(mmap), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
        {SCMP_SYS(mprotect), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
        {SCMP_SYS(fcntl), {1, SCMP_CMP_EQ, F_GETFL, 0}},
        {SCMP_SYS(fcntl), {1, SCMP_CMP_EQ, F_SETFL, 0}},
        {SCMP_SYS(fcntl), {1, SCMP_CMP_EQ, F_GETFD, 0}},
        {SCMP_SYS(fcntl), {1, SCMP_CMP_EQ, F_SETFD, 0}},
        {SCMP_SYS(fcntl), {1, SCMP_CMP_EQ, F_DUPFD_CLOEXEC, 0}},
        {SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, FIONBIO, 0}},
        {SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, FIONREAD, 0}},
        {SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, FIOCLEX, 0}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        int rc =
            seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, 1, &rules[i].condition);
        if (rc != 0)
            return rc;
    }
    return 0;
}

// Sockets of the internet families, of TCP and UDP; and the options of them that somebody here
// sets. What else the kernel would do for an option (filters, upper layer protocols, packet
// mangling) is no service to one that was taken over.
static int
add_sockets(scmp_filter_ctx filter)
{
    static const int families[] = {AF_INET, AF_INET6};
    static const int protocols[] = {0, IPPROTO_TCP, IPPROTO_UDP};
    static const struct {
        int level;
        int name;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR},       {SOL_SOCKET, SO_KEEPALIVE},
        {SOL_SOCKET, SO_LINGER},          {SOL_SOCKET, SO_SNDBUF},
        {SOL_SOCKET, SO_RCVBUF},          {IPPROTO_TCP, TCP_NODELAY},
        {IPPROTO_TCP, TCP_KEEPIDLE},      {IPPROTO_TCP, TCP_KEEPINTVL},
        {IPPROTO_TCP, TCP_KEEPCNT},       {IPPROTO_TCP, TCP_QUICKACK},
        {IPPROTO_TCP, TCP_CORK},          {IPPROTO_TCP, TCP_USER_TIMEOUT},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT}, {IPPROTO_IPV6, IPV6_V6ONLY},
    };
    int rc = 0;
    for (size_t f = 0; rc == 0 && f < ARRAY_SIZE(families); f++)
        for (size_t p = 0; rc == 0 && p < ARRAY_SIZE(protocols); p++)
            rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                                  SCMP_A0_32(SCMP_CMP_EQ, (unsigned)families[f]),
                                  SCMP_A2_32(SCMP_CMP_EQ, (unsigned)protocols[p]));
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(options); i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
                              SCMP_A1_32(SCMP_CMP_EQ, (unsigned)options[i].level),
                              SCMP_A2_32(SCMP_CMP_EQ, (unsigned)options[i].name));
    return rc;
}

static void
release_filter(scmp_filter_ctx *filter)
{
    if (*filter != NULL)
        seccomp_release(*filter);
}

static int
set_filter(struct error *err)
{
    __attribute__((cleanup(release_filter))) scmp_filter_ctx filter =
        seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL)
        return error_set(err, ERR_INTERNAL, "cannot make a seccomp filter");
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0)
        rc = add_list(filter, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));
    if (rc == 0)
        rc = add_list(filter, SCMP_ACT_ERRNO(ENOENT), absent, ARRAY_SIZE(absent));
    if (rc == 0)
        rc = add_list(filter, SCMP_ACT_KILL_PROCESS, fatal, ARRAY_SIZE(fatal));
    if (rc == 0)
        rc = add_conditions(filter);
    if (rc == 0)
        rc = add_sockets(filter);
    if (rc == 0)
        rc = seccomp_load(filter);
    return rc == 0 ? 0 : error_set_errno(err, -rc, "cannot set the seccomp filter");
}

// Kernels without Landlock answer ENOSYS or EOPNOTSUPP: the filter refuses files there too.
static int
set_landlock(struct error *err)
{
    // All rights of the first ABI; what is handled and not granted is denied.
    struct landlock_ruleset_attr attr = {
        .handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1,
    };
    cleanup_fd int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (fd < 0)
        return errno == ENOSYS || errno == EOPNOTSUPP
                   ? 0
                   : error_set_errno(err, errno, "cannot make a Landlock rule set");
    if (syscall(SYS_landlock_restrict_self, fd, 0) != 0)
        return error_set_errno(err, errno, "cannot restrict the file system");
    return 0;
}

// Providers, algorithms, random state and the time zone come from files or are built on first use.
static int
load_early(struct error *err)
{
    static const char *const digests[] = {"SHA2-256", "SHA2-384", "SHA1"};
    static const char *const ciphers[] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
    unsigned char bytes[32];
    for (size_t i = 0; i < ARRAY_SIZE(digests); i++)
        EVP_MD_free(EVP_MD_fetch(NULL, digests[i], NULL));
    for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++)
        EVP_CIPHER_free(EVP_CIPHER_fetch(NULL, ciphers[i], NULL));
    if (RAND_bytes(bytes, sizeof bytes) != 1 || RAND_priv_bytes(bytes, sizeof bytes) != 1)
        return error_set(err, ERR_INTERNAL, "no random numbers from OpenSSL");
    tzset();
    return 0;
}

// The worker is in no cgroup: this is what a leak, or one that was taken over, may take of the
// host's memory. The sanitizers' run-time maps far more than it uses.
static int
set_limits(struct error *err)
{
    const struct rlimit none = {0};
#ifndef __SANITIZE_ADDRESS__
    const struct rlimit data = {.rlim_cur = WORKER_DATA_MAX, .rlim_max = WORKER_DATA_MAX};
    if (setrlimit(RLIMIT_DATA, &data) != 0)
        return error_set_errno(err, errno, "cannot limit the worker's memory");
#endif
    if (setrlimit(RLIMIT_NPROC, &none) != 0 || setrlimit(RLIMIT_CORE, &none) != 0 ||
        setrlimit(RLIMIT_MSGQUEUE, &none) != 0)
        return error_set_errno(err, errno, "cannot limit the worker");
    return 0;
}

int
harden_worker(struct error *err)
{
    if (load_early(err) != 0 || set_limits(err) != 0)
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return error_set_errno(err, errno, "cannot set no_new_privs");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return error_set_errno(err, errno, "cannot forbid core dumps");
    return set_landlock(err) != 0 ? -1 : set_filter(err);
}
