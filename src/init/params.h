// SPDX-License-Identifier: Apache-2.0
// What the parameters of a method must look like, as data, and the complaints in the form that
// clients know from zod, the library that the protocol's first server checks with.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum param_type {
    PARAM_NONE,
    PARAM_STRING,
    PARAM_NAME,    // a string without NUL: a path, an argument, all that reaches the kernel as text
    PARAM_NUMBER,  // finite
    PARAM_INTEGER, // up to 2^53 either way
    PARAM_INDEX,   // an integer from 0
    PARAM_OFFSET,  // an integer of 64 bits, as a number or as decimal text
    PARAM_BOOL,
    PARAM_NAMES,         // array of PARAM_NAME
    PARAM_NAME_MAP,      // object whose keys and values are PARAM_NAME
    PARAM_CHOICE,        // one of choices
    PARAM_DATE,          // ISO 8601 text, or a number of seconds
    PARAM_OBJECT,        // members
    PARAM_FLAG_OR_NAMES, // a boolean, or as PARAM_NAMES
    PARAM_LIST,          // array of anything
    PARAM_REGEXES,       // array of objects with source and flags, strings without NUL
    PARAM_TYPE_MAX
};

// A table of these ends with one whose name is NULL.
struct param {
    const char *name;
    enum param_type type;
    bool optional; // may be absent or null
    const struct param *members;
    const char *const *choices; // ended by NULL
};

enum params_status {
    PARAMS_OK,
    PARAMS_INVALID, // issues were added
    PARAMS_NUL,     // types are right, but a NUL stands where none may
};

// Checks params, an object or NULL (as good as an empty one), and adds what is wrong to issues, an
// array. Members that are not in the table are ignored.
enum params_status params_check(const struct param *table, const json_t *params, json_t *issues);

// One issue: `expected` was not found at path (an array of strings, taken).
json_t *params_issue(const char *expected, json_t *path, const json_t *found);
// The data member of a failure with these issues (taken).
json_t *params_issues_data(json_t *issues);

// Getters for checked params. Absent and null are the same.
const char *param_text(const json_t *params, const char *name);    // NULL if absent
const json_t *param_value(const json_t *params, const char *name); // NULL if absent
bool param_flag(const json_t *params, const char *name, bool fallback);
bool param_number(const json_t *params, const char *name, double *ret); // false: absent, untouched
bool param_index(const json_t *params, const char *name, uint64_t *ret);
bool param_offset(const json_t *params, const char *name, int64_t *ret);
