// SPDX-License-Identifier: Apache-2.0
// Theory of operation
//
// casemated parses what clients and guests send, so it is the process that is most likely to be
// taken over. All it does from then on is to move bytes over connections that come in: it makes no
// socket but pairs, starts no program, maps no code. So there is a list of what it calls, and the
// rest does not exist (ENOSYS: libraries then try an older call or go on without). Calls that only
// an exploit would make end the process; the launcher then ends the sandboxes.
//
// An operator's secret may come from a command. Programs cannot be held to that list; where there
// is such a command, only the calls that nobody but an exploit would make are taken away, without
// killing, and all others stay.
#include "cmd/casemated-confine.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// clang-format off
static const int allowed[] = {
    // Bytes over descriptors that are open.
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev),
    SCMP_SYS(pwrite64), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto),
    SCMP_SYS(sendmsg), SCMP_SYS(close), SCMP_SYS(shutdown), SCMP_SYS(lseek), SCMP_SYS(dup),
    // Connections that come in. connect(2) is not here, and socket(2) neither.
    SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
    // STATE/dev.env, files with secrets, the time zone. The user's rights bound these.
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(fstat), SCMP_SYS(stat), SCMP_SYS(newfstatat),
    SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(unlinkat),
    SCMP_SYS(renameat), SCMP_SYS(readlink), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
    SCMP_SYS(ftruncate),
    // Sealed memory files for the launcher.
    SCMP_SYS(memfd_create),
    // libuv.
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(eventfd2), SCMP_SYS(pipe2), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(sched_getaffinity),
    // Memory; mmap(2) and mprotect(2) are below.
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(mlock),
    SCMP_SYS(mlock2), SCMP_SYS(munlock),
    // Threads and locks; clone(2) is below.
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_yield),
    SCMP_SYS(membarrier),
    // Clocks where the vDSO has none, random numbers, and what the log and OpenSSL ask for.
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrandom),
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
    SCMP_SYS(getegid), SCMP_SYS(sysinfo), SCMP_SYS(uname),
    // Limits, of the own process alone.
    SCMP_SYS(getrlimit),
    // Signals, abort(3), the launcher's end, and the own.
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall), SCMP_SYS(wait4), SCMP_SYS(exit), SCMP_SYS(exit_group),
#ifdef __SANITIZE_ADDRESS__ // what its run-time calls; its search for leaks traces the process
    SCMP_SYS(clone), SCMP_SYS(ptrace), SCMP_SYS(prctl), SCMP_SYS(tgkill), SCMP_SYS(tkill),
    SCMP_SYS(kill), SCMP_SYS(getppid), SCMP_SYS(getdents), SCMP_SYS(getdents64),
    SCMP_SYS(prlimit64), SCMP_SYS(mmap),
    SCMP_SYS(mprotect), SCMP_SYS(ioctl), SCMP_SYS(mincore), SCMP_SYS(arch_prctl),
    SCMP_SYS(socketpair), SCMP_SYS(waitid), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
#endif
};

// Neither casemated nor a program that prints a secret comes near these.
static const int fatal[] = {
    SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(process_madvise),
    SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp), SCMP_SYS(bpf), SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root),
    SCMP_SYS(chroot), SCMP_SYS(fsopen), SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick),
    SCMP_SYS(open_tree), SCMP_SYS(move_mount), SCMP_SYS(mount_setattr), SCMP_SYS(setns),
    SCMP_SYS(unshare), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(add_key), SCMP_SYS(request_key),
    SCMP_SYS(keyctl), SCMP_SYS(open_by_handle_at), SCMP_SYS(name_to_handle_at),
    SCMP_SYS(fanotify_init), SCMP_SYS(fanotify_mark), SCMP_SYS(acct), SCMP_SYS(quotactl),
    SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(reboot), SCMP_SYS(syslog), SCMP_SYS(iopl),
    SCMP_SYS(ioperm), SCMP_SYS(modify_ldt), SCMP_SYS(personality), SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime), SCMP_SYS(adjtimex), SCMP_SYS(lookup_dcookie),
    SCMP_SYS(vmsplice),
#ifndef __SANITIZE_ADDRESS__
    SCMP_SYS(ptrace),
#endif
};

// And these not where no command is to be started.
static const int fatal_without_commands[] = {
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(connect),
    SCMP_SYS(bind), SCMP_SYS(memfd_secret), SCMP_SYS(setuid), SCMP_SYS(setresuid),
    SCMP_SYS(capset),
};
// clang-format on

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

// Calls of which only some uses are needed.
static int
add_conditions(scmp_filter_ctx filter)
{
#ifdef __SANITIZE_ADDRESS__ // its run-time needs the whole of most of these
    (void)filter;
    return 0;
#else
    static const struct {
        int call;
        struct scmp_arg_cmp condition;
    } rules[] = {
        {SCMP_SYS(mmap), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
        {SCMP_SYS(mprotect), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
        {SCMP_SYS(clone), {0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD}},
        {SCMP_SYS(socketpair), {0, SCMP_CMP_EQ, AF_UNIX, 0}},
        {SCMP_SYS(prctl), {0, SCMP_CMP_EQ, PR_SET_NAME, 0}},
        {SCMP_SYS(prlimit64), {2, SCMP_CMP_EQ, 0, 0}},
        {SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, FIONBIO, 0}},
        {SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, FIONREAD, 0}},
        {SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, FIOCLEX, 0}},
        {SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, TCGETS, 0}}, // is the log or the answer a terminal?
    };
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        int rc =
            seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, 1, &rules[i].condition);
        if (rc != 0)
            return rc;
    }
    // abort(3): a signal to oneself and to nobody else.
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                            SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
#endif
}

// fcntl(2) moves and marks descriptors; F_SETOWN and leases, which send signals, are left out.
static int
add_fcntl(scmp_filter_ctx filter)
{
    static const unsigned commands[] = {F_GETFL, F_SETFL,         F_GETFD,     F_SETFD,
                                        F_DUPFD, F_DUPFD_CLOEXEC, F_ADD_SEALS, F_GET_SEALS};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(commands); i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                              SCMP_A1_32(SCMP_CMP_EQ, commands[i]));
    return rc;
}

static int
fill_alone(scmp_filter_ctx filter)
{
    int rc = add_list(filter, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));
    if (rc == 0)
        rc = add_list(filter, SCMP_ACT_KILL_PROCESS, fatal, ARRAY_SIZE(fatal));
    if (rc == 0)
        rc = add_list(filter, SCMP_ACT_KILL_PROCESS, fatal_without_commands,
                      ARRAY_SIZE(fatal_without_commands));
    if (rc == 0)
        rc = add_conditions(filter);
    return rc == 0 ? add_fcntl(filter) : rc;
}

static void
release_filter(scmp_filter_ctx *filter)
{
    if (*filter != NULL)
        seccomp_release(*filter);
}

int
confine_daemon(bool runs_commands, struct error *err)
{
    uint32_t action = SECCOMP_RET_KILL_PROCESS;
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
        return error_set(err, ERR_UNAVAILABLE,
                         "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER), or is older "
                         "than Linux 4.14: casemated does not run without them");
    __attribute__((cleanup(release_filter))) scmp_filter_ctx filter =
        seccomp_init(runs_commands ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS));
    if (filter == NULL)
        return error_set(err, ERR_INTERNAL, "cannot make a seccomp filter");
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (rc == 0)
        rc = runs_commands ? add_list(filter, SCMP_ACT_ERRNO(EPERM), fatal, ARRAY_SIZE(fatal))
                           : fill_alone(filter);
    if (rc == 0)
        rc = seccomp_load(filter);
    return rc == 0 ? 0 : error_set_errno(err, -rc, "set casemated's seccomp filter");
}
