// SPDX-License-Identifier: Apache-2.0
// Theory of operation
//
// Three things take long, so they run side by side:
//
//   this job              disk job                 join job            the guest's child
//   ──────────────────    ─────────────────────    ─────────────────   ─────────────────
//   start the disk job ─▶ copy the template
//   make the cgroups      attach a loop device
//   clone the guest ────────────────────────────────────────────────▶ waits
//   map its ids           mount ext4
//   start the join job ─────────────────────────▶  write its pid to
//   build its network                              cgroup v1 groups
//   start the worker
//   ◀──────────────────── detached mount
//   map ids of mounts
//   go ─────────────────────────────────────────────────────────────▶ builds its root
//   ◀───────────────────────────────────────────── joined
//   release ────────────────────────────────────────────────────────▶ confines itself,
//   worker and init are executed: done                                executes init
//
// Nothing is undone here: the job says what it made as soon as it made it, and whatever of it there
// is when the job fails or dies, the launcher tears down (teardown.h). The guest's child and the
// worker wait until the launcher was told of them, and end when the job ends before.
#include "launcher/recipe.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "launcher/capture.h"
#include "launcher/cgroup.h"
#include "launcher/guest.h"
#include "launcher/ids.h"
#include "launcher/job.h"
#include "launcher/mounts.h"
#include "launcher/network.h"
#include "launcher/rootfs.h"
#include "launcher/worker.h"
#include "wire/launch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TIMINGS_MAX = 512 };

// Where the time goes, for the log.
struct timings {
    struct timespec last;
    char text[TIMINGS_MAX];
    size_t used;
};

struct build {
    const struct recipe *recipe;
    int report;
    struct timings timings;
    struct job disk_job;
    struct job join_job;
    int cgroup_fd;
    int userns_fd;
    int netns_fd;
    int memory_events_fd;
    int capture_fd;
    struct network_sockets sockets;
    struct guest guest;
    struct worker_child worker;
};

size_t
recipe_keep_fds(const struct recipe *r, int out[RECIPE_FDS_MAX])
{
    const struct workshop *s = r->shop;
    const int fds[] = {s->base_fd,    s->init_fd,        s->fetch_fd,
                       s->worker_fd,  s->disks.disks_fd, s->disks.templates_fd,
                       r->policy_fd,  r->roots_fd,       r->events_fd,
                       r->control_fd, r->ca_fd,          r->sent_fd};
    static_assert(ARRAY_SIZE(fds) <= RECIPE_FDS_MAX, "room for all");
    memcpy(out, fds, sizeof fds);
    return ARRAY_SIZE(fds);
}

static void
lap(struct timings *t, const char *step)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    long usec = (now.tv_sec - t->last.tv_sec) * 1000000 + (now.tv_nsec - t->last.tv_nsec) / 1000;
    t->last = now;
    if (step == NULL || t->used >= sizeof t->text)
        return;
    int n = snprintf(t->text + t->used, sizeof t->text - t->used, "%s%s %ld",
                     t->used > 0 ? ", " : "", step, usec);
    t->used += n > 0 ? (size_t)n : 0;
}

static void
report_failure(int report, const struct error *cause)
{
    const struct job_report failed = {.step = JOB_FAILED, .error = *cause};
    (void)job_send(report, &failed, NULL, 0, NULL);
}

// Job: the disk image, mounted. Result: the detached mount, with its loop device's number.
static void
disk_job(int report, void *arg)
{
    const struct recipe *r = arg;
    struct error err = {0};
    struct job_report done = {.step = JOB_DONE};
    cleanup_fd int image = disk_create(&r->shop->disks, r->id, r->disk_mib, &err);
    cleanup_fd int mount = image < 0 ? -1 : disk_mount(image, &done.loop, &err);
    if (mount < 0)
        report_failure(report, &err);
    else
        (void)job_send(report, &done, &mount, 1, NULL);
}

struct join_order {
    const struct recipe *recipe;
    pid_t pid;
};

// Job: the guest's child joins its cgroup v1 groups.
static void
join_job(int report, void *arg)
{
    const struct join_order *order = arg;
    const struct recipe *r = order->recipe;
    struct error err = {0};
    const struct job_report done = {.step = JOB_DONE};
    if (cgroup_join_v1(&r->shop->cgroups, r->id, order->pid, &err) < 0)
        report_failure(report, &err);
    else
        (void)job_send(report, &done, NULL, 0, NULL);
}

static int
start_disk(struct build *b, struct error *err)
{
    struct recipe r = *b->recipe;
    const int keep[] = {r.shop->disks.disks_fd, r.shop->disks.templates_fd};
    return job_start(&b->disk_job, disk_job, &r, keep, ARRAY_SIZE(keep), err);
}

static int
make_groups(struct build *b, struct error *err)
{
    const struct recipe *r = b->recipe;
    const struct cgroup_limits limits = {
        .memory_mib = r->memory_mib, .cpu_millis = r->cpu_millis, .pids_max = r->pids_max};
    b->cgroup_fd = cgroup_create(&r->shop->cgroups, r->id, &limits, err);
    if (b->cgroup_fd < 0)
        return -1;
    b->memory_events_fd = cgroup_open_memory_events(&r->shop->cgroups, r->id, err);
    return b->memory_events_fd < 0 ? -1 : 0;
}

static int
open_namespace(pid_t pid, const char *name, struct error *err)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? error_set_errno(err, errno, "open the sandbox's %s namespace", name) : fd;
}

static int
clone_guest(struct build *b, struct error *err)
{
    const struct recipe *r = b->recipe;
    const struct guest_plan plan = {
        .shop = r->shop,
        .launcher = r->launcher,
        .owner = r->first_id,
        .id = r->id,
        .memory_mib = r->memory_mib,
        .cpus = (r->cpu_millis + 999) / 1000,
        .first_cpu = r->first_cpu,
        .control_fd = r->control_fd,
        .memory_events_fd = b->memory_events_fd,
    };
    if (guest_start(&b->guest, &plan, b->cgroup_fd, err) < 0)
        return -1;
    const struct job_report started = {.step = JOB_INIT_STARTED};
    if (job_send(b->report, &started, &b->guest.pidfd, 1, err) < 0 ||
        ids_write_maps(b->guest.pid, r->first_id, err) < 0 ||
        guest_offer_to_oom(&b->guest, err) < 0)
        return -1;
    b->userns_fd = open_namespace(b->guest.pid, "user", err);
    if (b->userns_fd < 0)
        return -1;
    b->netns_fd = open_namespace(b->guest.pid, "net", err);
    return b->netns_fd < 0 ? -1 : 0;
}

static int
start_join(struct build *b, struct error *err)
{
    if (!cgroup_layout_has_v1(&b->recipe->shop->cgroups))
        return 0;
    struct join_order order = {.recipe = b->recipe, .pid = b->guest.pid};
    return job_start(&b->join_job, join_job, &order, NULL, 0, err);
}

static int
build_network(struct build *b, struct error *err)
{
    if (network_build(b->netns_fd, &b->sockets, err) < 0)
        return -1;
    b->capture_fd = capture_attach(b->netns_fd, &b->sockets, err);
    return b->capture_fd < 0 ? -1 : 0;
}

static int
start_worker(struct build *b, struct error *err)
{
    const struct recipe *r = b->recipe;
    const struct worker_plan plan = {
        .shop = r->shop,
        .launcher = r->launcher,
        .policy_fd = r->policy_fd,
        .roots_fd = r->roots_fd,
        .events_fd = r->events_fd,
        .capture_fd = b->capture_fd,
        .ca_fd = r->ca_fd,
        .sent_fd = r->sent_fd,
        .sockets = b->sockets,
    };
    if (worker_start(&b->worker, &plan, err) < 0)
        return -1;
    const struct job_report started = {.step = JOB_WORKER_STARTED};
    const int fds[JOB_WORKER_FDS] = {
        [JOB_WORKER_PIDFD] = b->worker.pidfd,
        [JOB_WORKER_TCP] = b->sockets.tcp,
        [JOB_WORKER_UDP] = b->sockets.udp,
        [JOB_WORKER_CAPTURE] = b->capture_fd,
    };
    if (job_send(b->report, &started, fds, JOB_WORKER_FDS, err) < 0)
        return -1;
    return worker_go(&b->worker, err);
}

static int
await_disk(struct build *b, int *ret_disk, struct error *err)
{
    struct job_report result;
    int disk;
    if (job_wait(&b->disk_job, &result, &disk, 1, err) < 0)
        return error_wrap(err, "disk");
    *ret_disk = disk;
    const struct job_report attached = {.step = JOB_DISK_ATTACHED, .loop = result.loop};
    return job_send(b->report, &attached, NULL, 0, err);
}

// Its mounts; the layers' are shown through the sandbox's map of ids.
static int
hand_over_root(struct build *b, struct error *err)
{
    cleanup_fd int disk = -1;
    cleanup_fd int devices = rootfs_make_devices(err);
    if (devices < 0 || await_disk(b, &disk, err) < 0)
        return -1;
    lap(&b->timings, "disk");
    cleanup_fd int base = mounts_clone(b->recipe->shop->base_fd, "", err);
    if (base < 0 || mounts_set_idmap(base, b->userns_fd, err) < 0 ||
        mounts_set_idmap(disk, b->userns_fd, err) < 0)
        return -1;
    lap(&b->timings, "idmap");
    return guest_go(&b->guest, base, disk, devices, err);
}

static int
await_join(struct build *b, struct error *err)
{
    struct job_report result;
    if (b->join_job.pid != 0 && job_wait(&b->join_job, &result, NULL, 0, err) < 0)
        return -1;
    return guest_release(&b->guest, err);
}

static int
report_done(struct build *b, struct error *err)
{
    const struct recipe *r = b->recipe;
    cleanup_fd int cpu = cgroup_open_cpu(&r->shop->cgroups, r->id, err);
    cleanup_fd int memory = cpu < 0 ? -1 : cgroup_open_memory(&r->shop->cgroups, r->id, err);
    if (memory < 0)
        return -1;
    const int fds[LAUNCH_USAGE_FDS] = {[LAUNCH_FD_CPU] = cpu, [LAUNCH_FD_MEMORY] = memory};
    const struct job_report done = {.step = JOB_DONE};
    return job_send(b->report, &done, fds, LAUNCH_USAGE_FDS, err);
}

static int
build(struct build *b, struct error *err)
{
    static const struct {
        const char *name;
        int (*run)(struct build *b, struct error *err);
    } steps[] = {
        {"start disk", start_disk},    {"groups", make_groups},    {"clone", clone_guest},
        {"start join", start_join},    {"network", build_network}, {"start worker", start_worker},
        {"hand over", hand_over_root}, {"join", await_join},
    };
    lap(&b->timings, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        if (steps[i].run(b, err) < 0)
            return -1;
        lap(&b->timings, steps[i].name);
    }
    if (guest_await_exec(&b->guest, err) < 0)
        return -1;
    lap(&b->timings, "inside");
    if (worker_await_exec(&b->worker, err) < 0)
        return -1;
    lap(&b->timings, "worker");
    return report_done(b, err);
}

void
recipe_build(int report, void *recipe)
{
    struct build b = {.recipe = recipe, .report = report};
    struct error err = {0};
    if (build(&b, &err) < 0) {
        report_failure(report, &err);
        return;
    }
    log_debug("built", "sandbox", b.recipe->id, "usec", b.timings.text);
    // The process ends here: its descriptors, the listeners' and the link's copies among them, with
    // it.
}
