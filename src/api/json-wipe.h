// SPDX-License-Identifier: Apache-2.0
// jansson copies what it parses into memory of its own. In a process that parses secrets, all of
// that memory is wiped before it is given back.
#pragma once

// Call once, before the first use of jansson.
void json_wipe_install(void);
