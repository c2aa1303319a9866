// SPDX-License-Identifier: Apache-2.0
// REST calls about sandboxes (protocol 2.3): list, extend, kill.
#pragma once

#include "api/request.h"

void sandboxes_handle_list(struct request *r);
void sandboxes_handle_extend(struct request *r);
void sandboxes_handle_kill(struct request *r);
