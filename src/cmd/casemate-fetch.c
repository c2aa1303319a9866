// SPDX-License-Identifier: Apache-2.0
// casemate-fetch: started by casemate-init inside the sandbox, as the user app, once for each call
// of fetch (wire/fetch.h). What it may reach is what any process there may.
#include "fetch/output.h"
#include "fetch/request.h"
#include "fetch/transfer.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

int
main(void)
{
    struct fetch_request request;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)prctl(PR_SET_NAME, "casemate-fetch");
    output_frame(FETCH_HELLO, NULL, 0);
    if (request_read(&request, STDIN_FILENO) < 0)
        return 2;
    return transfer_run(&request);
}
