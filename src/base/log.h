// SPDX-License-Identifier: Apache-2.0
// One JSON object a line on standard error: time, level, program, message, and named fields. Values
// are escaped here; never pass a secret, and of a guest's bytes only what has been checked.
#pragma once

#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_MAX };

const char *log_level_name(enum log_level level);
bool log_level_parse(const char *name, enum log_level *ret); // false: there is none of that name

void log_init(const char *program, enum log_level lowest);
// Fields follow as pairs of strings (name, value), ended by NULL. A NULL value skips its pair.
void log_event(enum log_level level, const char *message, ...) __attribute__((sentinel));

#define log_debug(...) log_event(LOG_LEVEL_DEBUG, __VA_ARGS__, NULL)
#define log_info(...)  log_event(LOG_LEVEL_INFO, __VA_ARGS__, NULL)
#define log_warn(...)  log_event(LOG_LEVEL_WARN, __VA_ARGS__, NULL)
#define log_error(...) log_event(LOG_LEVEL_ERROR, __VA_ARGS__, NULL)
