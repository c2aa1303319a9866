// SPDX-License-Identifier: Apache-2.0
// An incremental, allocation-free scanner of JSON text (RFC 8259). It checks that the bytes fed to
// it are valid UTF-8 and exactly one JSON value of bounded depth, and captures a few named members
// of the outermost object, or of an object directly in it, on the way. It builds no document.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JSON_SCAN_DEPTH_MAX = 128,  // stops stack and time abuse by nesting
    JSON_SCAN_CAPTURES_MAX = 4, // members that one scan may watch for
    JSON_SCAN_KEY_MAX = 64,     // longer keys match nothing
    JSON_SCAN_VALUE_MAX = 256,  // longer scalars are captured as too long
};

enum json_kind {
    JSON_KIND_ABSENT,
    JSON_KIND_STRING, // text: the characters between the quotes, escapes as they stand
    JSON_KIND_NUMBER, // text: as it stands
    JSON_KIND_TRUE,
    JSON_KIND_FALSE,
    JSON_KIND_NULL,
    JSON_KIND_OBJECT, // no text
    JSON_KIND_ARRAY,
};

struct json_capture {
    const char *parent; // NULL: a member of the outermost object; else of the object so named in it
    const char *name;
    enum json_kind kind; // of the last such member; ABSENT if there was none
    bool too_long;       // a string or number over JSON_SCAN_VALUE_MAX; text holds its beginning
    bool repeated;       // the member stood more than once
    size_t size;
    char text[JSON_SCAN_VALUE_MAX];
};

struct json_scan {
    struct json_capture captures[JSON_SCAN_CAPTURES_MAX];
    size_t capture_count;
    // Private.
    uint8_t state;
    uint8_t literal_at;
    uint8_t utf8_left;
    uint8_t utf8_low, utf8_high;
    uint8_t hex_left;
    bool in_key;
    const char *literal;
    unsigned depth;
    uint64_t in_array[JSON_SCAN_DEPTH_MAX / 64];
    enum json_kind root_kind;
    struct json_capture *capture; // being filled
    size_t key_size;
    bool parent_matches[JSON_SCAN_CAPTURES_MAX];
    char key[JSON_SCAN_KEY_MAX];
};

void json_scan_init(struct json_scan *s);
// Watches for a member; call before feeding. The strings must outlive the scan.
void json_scan_watch(struct json_scan *s, const char *parent, const char *name);

// Feeds the next bytes. false: not JSON, and never will be.
bool json_scan_feed(struct json_scan *s, const void *data, size_t size);
// True if what was fed is one whole value with nothing but white space around it.
bool json_scan_complete(const struct json_scan *s);
// Kind of the outermost value, as soon as it has begun.
enum json_kind json_scan_root(const struct json_scan *s);
// The captured member, in the order of json_scan_watch.
const struct json_capture *json_scan_captured(const struct json_scan *s, size_t index);
