// SPDX-License-Identifier: Apache-2.0
// The two upgrade requests: create makes a sandbox and then becomes its primary connection, connect
// joins one that runs. Until all is well they are ordinary requests and fail with ordinary answers.
#pragma once

#include "api/request.h"

void create_handle(struct request *r);
void connect_handle(struct request *r);
