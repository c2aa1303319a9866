// SPDX-License-Identifier: Apache-2.0
#include "cmd/doctor.h"

#include "base/cleanup.h"
#include "cmd/doctor-internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

enum { FREE_MIN_GIB = 4 };

static const char *const result_names[] = {
    [DOCTOR_OK] = "ok",
    [DOCTOR_MISSING] = "missing",
    [DOCTOR_NOTE] = "note",
};
static_assert(ARRAY_SIZE(result_names) == DOCTOR_RESULT_MAX, "a name for each result");

int
doctor_try(int (*try_it)(const void *argument), const void *argument)
{
    int status = 0;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return errno;
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(try_it(argument));
    }
    if (waitpid(pid, &status, 0) != pid)
        return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

static enum doctor_result
check_users(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    static const char *const users[] = {"casemate", "casemate-proxy"};
    (void)o;
    for (size_t i = 0; i < ARRAY_SIZE(users); i++)
        if (getpwnam(users[i]) == NULL) {
            (void)snprintf(detail, DOCTOR_DETAIL_MAX, "no user %s", users[i]);
            return DOCTOR_MISSING;
        }
    return DOCTOR_OK;
}

static enum doctor_result
check_file(const char *path, char detail[DOCTOR_DETAIL_MAX])
{
    struct stat st;
    (void)snprintf(detail, DOCTOR_DETAIL_MAX, "%.180s", path);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? DOCTOR_OK : DOCTOR_MISSING;
}

static enum doctor_result
check_image(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    char path[PATH_MAX + 32];
    if (o->image != NULL)
        return check_file(o->image, detail);
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (n < 0)
        return DOCTOR_MISSING;
    path[n] = '\0';
    char *name = strrchr(path, '/');
    (void)snprintf(name, sizeof path - (size_t)(name - path), "/image/base.erofs");
    return check_file(path, detail);
}

static enum doctor_result
check_roots(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    (void)o;
    return check_file("/etc/ssl/certs/ca-certificates.crt", detail);
}

static enum doctor_result
check_mkfs(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    static const char *const places[] = {"/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4",
                                         "/usr/bin/mkfs.ext4"};
    (void)o;
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], X_OK) == 0) {
            (void)snprintf(detail, DOCTOR_DETAIL_MAX, "%s", places[i]);
            return DOCTOR_OK;
        }
    return DOCTOR_MISSING;
}

static enum doctor_result
check_space(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    struct statvfs st;
    const char *path = o->state != NULL ? o->state : "/var/lib";
    if (statvfs(path, &st) < 0) {
        (void)snprintf(detail, DOCTOR_DETAIL_MAX, "%.120s: %s", path, strerror(errno));
        return DOCTOR_MISSING;
    }
    double gib = (double)st.f_bavail * (double)st.f_frsize / (1024.0 * 1024 * 1024);
    (void)snprintf(detail, DOCTOR_DETAIL_MAX, "%.1f GiB at %.120s", gib, path);
    return gib >= FREE_MIN_GIB ? DOCTOR_OK : DOCTOR_MISSING;
}

static enum doctor_result
check_kvm(const struct doctor_options *o, char detail[DOCTOR_DETAIL_MAX])
{
    (void)o;
    bool there = access("/dev/kvm", R_OK | W_OK) == 0;
    (void)snprintf(detail, DOCTOR_DETAIL_MAX, "/dev/kvm is %s; only microVMs would use it",
                   there ? "there" : "not there");
    return DOCTOR_NOTE;
}

static const struct doctor_check host_checks[] = {
    {"users", false, check_users, "run tools/install-deps run"},
    {"base image", false, check_image, "make it with image/build, or give --image FILE"},
    {"CA certificates", false, check_roots, "install the package ca-certificates"},
    {"mkfs.ext4", false, check_mkfs, "install the package e2fsprogs"},
    {"free space", false, check_space, "free at least 4 GiB, or choose another --state DIR"},
    {"KVM", false, check_kvm, NULL},
};

static int
run_checks(const struct doctor_check *checks, size_t count, const struct doctor_options *o)
{
    int missing = 0;
    for (size_t i = 0; i < count; i++) {
        const struct doctor_check *c = &checks[i];
        char detail[DOCTOR_DETAIL_MAX] = "";
        enum doctor_result result;
        if (c->needs_root && geteuid() != 0) {
            result = DOCTOR_NOTE;
            (void)snprintf(detail, sizeof detail, "not checked: run casemate doctor as root");
        } else {
            result = c->run(o, detail);
        }
        bool hint = result == DOCTOR_MISSING && c->hint != NULL;
        (void)printf("%-8s %-24s %s%s%s\n", result_names[result], c->name, detail,
                     hint && detail[0] != '\0' ? ": " : "", hint ? c->hint : "");
        missing += result == DOCTOR_MISSING;
    }
    return missing;
}

int
doctor_run(const struct doctor_options *options)
{
    int missing = run_checks(doctor_kernel_checks, DOCTOR_KERNEL_CHECKS, options);
    missing += run_checks(host_checks, ARRAY_SIZE(host_checks), options);
    if (missing > 0)
        (void)printf("\n%d needed here\n", missing);
    else
        (void)puts(geteuid() == 0 ? "\nnothing is missing"
                                  : "\nnothing is missing of what could be checked without root");
    return missing;
}
