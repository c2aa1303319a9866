// SPDX-License-Identifier: Apache-2.0
#include "api/handshake.h"

#include "base/base64.h"

#include <openssl/evp.h>
#include <string.h>

enum { KEY_TEXT_SIZE = 24, KEY_SIZE = 16, SHA1_SIZE = 20 };

static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

static void
compute_accept(struct h1_span key, char ret_accept[HANDSHAKE_ACCEPT_SIZE + 1])
{
    char text[KEY_TEXT_SIZE + sizeof guid];
    unsigned char hash[EVP_MAX_MD_SIZE] = {0};
    memcpy(text, key.data, KEY_TEXT_SIZE);
    memcpy(text + KEY_TEXT_SIZE, guid, sizeof guid);
    (void)EVP_Digest(text, sizeof text - 1, hash, NULL, EVP_sha1(), NULL);
    base64_encode(ret_accept, hash, SHA1_SIZE);
    ret_accept[HANDSHAKE_ACCEPT_SIZE] = '\0';
}

static const struct h1_field *
find_single(const struct h1_head *head, const char *name)
{
    size_t count = 0;
    const struct h1_field *field = h1_find(head, name, &count);
    return count == 1 ? field : NULL;
}

int
handshake_check(const struct h1_head *head, char ret_accept[HANDSHAKE_ACCEPT_SIZE + 1],
                struct error *err)
{
    const struct h1_field *key = find_single(head, "sec-websocket-key");
    const struct h1_field *version = find_single(head, "sec-websocket-version");
    uint8_t raw[KEY_SIZE + 3];
    if (!head->upgrade || !h1_list_has(head, "upgrade", "websocket") || head->minor_version == 0)
        return error_set(err, ERR_INVALID_REQUEST,
                         "this path speaks WebSocket: ask for \"Upgrade: websocket\"");
    if (version == NULL || !h1_span_is(version->value, "13"))
        return error_set(err, ERR_INVALID_REQUEST, "Sec-WebSocket-Version must be 13");
    if (key == NULL || key->value.size != KEY_TEXT_SIZE ||
        base64_decode(raw, key->value.data, KEY_TEXT_SIZE) != KEY_SIZE)
        return error_set(err, ERR_INVALID_REQUEST,
                         "Sec-WebSocket-Key must be 16 bytes in base64, once");
    if (head->framing != H1_BODY_NONE && head->content_length > 0)
        return error_set(err, ERR_INVALID_REQUEST, "an upgrade request has no body");
    compute_accept(key->value, ret_accept);
    return 0;
}
