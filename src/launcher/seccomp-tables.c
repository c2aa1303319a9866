// SPDX-License-Identifier: Apache-2.0
#include "launcher/seccomp-tables.h"

#include "base/cleanup.h"

#include <sys/personality.h>

// clang-format off
const char *const seccomp_allowed[] = {
    "read", "write", "open", "close", "stat", "fstat", "lstat", "newfstatat", "statx", "poll",
    "ppoll", "select", "pselect6", "lseek", "pread64", "pwrite64", "readv", "writev", "preadv",
    "pwritev", "preadv2", "pwritev2", "access", "faccessat", "faccessat2", "mmap", "mprotect",
    "munmap", "mremap", "msync", "mincore", "madvise", "process_madvise", "brk", "mlock",
    "mlock2", "munlock", "mlockall", "munlockall", "memfd_create", "membarrier",
    "remap_file_pages", "pkey_alloc", "pkey_free", "pkey_mprotect", "rt_sigaction",
    "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sigaltstack", "signalfd", "signalfd4", "pause",
    "ioctl", "fcntl", "flock", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range",
    "truncate", "ftruncate", "fallocate", "fadvise64", "readahead", "copy_file_range",
    "sendfile", "splice", "tee", "vmsplice", "getdents", "getdents64", "getcwd", "chdir",
    "fchdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "creat", "openat",
    "openat2", "link", "linkat", "unlink", "unlinkat", "symlink", "symlinkat", "readlink",
    "readlinkat", "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "chown", "fchown",
    "lchown", "fchownat", "umask", "chroot", "utime", "utimes", "utimensat", "futimesat",
    "statfs", "fstatfs", "setxattr", "lsetxattr", "fsetxattr", "getxattr", "lgetxattr",
    "fgetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr",
    "fremovexattr", "pipe", "pipe2", "dup", "dup2", "dup3", "close_range", "eventfd",
    "eventfd2", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    "epoll_pwait2", "epoll_ctl_old", "epoll_wait_old", "inotify_init", "inotify_init1",
    "inotify_add_watch", "inotify_rm_watch", "timerfd_create", "timerfd_settime",
    "timerfd_gettime", "socket", "socketpair", "connect", "accept", "accept4", "bind", "listen",
    "getsockname", "getpeername", "setsockopt", "getsockopt", "sendto", "recvfrom", "sendmsg",
    "recvmsg", "sendmmsg", "recvmmsg", "shutdown", "clone", "fork", "vfork", "execve",
    "execveat", "exit", "exit_group", "wait4", "waitid", "kill", "tkill", "tgkill",
    "pidfd_open", "pidfd_send_signal", "pidfd_getfd", "process_mrelease", "getpid", "getppid",
    "gettid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups",
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
    "setfsuid", "setfsgid", "getpgid", "setpgid", "getpgrp", "getsid", "setsid", "capget",
    "capset", "prctl", "arch_prctl", "seccomp", "landlock_create_ruleset", "landlock_add_rule",
    "landlock_restrict_self", "getrlimit", "setrlimit", "prlimit64", "getrusage", "times",
    "sysinfo", "uname", "getpriority", "setpriority", "ioprio_get", "ioprio_set", "getcpu",
    "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_setparam",
    "sched_getscheduler", "sched_setscheduler", "sched_getattr", "sched_setattr",
    "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval", "futex",
    "futex_waitv", "set_robust_list", "get_robust_list", "set_tid_address", "rseq",
    "restart_syscall", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres",
    "gettimeofday", "time", "alarm", "getitimer", "setitimer", "timer_create", "timer_settime",
    "timer_gettime", "timer_getoverrun", "timer_delete", "set_thread_area", "get_thread_area",
    "getrandom", "shmget", "shmat", "shmdt", "shmctl", "semget", "semop", "semtimedop",
    "semctl", "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink", "mq_timedsend",
    "mq_timedreceive", "mq_notify", "mq_getsetattr", "ptrace",
    "process_vm_readv", "process_vm_writev",
};
const size_t seccomp_allowed_count = ARRAY_SIZE(seccomp_allowed);

const char *const seccomp_refused[] = {
    "mount", "umount", "umount2", "pivot_root", "mount_setattr", "move_mount", "open_tree",
    "fsopen", "fsconfig", "fsmount", "fspick", "unshare", "setns", "bpf", "perf_event_open",
    "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load", "init_module",
    "finit_module", "delete_module", "create_module", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "userfaultfd", "open_by_handle_at", "name_to_handle_at",
    "fanotify_init", "fanotify_mark", "acct", "quotactl", "quotactl_fd", "swapon", "swapoff",
    "reboot", "syslog", "vhangup", "kcmp", "lookup_dcookie", "settimeofday", "clock_settime",
    "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "iopl", "ioperm",
    "set_mempolicy", "mbind", "get_mempolicy", "migrate_pages", "move_pages", "nfsservctl",
};
const size_t seccomp_refused_count = ARRAY_SIZE(seccomp_refused);
// clang-format on

// The numbers are the same on every architecture from 424 on.
const int seccomp_newer[] = {
    451, // cachestat
    452, // fchmodat2
    453, // map_shadow_stack
    454, // futex_wake
    455, // futex_wait
    456, // futex_requeue
    462, // mseal
    463, // setxattrat
    464, // getxattrat
    465, // listxattrat
    466, // removexattrat
};
const size_t seccomp_newer_count = ARRAY_SIZE(seccomp_newer);

// Reading the present one, Linux as it is, with another kernel version's name, and without address
// randomisation, for debuggers.
const uint32_t seccomp_personalities[] = {
    0xffffffff, PER_LINUX, UNAME26, ADDR_NO_RANDOMIZE, UNAME26 | ADDR_NO_RANDOMIZE,
};
const size_t seccomp_personalities_count = ARRAY_SIZE(seccomp_personalities);
