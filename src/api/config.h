// SPDX-License-Identifier: Apache-2.0
// The configuration of a new sandbox: the JSON text that the SDKs send, base64-encoded, in the
// header x-deno-sandbox-config of a create request (protocol 1.7). Pure: bytes in, a checked
// specification out.
//
// The text holds secret values. Messages name fields, and labels, variables and rules by their
// names, but never a value; nothing of the text is logged.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "policy/operator.h"
#include "sandbox/sandbox.h"

enum {
    CONFIG_TEXT_MAX = 256 * 1024, // decoded: bounds what one request makes us parse
    CONFIG_LABELS_MAX = 5,
    CONFIG_LABEL_KEY_MAX = 64,
    CONFIG_LABEL_VALUE_MAX = 128,
    CONFIG_ENV_MAX = 256, // variables
    CONFIG_ENV_NAME_MAX = 256,
    CONFIG_ENV_VALUE_MAX = 32768, // one fits in a frame
    CONFIG_MEMORY_DEFAULT_MIB = 1280,
    CONFIG_MEMORY_MIN_MIB = 768,
    CONFIG_MEMORY_MAX_MIB = 4096,
    CONFIG_DISK_MIB = 10 * 1024,
    CONFIG_CPU_MILLIS = 2000,
    CONFIG_PIDS_MAX = 2048,
    CONFIG_LIFE_MAX_MS = 30 * 60 * 1000, // longest distance of a stop time from now
};

struct config {
    struct sandbox_spec spec; // labels and env are borrowed from document; spec.policy is handed on
    json_t *document;
};

// The header's value to UTF-8 text in out, which is a secret buf of CONFIG_DECODED_MAX. Bytes that
// are not UTF-8 are taken as ISO 8859-1, which is how browsers' btoa() encodes. ERR_INVALID_CONFIG
// or ERR_HEADER_TOO_LARGE.
enum { CONFIG_DECODED_MAX = 2 * CONFIG_TEXT_MAX + 8 };
int config_decode(const char *value, size_t size, struct buf *out, struct error *err);

// memory_min_mib lowers (or raises) CONFIG_MEMORY_MIN_MIB. A stop time later than now_ms and
// CONFIG_LIFE_MAX_MS becomes just that. On failure *ret is untouched: ERR_INVALID_CONFIG says what
// to change, ERR_UNSUPPORTED names what this build has not.
// operator, or NULL, is for the policy (policy_load): the label "policy" names one of its policies.
int config_parse(const void *text, size_t size, uint32_t memory_min_mib, int64_t now_ms,
                 struct operator* operator, struct config * ret, struct error *err);
void config_done(struct config *c); // frees what the spec still owns

// Reads {"stop_at_ms": N} of a request to extend a sandbox's life; applies the same bounds.
int config_parse_extension(const void *text, size_t size, int64_t now_ms, int64_t *ret_stop_at_ms,
                           struct error *err);
