// SPDX-License-Identifier: Apache-2.0
// The first byte chooses the parser. Whatever is granted has a port, and a canonical name or an
// address; and of a SOCKS message that is whole, a longer one says the same.
#include "egress/proxy-request.h"
#include "base/cleanup.h"
#include "egress/names.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_target(const struct proxy_target *t)
{
    char out[HOSTNAME_MAX + 1];
    size_t n;
    if (t->port == 0)
        abort();
    if (t->name_size > 0 &&
        (hostname_canonical(t->name, t->name_size, out, &n) != NULL || n != t->name_size ||
         memcmp(out, t->name, n) != 0 || names_holds_placeholder(t->name, t->name_size)))
        abort();
}

static void
try_http(const uint8_t *data, size_t size)
{
    struct h1_head head;
    struct h1_problem problem;
    struct proxy_target t;
    struct h1_span path;
    size_t used;
    cleanup_buf struct buf out;
    buf_init(&out, 1 << 20);
    if (h1_parse_request(data, size, &head, &used, &problem) != H1_OK)
        return;
    if (proxy_parse_url(head.target, &t, &path) != NULL)
        return;
    check_target(&t);
    // What goes on is one head again, in origin form.
    if (proxy_write_head(&head, path, &out) == 0 &&
        (h1_parse_request(buf_bytes(&out), buf_size(&out), &head, &used, &problem) != H1_OK ||
         used != buf_size(&out) || head.target.data[0] != '/'))
        abort();
}

static void
try_socks(const uint8_t *data, size_t size)
{
    struct proxy_socks_request whole;
    struct proxy_socks_request half;
    enum proxy_status status = proxy_parse_socks_request(data, size, &whole);
    if (status != PROXY_OK)
        return;
    if (whole.size > size || (whole.reply == SOCKS_GRANTED) != (whole.reason == NULL))
        abort();
    if (whole.reply == SOCKS_GRANTED)
        check_target(&whole.target);
    if (whole.reply != SOCKS_NO_SUCH_ADDRESS &&
        proxy_parse_socks_request(data, whole.size - 1, &half) != PROXY_MORE)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_target t;
    size_t used;
    bool plain;
    if (size == 0)
        return 0;
    if (data[0] == 'a') {
        if (proxy_parse_authority((const char *)data + 1, size - 1, 0, &t) == NULL)
            check_target(&t);
    } else if (data[0] == SOCKS_VERSION) {
        try_socks(data, size);
        if (proxy_parse_socks_greeting(data, size, &used, &plain) == PROXY_OK && used > size)
            abort();
    } else {
        try_http(data, size);
    }
    return 0;
}
