// SPDX-License-Identifier: Apache-2.0
#include "egress/refusal.h"

#include "base/json-text.h"

#include <inttypes.h>
#include <string.h>

static const char *
status_text(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 421:
        return "Misdirected Request";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Bad Gateway";
    }
}

static int
add_member(struct buf *out, const char *name, const char *text)
{
    if (text == NULL)
        return 0;
    return buf_append_fmt(out, ",\"%s\":", name) == 0 &&
                   json_text_string(out, text, strlen(text)) == 0
               ? 0
               : -1;
}

int
refusal_write_body(const struct refusal *r, const struct destination *to, uint64_t request,
                   struct buf *out)
{
    if (buf_append_str(out, "{\"code\":") != 0 ||
        json_text_string(out, r->code, strlen(r->code)) != 0 ||
        add_member(out, "message", r->message) != 0 || add_member(out, "reason", r->reason) != 0 ||
        add_member(out, "hint", r->hint) != 0 || add_member(out, "secret", r->secret) != 0 ||
        add_member(out, "where", r->place) != 0 || add_member(out, "rule", to->rule) != 0 ||
        add_member(out, "host", to->name_size > 0 ? to->name : NULL) != 0)
        return -1;
    return buf_append_fmt(out, ",\"port\":%u,\"request\":\"%" PRIu64 "-%" PRIu64 "\"}\n",
                          (unsigned)to->port, to->conn, request);
}

int
refusal_write(const struct refusal *r, const struct destination *to, uint64_t request,
              bool head_only, struct buf *out)
{
    cleanup_buf struct buf body;
    buf_init(&body, REFUSAL_MAX);
    if (refusal_write_body(r, to, request, &body) != 0)
        return -1;
    if (buf_append_fmt(out,
                       "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                       "Cache-Control: no-store\r\nX-Casemate-Refused: %s\r\n"
                       "Connection: close\r\n\r\n",
                       r->status, status_text(r->status), buf_size(&body), r->code) != 0)
        return -1;
    return head_only ? 0 : buf_append(out, buf_bytes(&body), buf_size(&body));
}
