// SPDX-License-Identifier: Apache-2.0
// Refusals on their way into the sandbox that they concern, where casemate-init lists them in a
// file (init/denials.h). A convenience, the audit trail being the record: what comes too fast, or
// finds the channel full, is left out, so that no guest makes the daemon hold anything for it.
#include "sandbox/sandbox-internal.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <string.h>

enum {
    DENIALS_RATE = 20,             // a second, of one sandbox
    DENIALS_QUEUE_MAX = 64 * 1024, // bytes that wait for a guest, with which it is told no more
};

void
denials_init(struct sandbox *s)
{
    ratelimit_init(&s->denials, DENIALS_RATE, DENIALS_RATE, clock_monotonic_ms());
}

// Looked for as bytes: within a string of JSON the quotes would be escaped.
static bool
is_denial(const uint8_t *event, size_t size)
{
    static const char *const kinds[] = {
        "\"ev\":\"conn_deny\"",          "\"ev\":\"dns_deny\"", "\"ev\":\"misuse\"",
        "\"ev\":\"upstream_tls_error\"", "\"ev\":\"limit\"",
    };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (memmem(event, size, kinds[i], strlen(kinds[i])) != NULL)
            return true;
    return false;
}

void
denials_tell(struct sandbox *s, const uint8_t *event, size_t size)
{
    // Not before set-up is done: then the guest takes nothing else.
    if (s->state != SANDBOX_RUNNING || s->guest == NULL || !is_denial(event, size) ||
        stream_queued(s->guest) > DENIALS_QUEUE_MAX ||
        !ratelimit_take(&s->denials, clock_monotonic_ms()))
        return;
    guest_send(s, &(struct frame){.kind = FRAME_DENIAL, .payload = event, .size = size});
}
