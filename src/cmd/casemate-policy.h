// SPDX-License-Identifier: Apache-2.0
// `casemate policy check`: what a policy would do, without a service.
#pragma once

#include "base/error.h"

// Exit status 0: the target is allowed (or the policy is fine, without one); 1: refused; 2: it
// cannot be told, and why is printed. err is not used.
int policy_command(int argc, char **argv, struct error *err);
