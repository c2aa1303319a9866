// SPDX-License-Identifier: Apache-2.0
// casemate-proxy: the egress worker of one sandbox. Wiring only. The order is the point:
//
//   1  what protects the process from being looked into comes first
//   2  everything that needs files: policy, roots, the host's resolver, the authority's key
//   3  the door shuts (harden.h)
//   4  only then hostile bytes: the listeners, and the word that they are served
//
// It ends when casemated's end of the event socket does, and the launcher ends it with its sandbox.
// When it dies the launcher starts another with the same descriptors, a new event socket apart.
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "egress/audit.h"
#include "egress/ca.h"
#include "egress/harden.h"
#include "egress/listen.h"
#include "egress/names.h"
#include "egress/resolver.h"
#include "egress/upstream.h"
#include "egress/worker.h"
#include "mask/patterns.h"
#include "net/tls.h"
#include "policy/policy.h"
#include "wire/control.h"
#include "wire/events.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static int
protect(struct error *err)
{
    const struct rlimit none = {0};
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
        return error_set_errno(err, errno, "cannot protect the process");
    (void)signal(SIGPIPE, SIG_IGN);
    return 0;
}

static int
load_policy(struct policy **ret, struct error *err)
{
    void *data;
    size_t size;
    int r = fd_map_sealed(CONTROL_WORKER_POLICY, POLICY_ENCODED_MAX, &data, &size);
    if (r < 0)
        return error_set_errno(err, -r, "policy");
    r = policy_decode(data, size, ret, err);
    (void)munmap(data, size);
    (void)close(CONTROL_WORKER_POLICY);
    return r;
}

// The first event of each worker: which secrets it holds, by name.
static void
tell_policy(const struct worker *w, bool restored)
{
    char names[EVENT_AUDIT_MAX / 2] = "";
    size_t used = 0;
    for (size_t i = 0; i < policy_secret_count(w->policy) && used < sizeof names; i++) {
        int n = snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? "," : "",
                         policy_secret_name(w->policy, i));
        used += n > 0 ? (size_t)n : 0;
    }
    (void)audit_emit(w->audit, AUDIT_POLICY, NULL, "secrets", names, "reason",
                     restored ? "restarted" : "started", NULL);
}

static int
map_sent(struct worker *w, struct error *err)
{
    void *count =
        mmap(NULL, sizeof *w->tx_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, CONTROL_WORKER_SENT, 0);
    if (count == MAP_FAILED)
        return error_set_errno(err, errno, "map what was sent");
    (void)close(CONTROL_WORKER_SENT);
    w->tx_bytes = count;
    return 0;
}

static int
open_all(struct worker *w, struct error *err)
{
    bool restored = false;
    if (tls_init(err) < 0 || load_policy(&w->policy, err) < 0 ||
        patterns_new(w->policy, &w->patterns, err) < 0 ||
        audit_new(w, CONTROL_WORKER_EVENTS, &w->audit, err) < 0 ||
        tls_roots_new(CONTROL_WORKER_ROOTS, &w->roots, err) < 0 ||
        ca_open(w, CONTROL_WORKER_CA, &w->ca, &restored, err) < 0 || map_sent(w, err) < 0 ||
        upstreams_new(w, &w->dialer, err) < 0)
        return -1;
    (void)close(CONTROL_WORKER_ROOTS);
    (void)close(CONTROL_WORKER_CA);
    names_new(&w->names);
    if (restored)
        names_begin_anywhere(w->names);
    tell_policy(w, restored);
    int r = fd_set_nonblock(CONTROL_WORKER_TCP);
    return r < 0 ? error_set_errno(err, -r, "listener") : 0;
}

static void
on_events_end(uv_poll_t *poll, int status, int events)
{
    // Nothing is ever sent here: readable means ended as well.
    (void)status;
    (void)events;
    uv_stop(poll->loop);
}

static int
serve(struct worker *w, struct error *err)
{
    struct resolver *resolver = NULL;
    struct listener *listener = NULL;
    uv_poll_t end;
    size_t pem_size;
    const char *pem = ca_certificate_pem(w->ca, &pem_size);
    if (resolver_new(w, CONTROL_WORKER_UDP, &resolver, err) < 0 ||
        listener_new(w, CONTROL_WORKER_TCP, &listener, err) < 0)
        return -1;
    int r = uv_poll_init(w->loop, &end, CONTROL_WORKER_EVENTS);
    if (r == 0)
        r = uv_poll_start(&end, UV_READABLE | UV_DISCONNECT, on_events_end);
    if (r < 0)
        return error_set_errno(err, -r, "watch the event socket");
    if (audit_ready(w->audit, pem, pem_size, err) < 0)
        return -1;
    (void)uv_run(w->loop, UV_RUN_DEFAULT);
    return 0;
}

static int
run(struct worker *w, struct error *err)
{
    if (protect(err) < 0 || open_all(w, err) < 0 || harden_worker(err) < 0)
        return -1;
    (void)malloc_trim(0); // what making ready took is a good part of an idle worker's memory
    return serve(w, err);
}

int
main(void)
{
    struct error err;
    struct worker w = {.loop = uv_default_loop()};
    log_init("casemate-proxy", LOG_LEVEL_INFO);
    int r = run(&w, &err);
    if (r < 0)
        log_error("worker ends", "error", err.msg);
    // What holds secrets is wiped; the rest goes with the process.
    ca_free(w.ca);
    patterns_free(w.patterns);
    policy_free(w.policy);
    return r < 0 ? 1 : 0;
}
