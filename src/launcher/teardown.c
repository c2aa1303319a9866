// SPDX-License-Identifier: Apache-2.0
#include "launcher/teardown.h"

#include "launcher/job.h"
#include "launcher/loop.h"

#include <stdio.h>
#include <time.h>

enum {
    POLL_USEC = 500,
    // Of POLL_USEC: a disk full of unwritten data takes a while to unmount.
    WAIT_TRIES = 60 * 1000 * 1000 / POLL_USEC,
};

size_t
teardown_keep_fds(const struct teardown *t, int out[TEARDOWN_FDS_MAX])
{
    out[0] = t->shop->disks.disks_fd;
    out[1] = t->shop->disks.templates_fd;
    return TEARDOWN_FDS_MAX;
}

static void
pause_briefly(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = POLL_USEC * 1000L}, NULL);
}

static int
remove_groups(const struct teardown *t, struct error *err)
{
    for (int tries = 0; tries < WAIT_TRIES; tries++) {
        cgroup_kill(&t->shop->cgroups, t->id);
        int r = cgroup_remove(&t->shop->cgroups, t->id, err);
        if (r != 0)
            return r < 0 ? -1 : 0;
        pause_briefly();
    }
    return error_set(err, ERR_SYSTEM, "the sandbox's groups do not empty");
}

static int
await_loop(const struct teardown *t, struct error *err)
{
    char image[PATH_MAX + 64];
    (void)snprintf(image, sizeof image, "%s/disks/%s.ext4", t->shop->state_dir, t->id);
    for (int tries = 0; tries < WAIT_TRIES; tries++) {
        if (t->loop < 0 || !loop_is_backed_by(t->loop, image))
            return 0;
        pause_briefly();
    }
    return error_set(err, ERR_SYSTEM, "loop device %d does not become free", t->loop);
}

void
teardown_run(int report, void *teardown)
{
    const struct teardown *t = teardown;
    struct error err = {0};
    struct job_report done = {.step = JOB_DONE};
    cgroup_kill(&t->shop->cgroups, t->id);
    done.cpu_usec = cgroup_read_cpu_usec(&t->shop->cgroups, t->id);
    // All three whatever fails; the image first, so that what is unwritten need not be kept.
    int r = disk_unlink(&t->shop->disks, t->id, &err);
    if (remove_groups(t, &err) < 0)
        r = -1;
    if (await_loop(t, &err) < 0)
        r = -1;
    if (r < 0) {
        done.step = JOB_FAILED;
        done.error = err;
    }
    (void)job_send(report, &done, NULL, 0, NULL);
}
