// SPDX-License-Identifier: Apache-2.0
// Short-lived children of the launcher (without exec) that do what may take milliseconds: building,
// disks, tearing down. They report over a SEQPACKET socket, with descriptors; the launcher's loop
// polls that and the child's pidfd.
#pragma once

#include "base/error.h"
#include "base/fd.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum job_step {
    JOB_INIT_STARTED,   // fd: pidfd
    JOB_WORKER_STARTED, // fds: pidfd; of the first one also enum job_worker_fd
    JOB_DISK_ATTACHED,  // loop
    JOB_DONE,           // fds and values as the job says
    JOB_FAILED,         // error
    JOB_STEP_MAX
};

// What the next worker is given, should this one die.
enum job_worker_fd {
    JOB_WORKER_PIDFD,
    JOB_WORKER_TCP,
    JOB_WORKER_UDP,
    JOB_WORKER_CAPTURE,
    JOB_WORKER_FDS,
};

struct job_report {
    enum job_step step;
    int loop;
    uint64_t cpu_usec;
    struct error error;
};

struct job {
    pid_t pid;
    int pidfd;
    int sock; // reports arrive here
};

// Runs run(report_sock, arg) in a child that dies with its parent and inherits no descriptor but
// standard ones, report_sock and keep; its return value is ignored, failure must be reported.
int job_start(struct job *ret, void (*run)(int report_sock, void *arg), void *arg, const int *keep,
              size_t keep_count, struct error *err);
void job_done(struct job *job); // closes; the child has been reaped

int job_send(int sock, const struct job_report *report, const int *fds, size_t fd_count,
             struct error *err);
// 1: a report; 0: the job ended; -1: error (-EAGAIN counts as 0 reports: returns 2).
int job_receive(int sock, struct job_report *ret, int fds[FD_PASS_MAX], size_t *ret_fd_count,
                struct error *err);

// For jobs of jobs: waits for the end, and for JOB_DONE with fd_count descriptors.
int job_wait(struct job *job, struct job_report *ret, int *ret_fds, size_t fd_count,
             struct error *err);
