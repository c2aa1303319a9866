// SPDX-License-Identifier: Apache-2.0
// fork, not vfork: a child on its way to exec is already app, so processes of the sandbox can stop
// it, and would stop init with it. init is small, so copying its page tables is cheap.
#include "init/process/spawn.h"

#include "init/identity.h"
#include "wire/control.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { INHERITED_FD = 3, PROGRAM_FD = 4, REPORT_FD = 5 };

static const char DEFAULT_PATH[] = "/usr/local/bin:/usr/bin:/bin";

static struct rlimit child_files; // RLIMIT_NOFILE as init found it

void
spawn_init(void)
{
    if (getrlimit(RLIMIT_NOFILE, &child_files) == 0) {
        struct rlimit own = {.rlim_cur = child_files.rlim_max, .rlim_max = child_files.rlim_max};
        (void)setrlimit(RLIMIT_NOFILE, &own);
    }
}

static void __attribute__((noreturn)) child_fail(enum spawn_stage stage, int sys)
{
    struct spawn_report r = {.sys = sys, .stage = (int32_t)stage};
    ssize_t ignored = write(REPORT_FD, &r, sizeof r);
    (void)ignored;
    _exit(127);
}

// A descriptor that none of those below takes the place of.
static int
out_of_the_way(int fd)
{
    return fd > REPORT_FD ? fd : fcntl(fd, F_DUPFD_CLOEXEC, REPORT_FD + 1);
}

// Stdio to 0, 1 and 2, what is inherited to 3, a program that is given as a descriptor to 4, the
// report pipe to 5, nothing else: what init itself has there closes on exec.
static void
child_set_fds(const struct spawn_plan *plan, int report)
{
    int program = plan->program > 0 ? out_of_the_way(plan->program) : -1;
    int inherited = plan->inherited > 0 ? out_of_the_way(plan->inherited) : -1;
    int stdio[3];
    for (int i = 0; i < 3; i++)
        stdio[i] = out_of_the_way(plan->stdio[i]);
    if (report != REPORT_FD && dup3(report, REPORT_FD, O_CLOEXEC) < 0)
        _exit(127);
    for (int i = 0; i < 3; i++)
        if (dup2(stdio[i], i) < 0)
            child_fail(SPAWN_STAGE_PREPARE, errno);
    if (plan->inherited > 0 && dup2(inherited, INHERITED_FD) < 0)
        child_fail(SPAWN_STAGE_PREPARE, errno);
    if (plan->program > 0 && dup3(program, PROGRAM_FD, O_CLOEXEC) < 0)
        child_fail(SPAWN_STAGE_PREPARE, errno);
    if (syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0) < 0)
        child_fail(SPAWN_STAGE_PREPARE, errno);
}

static void
child_set_signals(void)
{
    (void)signal(SIGPIPE, SIG_DFL); // the only one that init changes
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
child_offer_to_oom(void)
{
    char score[16];
    int size = snprintf(score, sizeof score, "%d", CONTROL_CHILD_OOM_SCORE);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t ignored = write(fd, score, (size_t)size);
    (void)ignored;
    (void)close(fd);
}

static const char *
path_of(char *const *env)
{
    for (; *env != NULL; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return DEFAULT_PATH;
}

// As execvpe(3), without the detour over a shell for files of unknown format. Returns errno.
static int
exec_searched(const struct spawn_plan *plan)
{
    int worst = ENOENT;
    char file[PATH_MAX];
    for (const char *dir = path_of(plan->env), *end; dir != NULL;
         dir = end != NULL ? end + 1 : NULL) {
        end = strchr(dir, ':');
        size_t size = end != NULL ? (size_t)(end - dir) : strlen(dir);
        int n = snprintf(file, sizeof file, "%.*s%s%s", (int)size, dir, size > 0 ? "/" : "./",
                         plan->command);
        if (size >= PATH_MAX || n < 0 || (size_t)n >= sizeof file)
            continue;
        (void)execve(file, plan->argv, plan->env);
        if (errno == EACCES)
            worst = EACCES;
        else if (errno != ENOENT && errno != ENOTDIR)
            return errno;
    }
    return worst;
}

static void __attribute__((noreturn)) child_run(const struct spawn_plan *plan, int report)
{
    child_set_fds(plan, report);
    (void)setsid();
    child_offer_to_oom();
    (void)setrlimit(RLIMIT_NOFILE, &child_files);
    identity_become_app();
    if (chdir(plan->cwd) < 0)
        child_fail(SPAWN_STAGE_CWD, errno);
    child_set_signals();
    if (plan->program > 0) {
        (void)syscall(SYS_execveat, PROGRAM_FD, "", plan->argv, plan->env, AT_EMPTY_PATH);
        child_fail(SPAWN_STAGE_EXEC, errno);
    }
    if (*plan->command == '\0')
        child_fail(SPAWN_STAGE_EXEC, ENOENT);
    if (strchr(plan->command, '/') == NULL)
        child_fail(SPAWN_STAGE_EXEC, exec_searched(plan));
    (void)execve(plan->command, plan->argv, plan->env);
    child_fail(SPAWN_STAGE_EXEC, errno);
}

pid_t
spawn_process(const struct spawn_plan *plan, int *ret_report)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        child_run(plan, ends[1]);
    int sys = errno;
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        return -sys;
    }
    *ret_report = ends[0];
    return pid;
}
