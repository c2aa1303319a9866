// SPDX-License-Identifier: Apache-2.0
// The list of what the network refused to this sandbox, for those inside:
// DENIALS_DIR/denials.jsonl, one JSON object a line:
//
//   ts, what ("connection", "name", "secret", "upstream", "limit"), host, port, reason, conn,
//   secret
//
// of which those that do not apply are missing. Root's, for everybody to read. It holds no query,
// no placeholder and no value. A full one becomes denials.jsonl.1, whose place it takes.
//
// Beside it secrets.json, once there is anything to count: {"NAME": {"swapped": 1, "seen": 0,
// "refused": 0}}, for each secret how often its placeholder was replaced, passed unchanged, and was
// refused.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define DENIALS_DIR "/run/casemate"

enum {
    DENIALS_FILE_MAX = 1024 * 1024, // the sandbox's memory that it may take, and once more
};

// Makes the folder. What cannot be made is done without.
void denials_init(void);
// Takes an audit event (egress/audit.h) of a refusal. What is none is left out.
void denials_add(const uint8_t *event, size_t size);
// Takes the counts of secrets, a whole JSON object.
void denials_set_counts(const uint8_t *text, size_t size);
