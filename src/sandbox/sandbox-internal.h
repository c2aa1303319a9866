// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share: manager.c (the table and its life), launcher-link.c
// (messages with the launcher), guest.c (the data channel to casemate-init), channel.c and
// envelope.c (one client), usage.c, audit-log.c, denials.c,
// secret-counts.c, trust.c.
#pragma once

#include "base/buf.h"
#include "base/ratelimit.h"
#include "net/stream.h"
#include "sandbox/channel.h"
#include "sandbox/sandbox.h"
#include "wire/launch.h"

enum {
    // Stopped sandboxes that stay listed; the oldest go first.
    MANAGER_STOPPED_MAX = 1000,
    // Making one takes some ten milliseconds; a launcher that hangs must not hold a client for
    // ever.
    SANDBOX_CREATE_TIMEOUT_MS = 30000,
    // Client connections to one sandbox.
    SANDBOX_CHANNELS_MAX = 64,
    MANAGER_TICK_MS = 1000,
};

struct audit_log;

struct manager {
    uv_loop_t *loop;
    struct manager_options options;
    char region[4];
    int roots_fd;          // sealed memfd for the workers
    struct buf trust;      // PEM bundle for the sandboxes
    struct sandbox *first; // newest
    size_t running;        // all but the stopped ones
    size_t stopped;
    uint64_t next_wire_id; // of streams: unique in this process for its life (protocol 4.2)
    int launcher;
    bool launcher_ready;
    uv_poll_t launcher_poll;
    uv_timer_t tick;
    struct audit_log *audit;
    unsigned handles; // libuv handles of the manager still open while it closes
    void (*on_stopped)(void *user);
    void *stopped_user;
};

struct sandbox {
    struct manager *manager;
    struct sandbox *next;
    char id[SANDBOX_ID_SIZE + 1];
    enum sandbox_state state;
    enum sandbox_end end;
    int64_t created_ms;
    int64_t stopped_ms;
    int64_t stop_at_ms;
    int64_t create_deadline_ms; // monotonic
    json_t *labels;

    void (*on_created)(void *user, struct sandbox *s, const struct error *err);
    void *created_user;

    struct buf env; // FRAME_ENV frames, until they are sent
    struct buf ca;  // PEM of the egress CA
    bool launched;  // the launcher holds something of it
    bool destroy_sent;
    struct stream *guest;
    struct buf guest_in;
    uv_timer_t *guest_rest; // runs while frames wait in guest_in for the guest's next turn
    bool guest_hello;
    int64_t paused_ms; // monotonic: since when clients wait for the guest; 0: they do not

    struct channel *channels;
    size_t channel_count;
    uint32_t next_channel;

    bool worker_ready;
    int events;
    uv_poll_t *events_poll;
    unsigned event_lines;         // that the worker has told of since the last tick
    struct ratelimit denials;     // that are told to the guest
    struct secret_counts *counts; // NULL: nothing to count yet

    int usage_fds[LAUNCH_USAGE_FDS];
    enum launch_cpu_format cpu_format;
    uint64_t cpu_usec;
    uint64_t memory_bytes;
    double memory_byte_ms;
    int64_t sampled_ms; // monotonic; 0: not yet
};

// manager.c
void sandbox_set_state(struct sandbox *s, enum sandbox_state state);
// The guest or its channel broke a rule: logged with what, and the sandbox ends.
void sandbox_fault(struct sandbox *s, const char *what);
// Everything stands (launcher, worker, guest): tell who asked for it.
void sandbox_maybe_running(struct sandbox *s);
// Nothing of it is left; err is the reason where creating it failed.
void sandbox_gone(struct sandbox *s, const struct error *err);
// Tells who waits for manager_stop once nothing is left to wait for.
void manager_check_stopped(struct manager *m);

// launcher-link.c
int launcher_link_start(struct manager *m, struct error *err);
int launcher_link_create(struct sandbox *s, const struct sandbox_spec *spec, struct error *err);
void launcher_link_destroy(struct sandbox *s); // retried on each tick until it is sent

// guest.c
int guest_open(struct sandbox *s, struct error *err);
void guest_close(struct sandbox *s);
int guest_add_env(struct sandbox *s, const char *name, const char *value, struct error *err);
void guest_set_up(struct sandbox *s); // sends environment and trust store
void guest_send(struct sandbox *s, const struct frame *f);
void guest_check(struct sandbox *s, int64_t now_ms); // ends a sandbox whose guest does not read

// channel.c, envelope.c
void channel_frame(struct channel *c, const struct frame *f);
void channels_end(struct sandbox *s, enum sandbox_end why);
void channels_pause(struct sandbox *s, bool paused);
struct channel *channel_by_number(const struct sandbox *s, uint32_t number);

// audit-log.c
int audit_log_open(struct manager *m, struct error *err);
void audit_log_close(struct manager *m);      // what waits is written, in the loop if need be
bool audit_log_busy(const struct manager *m); // a write is under way
void audit_log_retry(struct manager *m);      // after a failed write
int audit_log_follow(struct sandbox *s, int events_fd, struct error *err);
void audit_log_unfollow(struct sandbox *s);
void audit_log_resume(struct sandbox *s); // reads on where there was no room
void audit_log_tick(struct sandbox *s);   // reads on where the worker had told all that it may
// An event of casemated's own about the sandbox; plain text without quotes.
void audit_log_note(struct sandbox *s, const char *event, const char *reason);

// denials.c
void denials_init(struct sandbox *s);
// An audit event of the sandbox, checked to be one: if it tells of a refusal, the guest is told,
// too.
void denials_tell(struct sandbox *s, const uint8_t *event, size_t size);

// secret-counts.c
// An audit event of the sandbox, checked to be one: counts what it tells of a secret.
void secret_counts_take(struct sandbox *s, const uint8_t *event, size_t size);
void secret_counts_tell(struct sandbox *s); // tells the guest, if there is anything new
void secret_counts_free(struct sandbox *s);

// usage.c
void usage_sample(struct sandbox *s);
void usage_close(struct sandbox *s);

// trust.c
// Appends every well-formed certificate of the PEM files to out, each once, written anew. A path
// may be NULL. ERR_NOT_FOUND when a file cannot be read.
int trust_collect(struct buf *out, const char *const *paths, size_t count, struct error *err);
// The one CA certificate in what a worker sent as its own, written anew into out, which is empty.
// -1, and out stays empty, when it holds none or several.
int trust_take_ca(struct buf *out, const void *pem, size_t size);
