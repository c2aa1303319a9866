// SPDX-License-Identifier: Apache-2.0
#include "init/init.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "init/channel.h"
#include "init/deno/deno.h"
#include "init/fetch/fetch.h"
#include "init/guest.h"
#include "init/json-input.h"
#include "init/process/process.h"
#include "init/process/spawn.h"
#include "init/rpc.h"
#include "init/setup.h"
#include "wire/control.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    INITIAL_UMASK = 022,
    LARGE_BLOCK =
        1024 * 1024, // goes back to the kernel when freed: one huge message leaves no trace
};

struct init {
    struct loop *loop;
    struct loop_watch control;
    struct channels channels;
};

// Descriptors 0 to 2 exist, so that no other takes their place; those from the launcher are not
// passed on.
static int
prepare_fds(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return -1;
    if (fcntl(CONTROL_SOCKET, F_SETFD, FD_CLOEXEC) < 0 || fd_set_nonblock(CONTROL_SOCKET) < 0)
        return -1;
    (void)fcntl(CONTROL_MEMORY_EVENTS, F_SETFD, FD_CLOEXEC); // may be missing: then oom is not told
    return 0;
}

// PID 1 gets no signal that it does not ask for; SIGCHLD comes through a descriptor. What was
// ignored when the service was started (a shell's background job ignores SIGINT) is not handed on.
static void
prepare_signals(void)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void
control_ready(void *user, uint32_t events)
{
    (void)events;
    struct init *in = user;
    uint8_t message[16];
    int fds[FD_PASS_MAX];
    size_t fd_count = 0;
    ssize_t n = fd_recv_msg(CONTROL_SOCKET, message, sizeof message, fds, &fd_count);
    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        log_info("the launcher is gone");
        loop_stop(in->loop);
        return;
    }
    if (n == 1 && message[0] == CONTROL_CHANNEL && fd_count == 1) {
        link_attach(&in->channels.link, fds[0]);
        return;
    }
    log_warn("unknown message from the launcher");
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]);
}

static bool
before_sleep(void *user)
{
    struct init *in = user;
    return link_flush(&in->channels.link);
}

int
init_main(void)
{
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    prepare_signals();
    if (prepare_fds() < 0)
        return 2;
    log_init("casemate-init", LOG_LEVEL_INFO);
    // Before anything else can take its place.
    int fetch_program = fcntl(CONTROL_FETCH, F_SETFD, FD_CLOEXEC) < 0 ? -1 : CONTROL_FETCH;
    spawn_init();
    json_input_init();
    (void)umask(INITIAL_UMASK);
    if (chdir("/") < 0)
        return 2;

    // All of it lives as long as the sandbox.
    static struct init in;
    static struct guest guest;
    in.loop = loop_new();
    struct env env cleanup_env;
    env_init(&env);
    env_set_defaults(&env);
    guest = (struct guest){
        .loop = in.loop,
        .env = &env,
        .processes = processes_new(in.loop, CONTROL_MEMORY_EVENTS),
        .fetches = fetches_new(fetch_program),
        .deno = deno_new(in.loop),
    };
    struct setup setup;
    setup_init(&setup, &env);
    channels_init(&in.channels, in.loop, &guest);
    in.channels.setup = &setup;
    in.channels.setup_frame = setup_frame;
    in.channels.message = rpc_message;
    in.control = (struct loop_watch){.fd = CONTROL_SOCKET, .ready = control_ready, .user = &in};
    if (loop_watch_add(in.loop, &in.control, EPOLLIN) < 0)
        return 2;
    loop_run(in.loop, before_sleep, &in);
    link_close(&in.channels.link);
    return 0;
}
