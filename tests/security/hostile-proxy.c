// SPDX-License-Identifier: Apache-2.0
// A casemate-proxy that has been taken over: it says that it is ready, with a certificate that the
// test has put into ca.h, and then tells casemated what it likes. The first byte that comes to its
// listener chooses the lie, so each sandbox of a daemon can have its own.
#include "ca.h"
#include "wire/control.h"
#include "wire/events.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
tell(enum event_type type, const char *text, size_t size)
{
    static char event[EVENT_MAX];
    event[0] = (char)type;
    memcpy(event + 1, text, size);
    (void)send(CONTROL_WORKER_EVENTS, event, size + 1, MSG_NOSIGNAL);
}

static void
tell_line(const char *line)
{
    tell(EVENT_AUDIT, line, strlen(line));
}

// As many and as long lines as a datagram may hold, without an end.
static void
flood(void)
{
    static char lines[EVENT_MAX - 1];
    static const char line[] =
        "{\"ev\":\"flood\",\"x\":\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
        "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"}";
    size_t size = 0;
    for (int i = 0; i < 100; i++) {
        if (i > 0)
            lines[size++] = '\n';
        memcpy(lines + size, line, sizeof line - 1);
        size += sizeof line - 1;
    }
    for (;;)
        tell(EVENT_AUDIT, lines, size);
}

static void
lie(char which)
{
    switch (which) {
    case 'f':
        flood();
        break;
    case 's': // for another sandbox, spelled in three ways
        tell_line("{\"sandbox\":\"FORGED\",\"ev\":\"forged\",\"sandbo\\u0078\":\"FORGED\"}");
        break;
    case 'n': // a second line, and one that is cut
        tell_line("{\"ev\":\"forged\"}\n{\"ev\":\"forged\",\"x\":{}");
        break;
    case 'r':
        tell(EVENT_READY, ca_pem, strlen(ca_pem));
        break;
    case 'e':
        tell_line("{\"ev\":\"escape\",\"name\":\"\\u001b[2J\xc2\x9b"
                  "2J\",\"x\x7f\":\"\\u009b1m\"}");
        break;
    default:
        break;
    }
}

int
main(void)
{
    tell(EVENT_READY, ca_pem, strlen(ca_pem));
    for (;;) {
        char which = 0;
        int client = accept(CONTROL_WORKER_TCP, NULL, NULL);
        if (client < 0)
            continue;
        if (recv(client, &which, 1, 0) == 1)
            lie(which);
        (void)close(client);
    }
}
