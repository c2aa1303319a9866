// SPDX-License-Identifier: Apache-2.0
// Builds real sandboxes with a real launcher in a child process, with stand-ins for casemate-init
// (guest-shell.c) and casemate-proxy (worker-echo.c), and looks from inside and outside. Needs root
// and the base image.
#include "launcher/launcher.h"
#include "unit.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "wire/launch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_MAX = 65536, ANSWER_TIMEOUT_S = 30 };

enum { SANDBOXES_MAX = 4 };

struct fixture {
    char state_dir[32];
    pid_t pid;
    int sock;
    int events;
};

static void
start_launcher(struct fixture *f)
{
    int pair[2];
    assert_int_equal(fd_socketpair(SOCK_SEQPACKET, pair), 0);
    f->pid = fork();
    assert_true(f->pid >= 0);
    if (f->pid == 0) {
        const struct launcher_options options = {.state_dir = f->state_dir,
                                                 .image = BASE_IMAGE,
                                                 .init = GUEST_SHELL,
                                                 .fetch = GUEST_SHELL,
                                                 .worker = WORKER_ECHO,
                                                 .sandboxes_max = SANDBOXES_MAX,
                                                 .worker_user = "nobody"};
        (void)close(pair[0]);
        if (pair[1] != LAUNCHER_SOCKET && dup2(pair[1], LAUNCHER_SOCKET) < 0)
            _exit(1);
        if (pair[1] != LAUNCHER_SOCKET)
            (void)close(pair[1]);
        _exit(launcher_run(&options));
    }
    (void)close(pair[1]);
    f->sock = pair[0];
    const struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
    (void)setsockopt(f->sock, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
}

static struct launch_message
receive(struct fixture *f)
{
    struct launch_message m = {0};
    int fds[FD_PASS_MAX];
    size_t count = 0;
    struct error err = {0};
    if (launch_recv(f->sock, &m, fds, &count, &err) != 1)
        fail_msg("no answer of the launcher: %s", err.msg);
    for (size_t i = 0; i < count; i++)
        (void)close(fds[i]);
    if (m.type == LAUNCH_CREATED)
        assert_int_equal(count, LAUNCH_USAGE_FDS);
    return m;
}

static int
stop_launcher(struct fixture *f)
{
    int status = -1;
    (void)close(f->sock);
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    return status;
}

static void
send_create(struct fixture *f, const char *id)
{
    struct launch_message m = {.type = LAUNCH_CREATE,
                               .memory_mib = 256,
                               .disk_mib = 1024,
                               .cpu_millis = 1000,
                               .pids_max = 64};
    memcpy(m.id, id, sizeof m.id);
    cleanup_fd int policy = fd_memfd_sealed("policy", "p", 1);
    cleanup_fd int roots = fd_memfd_sealed("roots", "r", 1);
    int events[2];
    assert_int_equal(fd_socketpair(SOCK_SEQPACKET, events), 0);
    const int fds[LAUNCH_CREATE_FDS] = {policy, roots, events[1]};
    assert_int_equal(launch_send(f->sock, &m, fds, LAUNCH_CREATE_FDS, NULL), 0);
    (void)close(events[0]);
    (void)close(events[1]);
}

static void
create(struct fixture *f, char id[SANDBOX_ID_SIZE + 1])
{
    ident_sandbox(id, "ord");
    send_create(f, id);
    struct launch_message m = receive(f);
    if (m.type != LAUNCH_CREATED)
        fail_msg("create: %s", m.error.msg);
    assert_string_equal(m.id, id);
}

static void
send_plain(struct fixture *f, enum launch_type type, const char *id, const int *fds, size_t count)
{
    struct launch_message m = {.type = type};
    memcpy(m.id, id, sizeof m.id);
    assert_int_equal(launch_send(f->sock, &m, fds, count, NULL), 0);
}

static void
expect_end(struct fixture *f, const char *id, enum launch_reason reason)
{
    struct launch_message m = receive(f);
    assert_int_equal(m.type, LAUNCH_ENDED);
    assert_int_equal(m.reason, reason);
    assert_string_equal(m.id, id);
    assert_true(m.cpu_usec > 0);
}

// Runs a script inside, the first line of which is the user; its output, which the next call
// overwrites.
static const char *
run(struct fixture *f, const char *id, const char *script)
{
    static char output[OUTPUT_MAX];
    int pair[2];
    assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
    send_plain(f, LAUNCH_CHANNEL, id, &pair[1], 1);
    (void)close(pair[1]);
    assert_int_equal(fd_write_all(pair[0], script, strlen(script)), 0);
    (void)shutdown(pair[0], SHUT_WR);
    size_t used = 0;
    ssize_t n;
    while ((n = read(pair[0], output + used, sizeof output - 1 - used)) > 0)
        used += (size_t)n;
    output[used] = '\0';
    (void)close(pair[0]);
    return output;
}

static unsigned
count_in(const char *path, const char *word)
{
    unsigned count = 0;
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        count += strstr(entry->d_name, word) != NULL;
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

static void
expect_nothing_left(const struct fixture *f)
{
    char disks[64];
    (void)snprintf(disks, sizeof disks, "%s/disks", f->state_dir);
    assert_int_equal(count_in(disks, ".ext4"), 0);
    cleanup_fd int mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    static char text[OUTPUT_MAX];
    ssize_t n = read(mounts, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    assert_null(strstr(text, "/run/casemate/"));
}

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->state_dir, sizeof f->state_dir, "/tmp/test-recipe-XXXXXX");
    assert_non_null(mkdtemp(f->state_dir));
    start_launcher(f);
    assert_int_equal(receive(f).type, LAUNCH_READY);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    int status = stop_launcher(f);
    expect_nothing_left(f);
    (void)nftw(f->state_dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return WIFEXITED(status) ? 0 : -1;
}

static void
test_inside(void **state)
{
    struct fixture *f = *state;
    char id[SANDBOX_ID_SIZE + 1];
    create(f, id);
    static const struct {
        const char *script;
        const char *output;
    } cases[] = {
        {"app\nid -u; sudo id -u", "1000\n0\n"},
        {"root\ngrep -E 'CapBnd|CapEff' /proc/self/status",
         "CapEff:\t00000000a00405fb\nCapBnd:\t00000000a00405fb\n"},
        {"root\ncat /proc/self/cgroup | cut -d: -f3 | sort -u", "/\n"},
        {"root\nset -- /proc/[0-9]*; test $# -le 4 && echo few", "few\n"},
        {"root\nmount -t tmpfs x /mnt 2>/dev/null || echo refused", "refused\n"},
        {"root\numount /proc/keys 2>/dev/null || echo refused", "refused\n"},
        {"root\nunshare -U true 2>/dev/null || echo refused", "refused\n"},
        {"root\nmknod /tmp/x b 7 0 2>/dev/null || echo refused", "refused\n"},
        {"root\n(echo 1 > /proc/sys/net/ipv4/ip_forward) 2>/dev/null || echo refused", "refused\n"},
        {"root\nchown 1234:1234 /etc/hostname 2>/dev/null; touch /etc/t; chown 65535:65535 /etc/t; "
         "stat -c %u:%g /etc/t",
         "65535:65535\n"},
        {"root\nchown 65536 /etc/t 2>/dev/null || echo refused", "refused\n"},
        {"app\nnproc; ls /sys | wc -l", "1\n0\n"},
        // Standard streams, and those of enum control_init_fd.
        {"root\nls /proc/1/fd | wc -l; cat /proc/cmdline", "6\n"},
        {"root\nmkdir /opt/a /opt/b; echo x > /opt/a/f; mv /opt/a/f /opt/b/; cat /opt/b/f", "x\n"},
        {"app\ncat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '", "lo\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(run(f, id, cases[i].script), cases[i].output);
    char hostname[SANDBOX_ID_SIZE + 2];
    (void)snprintf(hostname, sizeof hostname, "%s\n", id);
    for (char *p = hostname; *p != '\0'; p++)
        *p = *p == '_' ? '-' : *p;
    assert_string_equal(run(f, id, "app\nhostname"), hostname);
    send_plain(f, LAUNCH_DESTROY, id, NULL, 0);
    expect_end(f, id, LAUNCH_REASON_DESTROYED);
}

static void
test_network(void **state)
{
    struct fixture *f = *state;
    char id[SANDBOX_ID_SIZE + 1];
    create(f, id);
#define CONNECT(host, port)                                                                        \
    "app\n(cat < /dev/tcp/" host "/" port ") 2>&1 | grep -o -E 'worker.*|refused$' | sort -u"
    static const struct {
        const char *script;
        const char *output;
    } cases[] = {
        {CONNECT("93.184.216.34", "443"), "worker [::ffff:93.184.216.34]:443\n"},
        {CONNECT("169.254.169.254", "80"), "worker [::ffff:169.254.169.254]:80\n"},
        {CONNECT("2606:4700::1111", "22"), "worker [2606:4700::1111]:22\n"},
        {CONNECT("127.0.0.1", "1"), "refused\n"},
        {CONNECT("127.9.9.9", "443"), "refused\n"},
        {CONNECT("::1", "1"), "refused\n"},
        {CONNECT("0.0.0.0", "1"), "refused\n"},
        {"app\nexec 3<>/dev/udp/8.8.8.8/53; echo q >&3; timeout 2 head -n1 <&3", "q\n"},
        {"app\nexec 3<>/dev/udp/2001:4860:4860::8888/53; echo q >&3; timeout 2 head -n1 <&3",
         "q\n"},
        {"app\nexec 3<>/dev/udp/8.8.8.8/443; echo q >&3; timeout 2 head -n1 <&3 2>&1 | grep -o "
         "refused",
         "refused\n"},
        {"app\nexec 3<>/dev/udp/127.0.0.1/53; echo q >&3; timeout 2 head -n1 <&3 2>&1 | grep -o "
         "refused",
         "refused\n"},
        // A server of the sandbox's own gets no connection that was meant for the world.
        {"app\npython3 -c 'import socket as s\n"
         "l = s.socket(); l.bind((\"198.18.0.9\", 8443)); l.listen()\n"
         "c = s.create_connection((\"198.18.0.9\", 8443)); print(c.recv(99).decode(), end=\"\")'",
         "worker [::ffff:198.18.0.9]:8443\n"},
    };
#undef CONNECT
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(run(f, id, cases[i].script), cases[i].output);
    send_plain(f, LAUNCH_DESTROY, id, NULL, 0);
    expect_end(f, id, LAUNCH_REASON_DESTROYED);
}

static void
test_limits(void **state)
{
    struct fixture *f = *state;
    char id[SANDBOX_ID_SIZE + 1];
    create(f, id);
    assert_non_null(strstr(run(f, id, "app\npython3 -c 'bytearray(1 << 30)'; echo $?"), "137\n"));
    assert_non_null(
        strstr(run(f, id, "root\ncat /dev/zero > /var/big; rm /var/big"), "No space left"));
    assert_non_null(strstr(run(f, id, "app\nfor i in $(seq 100); do sleep 5 & done"), "fork"));
    send_plain(f, LAUNCH_DESTROY, id, NULL, 0);
    expect_end(f, id, LAUNCH_REASON_DESTROYED);
}

static void
test_unpermitted_request(void **state)
{
    struct fixture *f = *state;
    char id[SANDBOX_ID_SIZE + 1];
    create(f, id);
    send_plain(f, LAUNCH_CHANNEL, id, &f->sock, 1); // no stream socket
    int status = -1;
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    expect_nothing_left(f);
    (void)close(f->sock);
    start_launcher(f);
    assert_int_equal(receive(f).type, LAUNCH_READY);
}

// However many casemated asks for.
static void
test_operator_s_number(void **state)
{
    struct fixture *f = *state;
    char ids[SANDBOXES_MAX][SANDBOX_ID_SIZE + 1];
    char one_more[SANDBOX_ID_SIZE + 1];
    for (size_t i = 0; i < SANDBOXES_MAX; i++)
        create(f, ids[i]);
    ident_sandbox(one_more, "ord");
    send_create(f, one_more);
    struct launch_message m = receive(f);
    assert_int_equal(m.type, LAUNCH_FAILED);
    assert_int_equal(m.error.code, ERR_UNAVAILABLE);
    for (size_t i = 0; i < SANDBOXES_MAX; i++) {
        send_plain(f, LAUNCH_DESTROY, ids[i], NULL, 0);
        expect_end(f, ids[i], LAUNCH_REASON_DESTROYED);
    }
}

static void
test_destroy_while_building(void **state)
{
    struct fixture *f = *state;
    char id[SANDBOX_ID_SIZE + 1];
    ident_sandbox(id, "ord");
    send_create(f, id);
    send_plain(f, LAUNCH_DESTROY, id, NULL, 0);
    struct launch_message m = receive(f);
    assert_int_equal(m.type, LAUNCH_FAILED);
    send_plain(f, LAUNCH_DESTROY, id, NULL, 0); // unknown by now: ignored
    create(f, id);
    send_plain(f, LAUNCH_DESTROY, id, NULL, 0);
    expect_end(f, id, LAUNCH_REASON_DESTROYED);
}

// What a killed launcher leaves, the next start removes; no process outlives it.
static void
test_killed_launcher(void **state)
{
    struct fixture *f = *state;
    char id[SANDBOX_ID_SIZE + 1];
    create(f, id);
    int pair[2];
    assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
    send_plain(f, LAUNCH_CHANNEL, id, &pair[1], 1);
    (void)close(pair[1]);
    assert_int_equal(kill(f->pid, SIGKILL), 0);
    assert_int_equal(waitpid(f->pid, NULL, 0), f->pid);
    (void)close(f->sock);
    char byte;
    assert_true(read(pair[0], &byte, 1) <= 0); // its holder inside is dead
    (void)close(pair[0]);
    start_launcher(f);
    assert_int_equal(receive(f).type, LAUNCH_READY);
    expect_nothing_left(f);
}

static void
test_second_instance(void **state)
{
    struct fixture *f = *state;
    struct fixture second = *f;
    start_launcher(&second);
    struct launch_message m;
    int fds[FD_PASS_MAX];
    size_t count;
    assert_int_equal(launch_recv(second.sock, &m, fds, &count, NULL), 0);
    int status = stop_launcher(&second);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

int
main(void)
{
    if (geteuid() != 0 || access(BASE_IMAGE, R_OK) < 0) {
        (void)printf("skipped: needs root and the base image (image/build)\n");
        return 77;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inside),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_destroy_while_building),
        cmocka_unit_test(test_killed_launcher),
        cmocka_unit_test(test_second_instance),
        cmocka_unit_test(test_operator_s_number),
        cmocka_unit_test(test_unpermitted_request),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
