// SPDX-License-Identifier: Apache-2.0
// A command is run without a shell, with a fixed environment, in a process group of its own, and
// ended with all of that group when it takes too long or says too much. It is one at a time for
// each secret: those who ask meanwhile wait for the same answer.
//
// Life of a command's memory: source -> slot (answer, timer) -> run (process, pipe). A slot is
// freed when its timer has closed, a run when both its handles have.
#include "api/secret-source.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/policy.h"
#include "policy/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    ANSWER_MAX = POLICY_VALUE_MAX + 2, // a line end that is taken off
    CHUNK = 4096,
};

struct waiter {
    struct waiter *next;
    void (*done)(void *user, const struct error *err);
    void *user;
};

struct run {
    struct slot *slot; // NULL: given up
    uv_process_t process;
    uv_pipe_t pipe;
    int handles; // open still
    bool exited;
    bool ended; // of its answer
    bool failed;
    struct buf answer; // secret
    char chunk[CHUNK];
};

// One secret.
struct slot {
    struct slot *next;
    struct secret_source *source;
    const char *name;
    const json_t *definition;
    int credential; // descriptor, or -1
    // Of a command:
    uv_timer_t timer; // while it runs: for its end; then: for the answer's
    struct vault vault;
    size_t size; // of the answer, 0: there is none
    struct run *run;
    struct waiter *waiters;
};

struct secret_source {
    uv_loop_t *loop;
    struct operator* operator;
    struct slot *slots;
    struct slot *missing;
};

static int
unavailable(const char *name, const char *why, struct error *err)
{
    log_warn("a secret of the operator's cannot be had", "secret", name, "why", why);
    return error_set(err, ERR_UNAVAILABLE,
                     "the operator's secret %.64s cannot be had now; the service's log says why",
                     name);
}

// Whether it can stand in a request; one line end behind it is taken off.
static const char *
trim_value(const char *data, size_t *size)
{
    if (*size > 0 && data[*size - 1] == '\n')
        *size -= *size > 1 && data[*size - 2] == '\r' ? 2 : 1;
    if (*size == 0)
        return "it is empty";
    if (*size > POLICY_VALUE_MAX)
        return "it is longer than 16384 bytes";
    if (memchr(data, '\n', *size) != NULL || memchr(data, '\r', *size) != NULL ||
        memchr(data, '\0', *size) != NULL)
        return "it holds a line break or NUL";
    return NULL;
}

static struct slot *
find(const struct secret_source *s, const char *name)
{
    struct slot *slot = s->slots;
    while (slot != NULL && strcmp(slot->name, name) != 0)
        slot = slot->next;
    return slot;
}

// --- files and credentials ---

static int
read_descriptor(const struct slot *slot, int fd, struct buf *out, struct error *err)
{
    struct stat st;
    cleanup_buf struct buf text;
    buf_init_secret(&text, ANSWER_MAX);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return unavailable(slot->name, "it is no regular file", err);
    if (st.st_size > ANSWER_MAX)
        return unavailable(slot->name, "it is longer than 16384 bytes", err);
    uint8_t *room = buf_reserve(&text, ANSWER_MAX);
    ssize_t n = room != NULL ? pread(fd, room, ANSWER_MAX, 0) : -1;
    if (n < 0)
        return unavailable(slot->name, strerror(errno), err);
    buf_commit(&text, (size_t)n);
    size_t size = (size_t)n;
    const char *why = trim_value((const char *)room, &size);
    if (why != NULL || buf_append(out, room, size) < 0)
        return unavailable(slot->name, why != NULL ? why : "out of memory", err);
    return 0;
}

static int
read_file(const struct slot *slot, const char *path, struct buf *out, struct error *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return unavailable(slot->name, strerror(errno), err);
    return read_descriptor(slot, fd, out, err);
}

static int
open_credential(struct slot *slot, const char *credential, struct error *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    char path[PATH_MAX];
    if (folder == NULL || folder[0] != '/')
        return error_set(err, ERR_INVALID_CONFIG,
                         "secret %.64s: the service manager gave no credentials: "
                         "CREDENTIALS_DIRECTORY is not set",
                         slot->name);
    if (snprintf(path, sizeof path, "%s/%s", folder, credential) >= (int)sizeof path)
        return error_set(err, ERR_INVALID_CONFIG, "secret %.64s: the path is too long", slot->name);
    slot->credential = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (slot->credential < 0)
        return error_set_errno(err, errno, "secret %.64s: open the credential %.64s", slot->name,
                               credential);
    return 0;
}

// --- commands: the answer ---

static void
forget(struct slot *slot)
{
    if (slot->vault.data != NULL)
        explicit_bzero(slot->vault.data, slot->vault.capacity);
    slot->size = 0;
}

static void
on_expired(uv_timer_t *timer)
{
    forget(timer->data);
}

static void
tell_waiters(struct slot *slot, const struct error *err)
{
    struct waiter *w = slot->waiters;
    slot->waiters = NULL;
    while (w != NULL) {
        struct waiter *next = w->next;
        w->done(w->user, err);
        free(w);
        w = next;
    }
}

static void
keep_answer(struct slot *slot, const struct buf *answer)
{
    struct error err = {0};
    size_t size = buf_size(answer);
    const char *text = (const char *)buf_bytes(answer);
    const char *why = trim_value(text, &size);
    uint64_t ttl_s = (uint64_t)json_integer_value(json_object_get(slot->definition, "ttl"));
    if (why != NULL) {
        (void)unavailable(slot->name, why, &err);
        tell_waiters(slot, &err);
        return;
    }
    memcpy(slot->vault.data, text, size);
    slot->size = size;
    (void)uv_timer_start(&slot->timer, on_expired, ttl_s * 1000, 0);
    tell_waiters(slot, NULL);
}

// --- commands: the process ---

static void
on_run_closed(uv_handle_t *handle)
{
    struct run *run = handle->data;
    if (--run->handles > 0)
        return;
    buf_done(&run->answer);
    free(run);
}

static void
end_run(struct run *run)
{
    // All of its group, also what it left behind.
    if (run->process.pid > 0)
        (void)kill(-run->process.pid, SIGKILL);
    run->slot->run = NULL;
    run->slot = NULL;
    if (!run->ended)
        uv_close((uv_handle_t *)&run->pipe, on_run_closed);
    // The process is waited for, whoever still asks; its handle closes then.
    if (run->exited)
        uv_close((uv_handle_t *)&run->process, on_run_closed);
}

static void
fail_run(struct run *run, const char *why)
{
    struct slot *slot = run->slot;
    struct error err = {0};
    end_run(run);
    (void)uv_timer_stop(&slot->timer);
    (void)unavailable(slot->name, why, &err);
    tell_waiters(slot, &err);
}

static void
finish_run(struct run *run)
{
    if (run->slot == NULL || !run->exited || !run->ended)
        return;
    if (run->failed) {
        fail_run(run, "its command failed");
        return;
    }
    struct slot *slot = run->slot;
    cleanup_buf struct buf answer = run->answer;
    buf_init_secret(&run->answer, ANSWER_MAX);
    end_run(run);
    (void)uv_timer_stop(&slot->timer);
    keep_answer(slot, &answer);
}

static void
on_process_exit(uv_process_t *process, int64_t status, int signal_number)
{
    struct run *run = process->data;
    run->exited = true;
    run->failed = run->failed || status != 0 || signal_number != 0;
    if (run->slot == NULL)
        uv_close((uv_handle_t *)process, on_run_closed);
    else
        finish_run(run);
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct run *run = handle->data;
    (void)suggested;
    *ret = uv_buf_init(run->chunk, sizeof run->chunk);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *chunk)
{
    struct run *run = stream->data;
    if (n > 0) {
        int full = buf_append(&run->answer, chunk->base, (size_t)n);
        explicit_bzero(run->chunk, sizeof run->chunk);
        if (full != 0)
            fail_run(run, "its command says more than 16384 bytes");
    } else if (n < 0) {
        run->ended = true;
        run->failed = run->failed || n != UV_EOF;
        uv_close((uv_handle_t *)stream, on_run_closed);
        finish_run(run);
    }
}

static void
on_late(uv_timer_t *timer)
{
    struct slot *slot = timer->data;
    fail_run(slot->run, "its command takes longer than 10 s");
}

static int
spawn(struct run *run, const json_t *command)
{
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    static char locale[] = "LANG=C.UTF-8";
    char *environment[] = {path, locale, NULL};
    char *argv[OPERATOR_ARGUMENTS_MAX + 1] = {NULL};
    for (size_t i = 0; i < json_array_size(command); i++)
        argv[i] = (char *)(uintptr_t)json_string_value(json_array_get(command, i));
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&run->pipe},
        {.flags = UV_IGNORE},
    };
    const uv_process_options_t options = {
        .exit_cb = on_process_exit,
        .file = argv[0],
        .args = argv,
        .env = environment,
        .cwd = "/",
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = ARRAY_SIZE(stdio),
        .stdio = stdio,
    };
    return uv_spawn(run->slot->source->loop, &run->process, &options);
}

static void
start_run(struct slot *slot)
{
    struct run *run = xcalloc(1, sizeof *run);
    run->slot = slot;
    run->handles = 2;
    run->process.data = run;
    buf_init_secret(&run->answer, ANSWER_MAX);
    (void)uv_pipe_init(slot->source->loop, &run->pipe, 0);
    run->pipe.data = run;
    slot->run = run;
    int r = spawn(run, json_object_get(slot->definition, "command"));
    if (r < 0) {
        run->exited = true; // there is none to wait for
        run->process.pid = 0;
        fail_run(run, uv_strerror(r));
        return;
    }
    (void)uv_timer_start(&slot->timer, on_late, SECRET_COMMAND_MS, 0);
    (void)uv_read_start((uv_stream_t *)&run->pipe, on_alloc, on_read);
}

static int
read_answer(struct slot *slot, struct buf *out, struct error *err)
{
    if (slot->size == 0) {
        slot->source->missing = slot;
        return error_set(err, ERR_UNAVAILABLE, "the operator's secret %.64s cannot be had now",
                         slot->name);
    }
    return buf_append(out, slot->vault.data, slot->size) == 0
               ? 0
               : unavailable(slot->name, "out of memory", err);
}

// --- the source ---

static int
read_secret(void *user, const char *name, struct buf *out, struct error *err)
{
    struct secret_source *s = user;
    struct slot *slot = find(s, name);
    if (slot == NULL)
        return unavailable(name, "it is not in the configuration", err);
    const json_t *file = json_object_get(slot->definition, "file");
    if (file != NULL)
        return read_file(slot, json_string_value(file), out, err);
    if (slot->credential >= 0)
        return read_descriptor(slot, slot->credential, out, err);
    return read_answer(slot, out, err);
}

static int
add_slot(struct secret_source *s, const char *name, const json_t *definition, struct error *err)
{
    const json_t *credential = json_object_get(definition, "credential");
    struct slot *slot = xcalloc(1, sizeof *slot);
    *slot = (struct slot){.source = s, .name = name, .definition = definition, .credential = -1};
    (void)uv_timer_init(s->loop, &slot->timer);
    uv_unref((uv_handle_t *)&slot->timer);
    slot->timer.data = slot;
    slot->next = s->slots;
    s->slots = slot;
    if (credential != NULL)
        return open_credential(slot, json_string_value(credential), err);
    if (json_object_get(definition, "command") != NULL)
        return vault_init(&slot->vault, POLICY_VALUE_MAX, err);
    return 0;
}

int
secret_source_new(uv_loop_t *loop, struct operator* o, struct secret_source **ret,
                  struct error *err)
{
    const char *name;
    json_t *definition;
    json_t *secrets = json_object_get(o->document, "secrets");
    struct secret_source *s = xcalloc(1, sizeof *s);
    s->loop = loop;
    s->operator= o;
    json_object_foreach(secrets, name, definition)
    {
        if (add_slot(s, name, definition, err) < 0) {
            secret_source_free(s);
            return -1;
        }
    }
    o->read = read_secret;
    o->user = s;
    *ret = s;
    return 0;
}

static void
on_slot_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void
free_slot(struct slot *slot)
{
    static const struct error stopped = {.code = ERR_UNAVAILABLE, .msg = "the service stops"};
    if (slot->run != NULL)
        end_run(slot->run);
    tell_waiters(slot, &stopped);
    vault_done(&slot->vault);
    if (slot->credential >= 0)
        (void)close(slot->credential);
    uv_close((uv_handle_t *)&slot->timer, on_slot_closed);
}

void
secret_source_free(struct secret_source *s)
{
    if (s == NULL)
        return;
    for (struct slot *slot = s->slots, *next; slot != NULL; slot = next) {
        next = slot->next;
        free_slot(slot);
    }
    s->operator->read = NULL;
    free(s);
}

bool
secret_source_fetch(struct secret_source *s, void (*done)(void *user, const struct error *err),
                    void *user)
{
    struct slot *slot = s != NULL ? s->missing : NULL;
    if (slot == NULL)
        return false;
    s->missing = NULL;
    struct waiter *w = xcalloc(1, sizeof *w);
    *w = (struct waiter){.next = slot->waiters, .done = done, .user = user};
    slot->waiters = w;
    if (slot->run == NULL)
        start_run(slot);
    return true;
}
