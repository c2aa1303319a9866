// SPDX-License-Identifier: Apache-2.0
#include "launcher/watchdog.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>

enum { LAUNCHER_AT = 3, KEEP_AT, DESCRIPTORS };

// To fixed places, and nothing else: casemated and the sandboxes wait for the ends of the others.
static void
place_descriptors(int launcher_pidfd, int keep_fd)
{
    int launcher = fcntl(launcher_pidfd, F_DUPFD_CLOEXEC, DESCRIPTORS);
    int keep = fcntl(keep_fd, F_DUPFD_CLOEXEC, DESCRIPTORS);
    if (launcher < 0 || keep < 0 || dup3(launcher, LAUNCHER_AT, O_CLOEXEC) < 0 ||
        dup3(keep, KEEP_AT, O_CLOEXEC) < 0 || close_range(DESCRIPTORS, UINT_MAX, 0) < 0)
        _exit(1);
}

static _Noreturn void
watch(const struct cgroup_layout *layout, int launcher_pidfd, int keep_fd)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)setsid();
    place_descriptors(launcher_pidfd, keep_fd);
    struct pollfd gone = {.fd = LAUNCHER_AT, .events = POLLIN};
    while (poll(&gone, 1, -1) < 0 && errno == EINTR)
        ;
    cgroup_layout_kill(layout);
    _exit(0);
}

int
watchdog_start(const struct cgroup_layout *layout, int keep_fd, struct error *err)
{
    cleanup_fd int launcher = pidfd_open(getpid(), 0);
    if (launcher < 0)
        return error_set_errno(err, errno, "open the launcher's pidfd");
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(err, errno, "start the watchdog");
    if (pid == 0)
        watch(layout, launcher, keep_fd);
    return 0;
}
