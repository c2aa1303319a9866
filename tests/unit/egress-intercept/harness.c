// SPDX-License-Identifier: Apache-2.0
// A worker made by hand, for tests: real interception, but every name is dialled on a given
// loopback port, and audit events are lines on standard output. No sandbox, no privileges.
//
//   harness ROOTS.pem SECRETS.json NAME=UPSTREAM_PORT[,plain]...
//
// The first line on standard output is a JSON object: the CA, the placeholders, and the port that
// stands for each NAME.
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json-text.h"
#include "base/mem.h"
#include "egress/audit.h"
#include "egress/ca.h"
#include "egress/h2.h"
#include "egress/harden.h"
#include "egress/intercept.h"
#include "egress/origin-pool.h"
#include "egress/upstream.h"
#include "mask/patterns.h"
#include "net/tls.h"

#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { TARGETS_MAX = 32, FILE_MAX_SIZE = 4 * 1024 * 1024 };

struct target {
    char name[NAME_MAX_SIZE + 1];
    uint16_t upstream_port;
    bool plain;
    int listener;
    uint16_t port;
    uv_poll_t poll;
};

struct upstreams {
    int unused;
};

struct audit {
    bool full;
};

static struct worker worker;
static struct upstreams dialer;
static struct audit audit;
static struct target targets[TARGETS_MAX];
static size_t target_count;

// --- what the harness stands in for ---

static const char *const event_names[] = {
    [AUDIT_CONN_ALLOW] = "conn_allow",
    [AUDIT_CONN_DENY] = "conn_deny",
    [AUDIT_DNS_DENY] = "dns_deny",
    [AUDIT_PASSTHROUGH] = "passthrough",
    [AUDIT_INTERCEPT] = "intercept",
    [AUDIT_REQUEST] = "request",
    [AUDIT_SWAP] = "swap",
    [AUDIT_REDACT] = "redact",
    [AUDIT_MISUSE] = "misuse",
    [AUDIT_PLACEHOLDER_SEEN] = "placeholder_seen",
    [AUDIT_UPSTREAM_TLS_ERROR] = "upstream_tls_error",
    [AUDIT_POLICY] = "policy",
    [AUDIT_LIMIT] = "limit",
};

int
audit_emit(struct audit *a, enum audit_event event, const struct destination *to, ...)
{
    cleanup_buf struct buf line;
    buf_init(&line, 65536);
    buf_append_fmt(&line, "{\"ev\":\"%s\",\"name\":\"%s\"", event_names[event],
                   to != NULL ? to->name : "");
    va_list args;
    va_start(args, to);
    const char *name;
    while ((name = va_arg(args, const char *)) != NULL) {
        const char *text = va_arg(args, const char *);
        if (text == NULL)
            continue;
        buf_append_fmt(&line, ",\"%s\":", name);
        json_text_string(&line, text, strlen(text));
    }
    va_end(args);
    buf_append_str(&line, "}\n");
    fd_write_all(1, buf_bytes(&line), buf_size(&line));
    return a->full ? -1 : 0;
}

struct upstream_dial {
    struct stream *s;
    upstream_done *done;
    void *user;
};

static void
dial_opened(void *user)
{
    struct upstream_dial *d = user;
    d->done(d->user, d->s, NULL, NULL);
    free(d);
}

static void
dial_closed(void *user, const struct error *why)
{
    struct upstream_dial *d = user;
    struct error err = {0};
    (void)error_set(&err, ERR_UNAVAILABLE, "cannot connect: %s", why != NULL ? why->msg : "closed");
    if (d->done != NULL)
        d->done(d->user, NULL, NULL, &err);
    free(d);
}

static const struct stream_events dial_events = {.on_open = dial_opened, .on_close = dial_closed};

struct upstream_dial *
upstream_connect(struct upstreams *u, const struct destination *to, upstream_done *done, void *user)
{
    (void)u;
    struct upstream_dial *d = xcalloc(1, sizeof *d);
    d->done = done;
    d->user = user;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < target_count; i++) {
        if (strcmp(targets[i].name, to->name) == 0 && targets[i].port == to->conn >> 32)
            addr.sin_port = htons(targets[i].upstream_port);
    }
    struct error err = {0};
    if (stream_connect(worker.loop, (struct sockaddr *)&addr, &d->s, &err) != 0)
        errx(1, "%s", err.msg);
    stream_set_user(d->s, &dial_events, d);
    return d;
}

void
upstream_cancel(struct upstream_dial *d)
{
    d->done = NULL;
    stream_close(d->s);
}

// --- accepting ---

struct pending {
    struct target *target;
    struct stream *s;
    uint64_t number;
};

static void
first_data(void *user, const uint8_t *data, size_t size)
{
    struct pending *p = user;
    struct destination to = {.conn = (uint64_t)p->target->port << 32 | p->number};
    to.port = p->target->plain ? 80 : 443;
    to.name_size = strlen(p->target->name);
    memcpy(to.name, p->target->name, to.name_size);
    stream_read_stop(p->s);
    worker.connections++;
    intercept_start(&worker, p->s, &to, data, size, p->target->plain);
    free(p);
}

static void
first_close(void *user, const struct error *why)
{
    (void)why;
    free(user);
}

static const struct stream_events first_events = {.on_data = first_data, .on_close = first_close};

static void
on_connection(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct target *t = poll->data;
    int fd = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct pending *p = xcalloc(1, sizeof *p);
    struct error err = {0};
    p->target = t;
    p->number = ++worker.next_connection;
    if (stream_from_fd(worker.loop, fd, &p->s, &err) != 0)
        errx(1, "%s", err.msg);
    stream_set_user(p->s, &first_events, p);
    stream_read_start(p->s);
}

static void
add_target(char *text)
{
    struct target *t = &targets[target_count++];
    char *equals = strchr(text, '=');
    if (equals == NULL || target_count == TARGETS_MAX)
        errx(1, "bad target");
    (void)snprintf(t->name, sizeof t->name, "%.*s", (int)(equals - text), text);
    t->upstream_port = (uint16_t)strtoul(equals + 1, NULL, 10);
    t->plain = strstr(equals, ",plain") != NULL;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof addr;
    t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(t->listener, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(t->listener, 128) != 0 ||
        getsockname(t->listener, (struct sockaddr *)&addr, &size) != 0)
        err(1, "listener");
    t->port = ntohs(addr.sin_port);
    uv_poll_init(worker.loop, &t->poll, t->listener);
    t->poll.data = t;
    uv_poll_start(&t->poll, UV_READABLE, on_connection);
}

static void
read_file(const char *path, struct buf *out)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;
    if (fd < 0)
        err(1, "%s", path);
    while ((n = read(fd, buf_reserve(out, 65536), 65536)) > 0)
        buf_commit(out, (size_t)n);
}

static void
set_up(const char *roots_path, const char *secrets_path)
{
    struct error err = {0};
    cleanup_buf struct buf roots;
    cleanup_buf struct buf secrets;
    buf_init(&roots, FILE_MAX_SIZE);
    buf_init_secret(&secrets, FILE_MAX_SIZE);
    read_file(roots_path, &roots);
    read_file(secrets_path, &secrets);
    cleanup_fd int fd = fd_memfd_sealed("roots", buf_bytes(&roots), buf_size(&roots));
    json_t *json = json_loadb((char *)buf_bytes(&secrets), buf_size(&secrets), 0, NULL);
    (void)signal(SIGPIPE, SIG_IGN); // as casemate-proxy does
    worker.loop = uv_default_loop();
    worker.dialer = &dialer;
    worker.audit = &audit;
    if (tls_init(&err) != 0 || policy_from_json(NULL, json, &worker.policy, &err) != 0 ||
        patterns_new(worker.policy, &worker.patterns, &err) != 0 ||
        ca_new(&worker, &worker.ca, &err) != 0 || tls_roots_new(fd, &worker.roots, &err) != 0)
        errx(1, "%s", err.msg);
    json_decref(json);
}

static void
print_start(void)
{
    cleanup_buf struct buf line;
    buf_init(&line, 1024 * 1024);
    size_t size;
    const char *pem = ca_certificate_pem(worker.ca, &size);
    buf_append_str(&line, "{\"ca\":");
    json_text_string(&line, pem, size);
    buf_append_str(&line, ",\"placeholders\":{");
    for (size_t i = 0; i < policy_secret_count(worker.policy); i++)
        buf_append_fmt(&line, "%s\"%s\":\"%s\"", i > 0 ? "," : "",
                       policy_secret_name(worker.policy, i),
                       policy_secret_placeholder(worker.policy, i));
    buf_append_str(&line, "},\"ports\":[");
    for (size_t i = 0; i < target_count; i++)
        buf_append_fmt(&line, "%s%u", i > 0 ? "," : "", targets[i].port);
    buf_append_str(&line, "]}\n");
    fd_write_all(1, buf_bytes(&line), buf_size(&line));
}

static void
on_standard_input_end(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    char c;
    ssize_t n = read(0, &c, 1);
    if (n == 1 && c == 'f')
        audit.full = true;
    if (n == 1 && c == 'd')
        origins_drop_idle(origins_of(&worker));
    h2_idle_drop_all(&worker);
    if (n == 1 && c == 'c')
        (void)dprintf(1, "{\"connections\":%u}\n", worker.connections);
    if (n <= 0) {
        uv_poll_stop(poll);
        uv_stop(worker.loop);
    }
}

int
main(int argc, char **argv)
{
    struct error why = {0};
    if (argc < 4)
        errx(1, "usage: harness ROOTS SECRETS NAME=PORT...");
    set_up(argv[1], argv[2]);
    for (int i = 3; i < argc; i++)
        add_target(argv[i]);
    uv_poll_t input;
    uv_poll_init(worker.loop, &input, 0);
    uv_poll_start(&input, UV_READABLE, on_standard_input_end);
    if (getenv("HARNESS_HARDEN") != NULL && harden_worker(&why) != 0)
        errx(1, "%s", why.msg);
    print_start();
    uv_run(worker.loop, UV_RUN_DEFAULT);
    tls_roots_free(worker.roots);
    ca_free(worker.ca);
    patterns_free(worker.patterns);
    policy_free(worker.policy);
    return 0;
}
