// SPDX-License-Identifier: Apache-2.0
// The methods on files and directories. All act as the user app.
#pragma once

#include "init/call.h"
#include "init/params.h"

// For the methods whose only parameter is a path.
extern const struct param files_path_params[];

// files.c
extern const struct param files_mkdir_params[];
extern const struct param files_rename_params[];
void files_stat(struct call *call, const json_t *params);
void files_lstat(struct call *call, const json_t *params);
void files_read_dir(struct call *call, const json_t *params);
void files_mkdir(struct call *call, const json_t *params);
void files_rename(struct call *call, const json_t *params);

// files-read.c
extern const struct param files_read_params[];
void files_read(struct call *call, const json_t *params);
void files_read_text(struct call *call, const json_t *params);

// files-write.c
extern const struct param files_write_params[];
void files_write(struct call *call, const json_t *params);
void files_write_text(struct call *call, const json_t *params);

// files-remove.c
extern const struct param files_remove_params[];
void files_remove(struct call *call, const json_t *params);

// files-copy.c
extern const struct param files_copy_params[];
void files_copy(struct call *call, const json_t *params);

// files-links.c
extern const struct param files_link_params[];
extern const struct param files_symlink_params[];
extern const struct param files_make_temp_params[];
void files_link(struct call *call, const json_t *params);
void files_symlink(struct call *call, const json_t *params);
void files_read_link(struct call *call, const json_t *params);
void files_real_path(struct call *call, const json_t *params);
void files_make_temp_dir(struct call *call, const json_t *params);
void files_make_temp_file(struct call *call, const json_t *params);

// files-attributes.c
extern const struct param files_chmod_params[];
extern const struct param files_chown_params[];
extern const struct param files_truncate_params[];
extern const struct param files_umask_params[];
extern const struct param files_utime_params[];
void files_chmod(struct call *call, const json_t *params);
void files_chown(struct call *call, const json_t *params);
void files_truncate(struct call *call, const json_t *params);
void files_umask(struct call *call, const json_t *params);
void files_utime(struct call *call, const json_t *params);
