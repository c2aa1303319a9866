// SPDX-License-Identifier: Apache-2.0
// casemate audit: reads the audit trail of a state directory.
#pragma once

#include "base/error.h"

#include <stdbool.h>

struct audit_options {
    const char *state;   // folder that holds audit.jsonl
    const char *sandbox; // only of this one, or NULL
    const char *event;   // only of this kind, or NULL
    bool secrets;        // counts per sandbox and secret instead of events
    bool follow;         // waits for more until interrupted, also in the file that takes its place
    bool json;           // the lines of the file
};

// 0, or 1 if a line could not be read, told on standard error with its number, or -1 with err.
int audit_run(const struct audit_options *options, struct error *err);
