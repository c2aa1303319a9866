// SPDX-License-Identifier: Apache-2.0
// Runs one egress worker as the launcher would, and a command in the network namespace that it
// guards.
//
// usage: worker-host WORKER CONFIG FOLDER [NAME=ADDR:PORT]... -- COMMAND [ARG]...
//
// CONFIG is JSON with allow_net and secrets; their placeholders are in the command's environment.
// Upstreams are verified against FOLDER/roots.pem. FOLDER/ca.pem becomes the certificate of the
// sandbox's own authority, and each audit event a line of FOLDER/events. Exit status: that of the
// command; 99 where the worker or this program failed.
#include "base/cleanup.h"
#include "base/fd.h"
#include "launcher/capture.h"
#include "launcher/network.h"
#include "policy/policy.h"
#include "wire/control.h"
#include "wire/events.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { FAILED = 99, HIGH = 100, NOBODY = 65534, ROOTS_MAX = 16384 };

struct host {
    struct policy *policy;
    int policy_fd;
    int roots_fd;
    int events[2];
    int capture;
    struct network_sockets sockets;
    int folder;
    int log;
};

static void
make_policy(struct host *h, const char *path, char **overrides, int count)
{
    struct error e = {0};
    json_t *config = json_load_file(path, 0, NULL);
    if (config == NULL)
        errx(FAILED, "%s: no JSON", path);
    if (policy_from_json(json_object_get(config, "allow_net"), json_object_get(config, "secrets"),
                         &h->policy, &e) < 0)
        errx(FAILED, "%s", e.msg);
    for (int i = 0; i < count; i++)
        if (policy_add_dial_override(h->policy, overrides[i], &e) < 0)
            errx(FAILED, "%s", e.msg);
    cleanup_buf struct buf out;
    buf_init_secret(&out, POLICY_ENCODED_MAX);
    if (policy_encode(h->policy, &out, &e) < 0)
        errx(FAILED, "%s", e.msg);
    h->policy_fd = fd_memfd_sealed("policy", buf_bytes(&out), buf_size(&out));
    char roots[ROOTS_MAX];
    cleanup_fd int fd = openat(h->folder, "roots.pem", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, roots, sizeof roots);
    if (n <= 0)
        err(FAILED, "roots.pem");
    h->roots_fd = fd_memfd_sealed("roots", roots, (size_t)n);
    json_decref(config);
}

// The child waits in a fresh namespace until a byte comes.
static pid_t
start_command(const struct host *h, char **command, int ret_gate[2])
{
    int ready[2];
    if (pipe2(ret_gate, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0)
        err(FAILED, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        char byte = 0;
        if (unshare(CLONE_NEWNET) < 0 || write(ready[1], &byte, 1) != 1)
            err(FAILED, "unshare");
        (void)close(ret_gate[1]);
        if (read(ret_gate[0], &byte, 1) != 1)
            _exit(FAILED);
        // In a forked child the vault is empty by design: the environment was made before.
        execvp(command[0], command);
        err(FAILED, "%s", command[0]);
    }
    char byte;
    (void)close(ready[1]);
    if (pid < 0 || read(ready[0], &byte, 1) != 1)
        errx(FAILED, "no namespace");
    (void)close(ready[0]);
    (void)h;
    return pid;
}

static void
set_environment(const struct host *h)
{
    for (size_t i = 0; i < policy_secret_count(h->policy); i++)
        (void)setenv(policy_secret_name(h->policy, i), policy_secret_placeholder(h->policy, i), 1);
}

static void
make_network(struct host *h, pid_t pid)
{
    struct error e = {0};
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
    cleanup_fd int ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || network_build(ns, &h->sockets, &e) < 0)
        errx(FAILED, "%s", e.msg);
    h->capture = capture_attach(ns, &h->sockets, &e);
    if (h->capture < 0)
        errx(FAILED, "%s", e.msg);
}

static pid_t
start_worker(struct host *h, char *worker)
{
    if (fd_socketpair(SOCK_SEQPACKET, h->events) < 0)
        errx(FAILED, "socketpair");
    pid_t pid = fork();
    if (pid != 0) {
        (void)close(h->events[1]);
        (void)close(h->sockets.tcp);
        (void)close(h->sockets.udp);
        (void)close(h->capture);
        return pid;
    }
    const int from[] = {h->policy_fd,
                        h->roots_fd,
                        h->sockets.tcp,
                        h->sockets.udp,
                        h->events[1],
                        h->capture,
                        memfd_create("ca", MFD_CLOEXEC | MFD_ALLOW_SEALING),
                        memfd_create("sent", MFD_CLOEXEC)};
    if (ftruncate(from[CONTROL_WORKER_SENT - CONTROL_WORKER_POLICY], sizeof(uint64_t)) < 0)
        err(FAILED, "ftruncate");
    int high[ARRAY_SIZE(from)];
    for (size_t i = 0; i < ARRAY_SIZE(from); i++)
        high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, HIGH);
    for (size_t i = 0; i < ARRAY_SIZE(from); i++)
        if (high[i] < 0 || dup2(high[i], CONTROL_WORKER_POLICY + (int)i) < 0)
            err(FAILED, "dup2");
    // Readable for the dynamic linker even where the build directory is root's alone.
    cleanup_fd int exec = open(worker, O_RDONLY | O_CLOEXEC);
    if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
        err(FAILED, "setuid");
    char *argv[] = {worker, NULL};
    // Looking for leaks at the end takes system calls that the worker has given up.
    char *environment[] = {(char[]){"ASAN_OPTIONS=detect_leaks=0"}, NULL};
    fexecve(exec, argv, environment);
    err(FAILED, "%s", worker);
}

// One event; false at the end of the socket.
static bool
take_event(struct host *h, bool *ret_ready)
{
    char data[EVENT_MAX];
    ssize_t n = recv(h->events[0], data, sizeof data, 0);
    if (n <= 0)
        return false;
    if (data[0] == EVENT_READY) {
        cleanup_fd int ca = openat(h->folder, "ca.pem", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd_write_all(ca, data + 1, (size_t)n - 1) < 0)
            err(FAILED, "ca.pem");
        *ret_ready = true;
    } else if (data[0] == EVENT_AUDIT) {
        data[0] = '\n';
        if (fd_write_all(h->log, data + 1, (size_t)n - 1) < 0 || fd_write_all(h->log, "\n", 1) < 0)
            err(FAILED, "events file");
    }
    return true;
}

static int
follow(struct host *h, pid_t command)
{
    int status;
    bool ready = true;
    for (;;) {
        struct pollfd p = {.fd = h->events[0], .events = POLLIN};
        (void)poll(&p, 1, 50);
        if (p.revents != 0 && !take_event(h, &ready))
            errx(FAILED, "the worker died");
        if (p.revents == 0 && waitpid(command, &status, WNOHANG) == command)
            return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
    }
}

int
main(int argc, char **argv)
{
    struct host h = {0};
    int dashes = 4;
    while (dashes < argc && strcmp(argv[dashes], "--") != 0)
        dashes++;
    if (dashes + 1 >= argc)
        errx(FAILED, "usage: worker-host WORKER CONFIG FOLDER [NAME=ADDR:PORT]... -- COMMAND");
    h.folder = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    h.log = openat(h.folder, "events", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    make_policy(&h, argv[2], argv + 4, dashes - 4);
    set_environment(&h);
    int gate[2];
    pid_t command = start_command(&h, argv + dashes + 1, gate);
    make_network(&h, command);
    pid_t worker = start_worker(&h, argv[1]);
    bool ready = false;
    while (!ready)
        if (!take_event(&h, &ready))
            errx(FAILED, "the worker did not start");
    if (write(gate[1], "g", 1) != 1)
        err(FAILED, "gate");
    int result = follow(&h, command);
    (void)close(h.events[0]);
    int status;
    if (waitpid(worker, &status, 0) != worker || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        errx(FAILED, "the worker ended with status %#x", (unsigned)status);
    policy_free(h.policy);
    return result;
}
