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
    bool follow;         // waits for more until interrupted
    bool json;           // lines as they stand in the file
};

int audit_run(const struct audit_options *options, struct error *err);
