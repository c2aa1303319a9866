// SPDX-License-Identifier: Apache-2.0
// spawnDeno: `deno run` with all permissions, for the sandbox is what confines it. Code that is
// given as such goes into a file in a folder of its own, since the process' standard input is the
// client's; the folder goes when the process ends.
#include "base/cleanup.h"
#include "base/mem.h"
#include "init/deno/deno-internal.h"
#include "init/identity.h"
#include "init/process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER_TEMPLATE "/tmp/deno-XXXXXX"

static const char *const extensions[] = {"js",  "cjs", "mjs", "ts", "cts",
                                         "mts", "jsx", "tsx", NULL};

const struct param deno_run_params[] = {
    {"entrypoint", PARAM_NAME, .optional = true},
    {"code", PARAM_STRING, .optional = true},
    {"extension", PARAM_CHOICE, .optional = true, .choices = extensions},
    {"watch", PARAM_FLAG_OR_NAMES, .optional = true},
    {"scriptArgs", PARAM_NAMES, .optional = true},
    PROCESS_START_PARAMS,
    {0},
};

struct run {
    char folder[sizeof FOLDER_TEMPLATE]; // "": there is none
    char *file;                          // in it
    struct watch *watch;
};

static void
run_ended(void *user)
{
    struct run *r = user;
    if (r->watch != NULL)
        watch_end(r->watch);
    if (*r->folder != '\0') {
        AS_APP_SCOPE();
        cleanup_free char *module = xasprintf("%s/" WATCH_MODULE, r->folder);
        if (r->file != NULL)
            (void)unlink(r->file);
        (void)unlink(module);
        (void)rmdir(r->folder); // what the program has put there stays
    }
    free(r->file);
    free(r);
}

static const struct process_role run_role = {.ended = run_ended};

// 0 or -errno, as those below.
static int
make_folder(struct run *r)
{
    AS_APP_SCOPE();
    memcpy(r->folder, FOLDER_TEMPLATE, sizeof FOLDER_TEMPLATE);
    if (mkdtemp(r->folder) != NULL)
        return 0;
    int sys = errno;
    *r->folder = '\0';
    return -sys;
}

static int
write_code(struct run *r, const json_t *code, const char *extension)
{
    AS_APP_SCOPE();
    char *file = xasprintf("%s/main.%s", r->folder, extension);
    cleanup_fd int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    r->file = file;
    if (fd < 0)
        return -errno;
    const char *text = json_string_value(code);
    size_t left = json_string_length(code);
    while (left > 0) {
        ssize_t n = write(fd, text, left);
        if (n < 0)
            return -errno;
        text += n;
        left -= (size_t)n;
    }
    return 0;
}

// --watch, or --watch=PATH,PATH; the flag knows no way to write a comma. NULL: a path has one.
static char *
watch_flag(const json_t *watch)
{
    char *flag = xasprintf("--watch");
    for (size_t i = 0; i < json_array_size(watch); i++) {
        const char *path = json_string_value(json_array_get(watch, i));
        char *longer = xasprintf("%s%s%s", flag, i == 0 ? "=" : ",", path);
        free(flag);
        flag = longer;
        if (strchr(path, ',') != NULL) {
            free(flag);
            return NULL;
        }
    }
    return flag;
}

static void
add_text(json_t *args, char *text)
{
    (void)json_array_append_new(args, json_string(text));
    free(text);
}

static json_t *
make_args(const struct run *r, const json_t *params, char *flag)
{
    json_t *args = json_pack("[s, s]", "run", "-A");
    const char *entrypoint = param_text(params, "entrypoint");
    if (flag != NULL) {
        add_text(args, flag);
        add_text(args, xasprintf("--preload=%s/" WATCH_MODULE, r->folder));
    }
    if (r->file != NULL)
        (void)json_array_append_new(args, json_string(r->file));
    else // a name with a hyphen in front is no option
        add_text(args, xasprintf("%s%s", *entrypoint == '-' ? "./" : "", entrypoint));
    (void)json_array_extend(args, json_object_get(params, "scriptArgs"));
    return args;
}

static bool
is_watched(const json_t *params)
{
    const json_t *watch = param_value(params, "watch");
    return json_is_true(watch) || json_is_array(watch);
}

// What the process needs on disk and of init. -1: answered.
static int
prepare(struct call *call, const json_t *params, struct run *r, int *ret_pipe)
{
    const json_t *code = param_value(params, "code");
    const char *extension = param_text(params, "extension");
    const char *op = "mkdtemp";
    int sys = code != NULL || is_watched(params) ? make_folder(r) : 0;
    if (sys == 0 && code != NULL) {
        op = "write";
        sys = write_code(r, code, extension != NULL ? extension : "ts");
    }
    if (sys == 0 && is_watched(params)) {
        op = "watch";
        sys = watch_new(call->channel, r->folder, &r->watch, ret_pipe);
    }
    if (sys < 0)
        call_fail_errno(call, -sys, op, *r->folder != '\0' ? r->folder : FOLDER_TEMPLATE);
    return sys < 0 ? -1 : 0;
}

void
deno_run(struct call *call, const json_t *params)
{
    const json_t *code = param_value(params, "code");
    if ((code != NULL) == (param_text(params, "entrypoint") != NULL)) {
        call_fail_type(call, "spawnDeno takes either an entrypoint or code");
        return;
    }
    char *flag = is_watched(params) ? watch_flag(param_value(params, "watch")) : NULL;
    if (is_watched(params) && flag == NULL) {
        call_fail_type(call, "A path to watch holds a comma, which deno's option cannot tell");
        return;
    }
    struct run *r = xcalloc(1, sizeof *r);
    int fd = -1;
    if (prepare(call, params, r, &fd) < 0) {
        free(flag);
        run_ended(r);
        return;
    }
    json_t *args = make_args(r, params, flag);
    const struct process_request request = {
        .command = "deno",
        .args = args,
        .inherited = fd >= 0 ? fd : 0,
        .role = &run_role,
        .user = r,
        .has_watcher = true,
        .watcher = watch_number(r->watch),
    };
    process_start(call, params, &request);
    json_decref(args);
    if (fd >= 0)
        (void)close(fd);
}
