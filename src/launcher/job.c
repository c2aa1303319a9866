// SPDX-License-Identifier: Apache-2.0
#include "launcher/job.h"

#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { KEEP_MAX = 32 };

static int
compare_fds(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

// Closes everything from 3 on but these.
static void
close_others(const int *keep, size_t count, int also)
{
    int sorted[KEEP_MAX + 1];
    for (size_t i = 0; i < count; i++)
        sorted[i] = keep[i];
    sorted[count++] = also;
    qsort(sorted, count, sizeof *sorted, compare_fds);
    unsigned next = STDERR_FILENO + 1;
    for (size_t i = 0; i < count; i++) {
        if (sorted[i] < (int)next)
            continue;
        if (sorted[i] > (int)next)
            (void)close_range(next, (unsigned)sorted[i] - 1, 0);
        next = (unsigned)sorted[i] + 1;
    }
    (void)close_range(next, UINT_MAX, 0);
}

static void
become_job(pid_t parent)
{
    sigset_t none;
    (void)sigemptyset(&none);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ||
        sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        _exit(1);
}

int
job_start(struct job *ret, void (*run)(int report_sock, void *arg), void *arg, const int *keep,
          size_t keep_count, struct error *err)
{
    int pair[2];
    int r = fd_socketpair(SOCK_SEQPACKET, pair);
    if (keep_count > KEEP_MAX)
        r = -E2BIG;
    if (r < 0)
        return error_set_errno(err, -r, "start a job");
    cleanup_fd int ours = pair[0];
    cleanup_fd int theirs = pair[1];
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(err, errno, "start a job");
    if (pid == 0) {
        become_job(parent);
        close_others(keep, keep_count, theirs);
        run(theirs, arg);
        _exit(0);
    }
    cleanup_fd int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        int sys = errno;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return error_set_errno(err, sys, "open a job's pidfd");
    }
    *ret = (struct job){.pid = pid, .pidfd = TAKE_FD(pidfd), .sock = TAKE_FD(ours)};
    return 0;
}

void
job_done(struct job *job)
{
    if (job->pidfd >= 0)
        (void)close(job->pidfd);
    if (job->sock >= 0)
        (void)close(job->sock);
    *job = (struct job){.pid = 0, .pidfd = -1, .sock = -1};
}

int
job_send(int sock, const struct job_report *report, const int *fds, size_t fd_count,
         struct error *err)
{
    int r = fd_send_msg(sock, report, sizeof *report, fds, fd_count);
    return r < 0 ? error_set_errno(err, -r, "report") : 0;
}

int
job_receive(int sock, struct job_report *ret, int fds[FD_PASS_MAX], size_t *ret_fd_count,
            struct error *err)
{
    // The same program on both sides of a fork: the struct has one layout.
    ssize_t n = fd_recv_msg(sock, ret, sizeof *ret, fds, ret_fd_count);
    if (n == -EAGAIN)
        return 2;
    if (n <= 0)
        return n < 0 ? error_set_errno(err, (int)-n, "receive a report") : 0;
    if (n != (ssize_t)sizeof *ret || ret->step >= JOB_STEP_MAX)
        return error_set(err, ERR_INTERNAL, "report of %zd bytes", n);
    return 1;
}

static int
take_result(const struct job_report *report, int *fds, size_t got, int *ret_fds, size_t wanted,
            struct error *err)
{
    if (report->step == JOB_DONE && got == wanted) {
        for (size_t i = 0; i < got; i++)
            ret_fds[i] = fds[i];
        return 0;
    }
    for (size_t i = 0; i < got; i++)
        (void)close(fds[i]);
    if (report->step != JOB_FAILED)
        return error_set(err, ERR_INTERNAL, "unexpected report of a job");
    if (err != NULL)
        *err = report->error;
    return -1;
}

int
job_wait(struct job *job, struct job_report *ret, int *ret_fds, size_t fd_count, struct error *err)
{
    int fds[FD_PASS_MAX];
    size_t got = 0;
    int r = job_receive(job->sock, ret, fds, &got, err);
    if (r == 1)
        r = take_result(ret, fds, got, ret_fds, fd_count, err);
    else if (r == 0)
        r = error_set(err, ERR_INTERNAL, "a job died");
    while (waitpid(job->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    job_done(job);
    return r;
}
