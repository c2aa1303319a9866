// SPDX-License-Identifier: Apache-2.0
// casemated: wiring.
//
// Order at start: options -> checks -> state folder -> socket bound -> launcher forked -> manager
// made, which opens the operator's files -> root given up for good -> system calls confined ->
// loop. Only then, when the launcher says that it is ready, does it listen and parse what others
// send.
//
// Order at the end: the manager ends every sandbox and closes their clients -> the server ends what
// is left -> the loop runs dry -> the launcher sees our end of its socket close, cleans up, and is
// waited for.
#include "api/auth.h"
#include "api/json-wipe.h"
#include "api/secret-source.h"
#include "api/server.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "cmd/casemated-confine.h"
#include "cmd/casemated-options.h"
#include "cmd/casemated-setup.h"
#include "policy/operator-file.h"
#include "sandbox/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { LAUNCHER_WAIT_MS = 30 * 1000 }; // for unmounting what is left

struct daemon {
    const struct options *options;
    struct setup setup;
    uv_loop_t loop;
    uv_signal_t signals[3]; // SIGTERM, SIGINT, SIGHUP
    struct api api;
    struct operator operator; // of egress
    struct server *server;    // NULL before it listens
    int sock;
    char url[SERVER_URL_MAX];
    char token[AUTH_DEV_TOKEN_SIZE + 1];
    bool stopping;
    int status;
};

static void
end_loop(struct daemon *d)
{
    for (size_t i = 0; i < ARRAY_SIZE(d->signals); i++)
        uv_close((uv_handle_t *)&d->signals[i], NULL);
    uv_stop(&d->loop);
}

static void
on_server_stopped(void *user)
{
    end_loop(user);
}

static void
on_manager_stopped(void *user)
{
    struct daemon *d = user;
    if (d->server != NULL)
        server_stop(d->server, on_server_stopped, d);
    else
        end_loop(d);
}

static void
begin_stop(struct daemon *d)
{
    if (d->stopping)
        return;
    d->stopping = true;
    setup_remove_dev_env(&d->setup);
    manager_stop(d->api.manager, on_manager_stopped, d);
}

static void
on_signal(uv_signal_t *handle, int number)
{
    log_info("stopping", "signal", strsignal(number));
    begin_stop(handle->data);
}

static void
on_hangup(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;
    (void)number;
    if (!d->stopping)
        manager_reopen_audit(d->api.manager);
}

static void
on_launcher_gone(void *user, const struct error *why)
{
    struct daemon *d = user;
    if (d->stopping)
        return;
    log_error("casemate-launcher is gone, and all sandboxes with it; its log says why", "error",
              why != NULL ? why->msg : NULL);
    d->status = 1;
    begin_stop(d);
}

static int
start_serving(struct daemon *d, struct error *err)
{
    if (server_new(&d->api, TAKE_FD(d->sock), &d->server, err) < 0)
        return -1;
    return setup_write_dev_env(&d->setup, d->token, d->url, err);
}

static void
on_ready(void *user, const char *detail)
{
    struct daemon *d = user;
    struct error err = {0};
    if (d->stopping || d->server != NULL)
        return;
    if (start_serving(d, &err) < 0) {
        log_error("cannot serve", "error", err.msg);
        d->status = 1;
        begin_stop(d);
        return;
    }
    log_info("ready", "url", d->url, "launcher", detail);
    (void)printf("casemated ready on %s, state %s\n", d->url, d->setup.state);
    (void)fflush(stdout);
}

static int
make_manager(struct daemon *d, struct error *err)
{
    const struct options *o = d->options;
    struct setup *s = &d->setup;
    int launcher_socket = TAKE_FD(s->launcher_socket);
    const struct manager_options options = {
        .launcher_socket = launcher_socket,
        .region = o->region,
        .roots_file = "/etc/ssl/certs/ca-certificates.crt",
        .image_bundle = s->image_bundle[0] != '\0' ? s->image_bundle : NULL,
        .egress_ca = o->egress_ca,
        .dial_overrides = o->egress_hosts,
        .audit_file = s->audit_file,
        .sandboxes_max = o->sandboxes_max,
        .on_ready = on_ready,
        .on_launcher_gone = on_launcher_gone,
        .user = d,
    };
    return manager_new(&d->loop, &options, &d->api.manager, err);
}

// Before root is given up: credentials may be root's alone.
static int
load_egress(struct daemon *d, struct error *err)
{
    const char *file = d->options->egress_config;
    if (file == NULL)
        return 0;
    if (operator_load_file(file, &d->operator, err) < 0)
        return -1;
    d->api.operator= & d->operator;
    return secret_source_new(&d->loop, &d->operator, & d->api.secrets, err);
}

// Whether the operator gets a secret from a program.
static bool
runs_commands(const struct daemon *d)
{
    const char *name;
    json_t *secret;
    json_object_foreach(json_object_get(d->operator.document, "secrets"), name, secret)
    {
        if (json_object_get(secret, "command") != NULL)
            return true;
    }
    return false;
}

static int
prepare(struct daemon *d, struct error *err)
{
    const struct options *o = d->options;
    if (setup_check(o, &d->setup, err) < 0)
        return -1;
    d->sock = server_bind(o->listen, o->insecure_listen, err);
    if (d->sock < 0 || server_url(d->sock, d->url, err) < 0 || setup_state(o, &d->setup, err) < 0 ||
        setup_launcher(o, &d->setup, err) < 0)
        return -1;
    json_wipe_install();
    d->api.auth = auth_new();
    d->api.loop = &d->loop;
    d->api.memory_min_mib = o->memory_min_mib;
    if (load_egress(d, err) < 0 || auth_make_dev_token(d->api.auth, d->token, err) < 0 ||
        make_manager(d, err) < 0)
        return -1;
    return setup_drop(&d->setup, err) < 0 ? -1 : confine_daemon(runs_commands(d), err);
}

static void
watch_signals(struct daemon *d)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    static_assert(ARRAY_SIZE(numbers) == ARRAY_SIZE(d->signals), "a handle for each");
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        (void)uv_signal_init(&d->loop, &d->signals[i]);
        d->signals[i].data = d;
        (void)uv_signal_start(&d->signals[i], numbers[i] == SIGHUP ? on_hangup : on_signal,
                              numbers[i]);
    }
}

// The launcher leaves when our end of its socket is closed.
static int
wait_for_launcher(const struct setup *s)
{
    struct pollfd ended = {.fd = s->launcher_pidfd, .events = POLLIN};
    int status = 0;
    int n;
    do // its own SIGCHLD interrupts the wait
        n = poll(&ended, 1, LAUNCHER_WAIT_MS);
    while (n < 0 && errno == EINTR);
    if (n != 1 || waitpid(s->launcher, &status, WNOHANG) <= 0) {
        log_error("casemate-launcher does not end; look for what is left of its sandboxes");
        return 1;
    }
    if (status != 0)
        log_error("casemate-launcher ended with an error; its log says why");
    return status != 0;
}

static int
run(const struct options *o, struct error *err)
{
    static struct daemon state;
    struct daemon *d = &state;
    d->options = o;
    d->sock = d->setup.private_dir = d->setup.launcher_socket = d->setup.launcher_pidfd = -1;
    if (uv_loop_init(&d->loop) < 0)
        return error_set(err, ERR_INTERNAL, "cannot make an event loop");
    if (prepare(d, err) < 0)
        return -1;
    watch_signals(d);
    (void)uv_run(&d->loop, UV_RUN_DEFAULT);
    secret_source_free(d->api.secrets);
    operator_done(&d->operator);
    manager_free(d->api.manager);
    (void)uv_run(&d->loop, UV_RUN_NOWAIT); // for what it closes
    if (d->server != NULL)
        server_free(d->server);
    auth_free(d->api.auth);
    explicit_bzero(d->token, sizeof d->token);
    int status = wait_for_launcher(&d->setup) | d->status;
    log_info("stopped");
    return status;
}

int
main(int argc, char **argv)
{
    struct options options;
    struct error err = {0};
    (void)signal(SIGPIPE, SIG_IGN);
    int status = options_parse(&options, argc, argv, &err);
    if (status == 0) {
        log_init("casemated", options.log_level);
        if (options.action == OPTIONS_RUN)
            status = run(&options, &err);
    }
    if (status < 0)
        (void)fprintf(stderr, "casemated: %s\n", err.msg);
    return status != 0;
}
