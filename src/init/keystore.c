// SPDX-License-Identifier: Apache-2.0
// The file: magic, version and count, entries, and a SHA-1 over a password, a fixed word and all
// that stands before. Integers are big-endian, texts have a 16-bit length, keys and certificates a
// 32-bit one. An entry is a tag, an alias, a date, and a certificate (tag 2) or a key with its
// chain (tag 1).
//
// The file is an image's or, on a root volume, whatever a former sandbox left there: nothing in it
// is believed, and one that does not parse to its last byte is left as it is.
#include "init/keystore.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "init/sha1.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    JKS_VERSION = 2,
    HEAD_SIZE = 12,
    TAG_KEY = 1,
    TAG_CERTIFICATE = 2,
    DATE_SIZE = 8,
    ROOM = 4 * KEYSTORE_MAX,
};

static const uint8_t magic[] = {0xFE, 0xED, 0xFE, 0xED};
static const char own_alias[] = "casemate-";
static const char certificate_type[] = "X.509";
static const char begin_mark[] = "-----BEGIN CERTIFICATE-----";
static const char end_mark[] = "-----END CERTIFICATE-----";

// A cursor; what is taken past the end sets failed.
struct reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

static const uint8_t *
take(struct reader *r, size_t size)
{
    if (r->failed || size > r->left) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += size;
    r->left -= size;
    return p;
}

static uint32_t
take_number(struct reader *r, size_t size)
{
    const uint8_t *p = take(r, size);
    uint32_t number = 0;
    for (size_t i = 0; p != NULL && i < size; i++)
        number = number << 8 | p[i];
    return number;
}

static void
put_number(struct buf *out, uint64_t number, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(number >> (8 * (size - 1 - i)));
    (void)buf_append(out, bytes, size);
}

static void
put_text(struct buf *out, const char *text)
{
    put_number(out, strlen(text), 2);
    (void)buf_append_str(out, text);
}

static void
digest(const void *data, size_t size, uint8_t ret_digest[static SHA1_SIZE])
{
    static const uint8_t password[] = "\0c\0h\0a\0n\0g\0e\0i\0t"; // Debian's and Java's own, UTF-16
    static const char word[] = "Mighty Aphrodite";
    struct sha1 s;
    sha1_init(&s);
    sha1_update(&s, password, sizeof password - 1);
    sha1_update(&s, word, sizeof word - 1);
    sha1_update(&s, data, size);
    sha1_final(&s, ret_digest);
}

static void
skip_certificate(struct reader *r)
{
    (void)take(r, take_number(r, 2));
    (void)take(r, take_number(r, 4));
}

// Takes one entry; false when it is one that an earlier call added.
static bool
take_entry(struct reader *r)
{
    uint32_t tag = take_number(r, 4);
    uint32_t size = take_number(r, 2);
    const uint8_t *alias = take(r, size);
    (void)take(r, DATE_SIZE);
    if (tag == TAG_CERTIFICATE) {
        skip_certificate(r);
    } else if (tag == TAG_KEY) {
        (void)take(r, take_number(r, 4));
        for (uint32_t n = take_number(r, 4); n > 0 && !r->failed; n--)
            skip_certificate(r);
    } else {
        r->failed = true;
    }
    return alias == NULL || size < sizeof own_alias - 1 ||
           memcmp(alias, own_alias, sizeof own_alias - 1) != 0;
}

// Copies the entries that are not ours. -1 when the store is not what it should be.
static int
copy_entries(struct buf *out, const uint8_t *store, size_t size, uint32_t *ret_count)
{
    uint8_t sum[SHA1_SIZE];
    if (size < HEAD_SIZE + SHA1_SIZE || memcmp(store, magic, sizeof magic) != 0)
        return -1;
    size -= SHA1_SIZE;
    digest(store, size, sum);
    if (memcmp(sum, store + size, sizeof sum) != 0)
        return -1;
    struct reader r = {.at = store + sizeof magic, .left = size - sizeof magic};
    if (take_number(&r, 4) != JKS_VERSION)
        return -1;
    uint32_t count = 0;
    for (uint32_t n = take_number(&r, 4); n > 0 && !r.failed; n--) {
        const uint8_t *entry = r.at;
        if (!take_entry(&r) || r.failed)
            continue;
        if (buf_append(out, entry, (size_t)(r.at - entry)) < 0)
            return -1;
        count++;
    }
    *ret_count = count;
    return r.failed || r.left > 0 ? -1 : 0;
}

// The bytes of a PEM block between its marks; 0 when it is malformed.
static size_t
decode_block(uint8_t *der, char *digits, const char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        if (memchr(" \t\r\n", text[i], 4) != NULL)
            continue;
        if (used == KEYSTORE_CERTIFICATE_MAX)
            return 0;
        digits[used++] = text[i];
    }
    ptrdiff_t n = base64_decode(der, digits, used);
    return n > 0 ? (size_t)n : 0;
}

static void
add_certificate(struct buf *out, const uint8_t *der, size_t size, uint32_t *count)
{
    if (memmem(buf_bytes(out), buf_size(out), der, size) != NULL)
        return;
    char alias[sizeof own_alias + 10];
    (void)snprintf(alias, sizeof alias, "%s%u", own_alias, ++*count);
    put_number(out, TAG_CERTIFICATE, 4);
    put_text(out, alias);
    put_number(out, (uint64_t)time(NULL) * 1000, DATE_SIZE);
    put_text(out, certificate_type);
    put_number(out, size, 4);
    (void)buf_append(out, der, size);
}

static void
add_bundle(struct buf *out, const struct buf *bundle, uint32_t *count)
{
    cleanup_free char *digits = xmalloc(KEYSTORE_CERTIFICATE_MAX);
    cleanup_free uint8_t *der = xmalloc(base64_decoded_max(KEYSTORE_CERTIFICATE_MAX));
    const char *at = (const char *)buf_bytes(bundle);
    const char *end = at + buf_size(bundle);
    while ((at = memmem(at, (size_t)(end - at), begin_mark, sizeof begin_mark - 1)) != NULL) {
        at += sizeof begin_mark - 1;
        const char *stop = memmem(at, (size_t)(end - at), end_mark, sizeof end_mark - 1);
        if (stop == NULL)
            return;
        size_t size = decode_block(der, digits, at, (size_t)(stop - at));
        if (size > 0)
            add_certificate(out, der, size, count);
        at = stop;
    }
}

int
keystore_extend(struct buf *out, const void *store, size_t size, const struct buf *bundle)
{
    uint8_t sum[SHA1_SIZE];
    uint32_t count = 0;
    // Room for the largest store and bundle: no append below can fail.
    buf_init(out, ROOM);
    (void)buf_append(out, magic, sizeof magic);
    put_number(out, JKS_VERSION, 4);
    put_number(out, 0, 4); // the count, known at the end
    if (size > KEYSTORE_MAX || buf_size(bundle) > KEYSTORE_MAX ||
        copy_entries(out, store, size, &count) < 0)
        return -1;
    add_bundle(out, bundle, &count);
    if (buf_size(out) > KEYSTORE_MAX)
        return -1;
    for (unsigned i = 0; i < 4; i++)
        buf_bytes(out)[HEAD_SIZE - 4 + i] = (uint8_t)(count >> (24 - 8 * i));
    digest(buf_bytes(out), buf_size(out), sum);
    return buf_append(out, sum, sizeof sum);
}
