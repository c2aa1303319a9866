// SPDX-License-Identifier: Apache-2.0
#include "init/rpc.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "init/deno/deno.h"
#include "init/env-rpc.h"
#include "init/fetch/fetch.h"
#include "init/files/files.h"
#include "init/files/glob.h"
#include "init/files/handles.h"
#include "init/files/walk.h"
#include "init/guest.h"
#include "init/instream.h"
#include "init/json-input.h"
#include "init/process/process.h"

#include <string.h>

static const struct param no_params[] = {{0}};

static const struct param abort_params[] = {{"abortId", PARAM_INDEX}, {0}};

static void
rpc_abort(struct call *call, const json_t *params)
{
    uint64_t id = 0;
    (void)param_index(params, "abortId", &id);
    calls_abort(call->channel, id);
    fetches_abort(call_guest(call)->fetches, call->channel, id);
    call_ok_null(call);
}

// In the order of their names.
static const struct method methods[] = {
    {"abort", rpc_abort, abort_params},
    {"chmod", files_chmod, files_chmod_params},
    {"chown", files_chown, files_chown_params},
    {"copyFile", files_copy, files_copy_params},
    {"create", handles_create, files_path_params},
    {"denoHttpWait", deno_http_wait, deno_pid_params},
    {"denoReplCall", deno_repl_call, deno_repl_call_params},
    {"denoReplClose", deno_repl_close, deno_pid_params},
    {"denoReplEval", deno_repl_eval, deno_repl_eval_params},
    {"envDelete", env_rpc_delete, env_rpc_key_params},
    {"envGet", env_rpc_get, env_rpc_key_params},
    {"envSet", env_rpc_set, env_rpc_set_params},
    {"envToObject", env_rpc_to_object, no_params},
    {"expandGlob", glob_start, glob_params},
    {"exposeHttp", NULL, NULL},
    {"fetch", fetch_start, fetch_params},
    {"fileClose", handles_close, handles_only_params},
    {"fileLock", handles_lock, handles_lock_params},
    {"fileRead", handles_read, handles_read_params},
    {"fileSeek", handles_seek, handles_seek_params},
    {"fileStat", handles_stat, handles_only_params},
    {"fileSync", handles_sync, handles_only_params},
    {"fileSyncData", handles_sync_data, handles_only_params},
    {"fileTruncate", handles_truncate, handles_truncate_params},
    {"fileUnlock", handles_unlock, handles_only_params},
    {"fileUtime", handles_utime, handles_utime_params},
    {"fileWrite", handles_write, handles_write_params},
    {"link", files_link, files_link_params},
    {"lstat", files_lstat, files_path_params},
    {"makeTempDir", files_make_temp_dir, files_make_temp_params},
    {"makeTempFile", files_make_temp_file, files_make_temp_params},
    {"mkdir", files_mkdir, files_mkdir_params},
    {"open", handles_open, handles_open_params},
    {"processKill", process_kill, process_kill_params},
    {"processWait", process_wait, process_wait_params},
    {"readDir", files_read_dir, files_path_params},
    {"readFile", files_read, files_read_params},
    {"readLink", files_read_link, files_path_params},
    {"readTextFile", files_read_text, files_read_params},
    {"realPath", files_real_path, files_path_params},
    {"remove", files_remove, files_remove_params},
    {"rename", files_rename, files_rename_params},
    {"spawn", process_spawn, process_spawn_params},
    {"spawnDeno", deno_run, deno_run_params},
    {"spawnDenoRepl", deno_repl, deno_repl_params},
    {"stat", files_stat, files_path_params},
    {"symlink", files_symlink, files_symlink_params},
    {"truncate", files_truncate, files_truncate_params},
    {"umask", files_umask, files_umask_params},
    {"utime", files_utime, files_utime_params},
    {"vscode", NULL, NULL},
    {"walk", walk_start, walk_params},
    {"writeFile", files_write, files_write_params},
    {"writeTextFile", files_write_text, files_write_params},
};

const struct method *
rpc_method(const char *name)
{
    size_t low = 0;
    size_t high = ARRAY_SIZE(methods);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, methods[middle].name);
        if (order == 0)
            return &methods[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct method *
rpc_methods(size_t *ret_count)
{
    *ret_count = ARRAY_SIZE(methods);
    return methods;
}

static void
not_supported(struct call *call, const struct method *m)
{
    cleanup_free char *message = xasprintf("The method %s is not supported", m->name);
    call_fail(call, error_object("NotSupported", "ENOTSUP", message));
}

static void
run_method(struct call *call, const struct method *m, const json_t *params)
{
    if (m->handler == NULL) {
        not_supported(call, m);
        return;
    }
    json_t *issues = json_array();
    enum params_status status = params_check(m->params, params, issues);
    if (status == PARAMS_INVALID) {
        call_invalid_params(call, issues);
        return;
    }
    json_decref(issues);
    if (status == PARAMS_NUL) {
        call_fail_type(call, "A text contains a NUL character");
        return;
    }
    if (param_index(params, "abortId", &call->abort_id))
        call->abortable = m->handler != rpc_abort;
    m->handler(call, params);
}

void
rpc_message(struct channel *c, uint64_t number, bool is_call, struct buf *text)
{
    json_t *message = json_input_parse(text);
    buf_done(text); // which may be large; the document has it all
    const char *name = json_string_value(json_object_get(message, "method"));
    const json_t *params = param_value(message, "params");
    if (is_call) {
        struct call *call = call_new(c, number);
        const struct method *m = name != NULL ? rpc_method(name) : NULL;
        if (name == NULL)
            call_failure(call, -32600, "Invalid Request", NULL);
        else if (m == NULL)
            call_failure(call, -32601, "Method not found", NULL);
        else
            run_method(call, m, params);
    } else if (name != NULL) {
        instream_note(c, name, params);
    }
    json_decref(message);
}
