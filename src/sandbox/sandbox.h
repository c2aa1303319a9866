// SPDX-License-Identifier: Apache-2.0
// The sandboxes of this casemated: made, found, ended, and metered. All on one libuv loop.
#pragma once

#include "base/error.h"
#include "base/ident.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct manager;
struct sandbox;

struct manager_options {
    int launcher_socket;    // connected SEQPACKET, non-blocking; the manager's from now on
    const char *region;     // three letters
    const char *roots_file; // PEM roots that upstreams are verified with (and that sandboxes trust)
    const char *image_bundle;          // PEM roots of the image, or NULL
    const char *egress_ca;             // further PEM roots (--egress-ca), of the same use; or NULL
    const char *const *dial_overrides; // NAME=ADDR:PORT, NULL-terminated, or NULL
    const char *audit_file; // egress audit, absolute path; one JSON object a line, appended
    unsigned sandboxes_max; // at once
    void (*on_ready)(void *user, const char *detail);              // LAUNCH_READY came; or NULL
    void (*on_launcher_gone)(void *user, const struct error *why); // every sandbox has ended
    void *user;
};

int manager_new(uv_loop_t *loop, const struct manager_options *options, struct manager **ret,
                struct error *err);
// Ends every sandbox, then calls done.
void manager_stop(struct manager *m, void (*done)(void *user), void *user);
// Writes further lines of the audit trail to the file that has its name by now: for one that was
// moved away. If there is none, a log line says so and the file in use is kept.
void manager_reopen_audit(struct manager *m);
// After done, with no client left; its handles close as the loop runs on.
void manager_free(struct manager *m);

struct sandbox_spec {
    uint32_t memory_mib;
    uint32_t disk_mib;
    uint32_t cpu_millis;
    uint32_t pids_max;
    int64_t stop_at_ms;    // wall clock; 0: ends with its creating connection ("session")
    json_t *labels;        // object of strings or NULL; borrowed
    json_t *env;           // object of strings or NULL; borrowed
    struct policy *policy; // taken, also on failure
};

// on_created comes once, perhaps before this returns: with the running sandbox, or NULL and the
// reason.
void manager_create(struct manager *m, const struct sandbox_spec *spec,
                    void (*on_created)(void *user, struct sandbox *s, const struct error *err),
                    void *user);

enum sandbox_state {
    SANDBOX_CREATING,
    SANDBOX_RUNNING,
    SANDBOX_STOPPING,
    SANDBOX_STOPPED, // listed for a while; nothing of it is left
    SANDBOX_STATE_MAX
};

enum sandbox_end {
    SANDBOX_END_NONE,
    SANDBOX_END_KILLED,
    SANDBOX_END_TIMEOUT,
    SANDBOX_END_SESSION,  // its creating connection closed
    SANDBOX_END_SHUTDOWN, // casemated stops
    SANDBOX_END_FAULT,    // init, worker or launcher died, or the guest broke the frame protocol
    SANDBOX_END_MAX
};

// NULL if there is none with that id that still runs.
struct sandbox *manager_find(struct manager *m, const char *id, size_t id_size);
// Calls visit for each, newest first, the stopped ones that are still listed included.
void manager_each(struct manager *m, void (*visit)(void *user, const struct sandbox *s),
                  void *user);

// Begins the end: closes every client with the code of protocol 3.5, then destroys. Idempotent.
void sandbox_end(struct sandbox *s, enum sandbox_end why);
// Moves the end of a timed sandbox (never earlier than it is); returns the stop time that applies.
// A session sandbox keeps its rule and only reports the requested time.
int64_t sandbox_extend(struct sandbox *s, int64_t stop_at_ms);

struct sandbox_usage {
    double cpu_seconds;
    double memory_gib_seconds;
    uint64_t memory_bytes; // now
};

const char *sandbox_id(const struct sandbox *s);
const char *sandbox_region(const struct sandbox *s);
enum sandbox_state sandbox_state(const struct sandbox *s);
enum sandbox_end sandbox_end_reason(const struct sandbox *s);
const char *sandbox_end_name(enum sandbox_end end); // "killed", "timeout", …
int64_t sandbox_created_ms(const struct sandbox *s);
int64_t sandbox_stopped_ms(const struct sandbox *s);   // 0 while it runs
const json_t *sandbox_labels(const struct sandbox *s); // never NULL
struct sandbox_usage sandbox_usage(struct sandbox *s);
