// SPDX-License-Identifier: Apache-2.0
// Signals by name, as the protocol spells them: "SIGTERM".
#pragma once

enum { SIGNAL_NAME_MAX = 16 };

int signal_by_name(const char *name); // -1 if Linux has no such signal
const char *signal_text(int number, char ret[SIGNAL_NAME_MAX]);
