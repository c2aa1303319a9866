// SPDX-License-Identifier: Apache-2.0
// Bundles of PEM certificates (RFC 7468). One malformed block makes some TLS libraries reject a
// whole file, so blocks are decoded and written anew, and what is no certificate is left out.
#include "sandbox/sandbox-internal.h"

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/x509v3.h>
#include <string.h>

enum {
    TRUST_FILE_MAX = 8 * 1024 * 1024,
    TRUST_CERTIFICATE_MAX = 64 * 1024,
    TRUST_LINE = 64,
};

static const char begin_mark[] = "-----BEGIN CERTIFICATE-----";
static const char end_mark[] = "-----END CERTIFICATE-----";

static int
read_file(const char *path, struct buf *out, struct error *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, ERR_NOT_FOUND, "cannot read certificates from %s: %s", path,
                         strerror(errno));
    for (;;) {
        uint8_t *room = buf_reserve(out, 65536);
        if (room == NULL)
            return error_set(err, ERR_TOO_LARGE, "%s is larger than %d bytes", path,
                             TRUST_FILE_MAX);
        ssize_t n = read(fd, room, 65536);
        if (n < 0)
            return error_set_errno(err, errno, "read %s", path);
        if (n == 0)
            return buf_append(out, "", 1);
        buf_commit(out, (size_t)n);
    }
}

static bool
is_certificate(const char *digits, size_t size, bool must_be_ca)
{
    cleanup_free uint8_t *der = xmalloc(base64_decoded_max(size));
    ptrdiff_t n = base64_decode(der, digits, size);
    const uint8_t *end = der;
    X509 *x = n > 0 ? d2i_X509(NULL, &end, (long)n) : NULL;
    bool good = x != NULL && end == der + n && (!must_be_ca || X509_check_ca(x) == 1);
    X509_free(x);
    return good;
}

// The base64 digits of a block, without white space; 0 when there are too many.
static size_t
strip(char *out, const char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        if (strchr(" \t\r\n", text[i]) != NULL)
            continue;
        if (used == TRUST_CERTIFICATE_MAX)
            return 0;
        out[used++] = text[i];
    }
    return used;
}

static int
append_block(struct buf *out, const char *digits, size_t size)
{
    cleanup_buf struct buf block;
    buf_init(&block, 2 * TRUST_CERTIFICATE_MAX);
    (void)buf_append_fmt(&block, "%s\n", begin_mark);
    for (size_t i = 0; i < size; i += TRUST_LINE) {
        size_t n = size - i < TRUST_LINE ? size - i : TRUST_LINE;
        (void)buf_append(&block, digits + i, n);
        (void)buf_append(&block, "\n", 1);
    }
    (void)buf_append_fmt(&block, "%s\n", end_mark);
    if (buf_size(out) > 0 &&
        memmem(buf_bytes(out), buf_size(out), buf_bytes(&block), buf_size(&block)) != NULL)
        return 0;
    return buf_append(out, buf_bytes(&block), buf_size(&block));
}

// Appends the certificates of the text, or the CAs alone. -1 when out is full.
static int
collect_text(struct buf *out, const char *text, bool only_cas, size_t *ret_found)
{
    size_t found = 0;
    cleanup_free char *digits = xmalloc(TRUST_CERTIFICATE_MAX);
    while ((text = strstr(text, begin_mark)) != NULL) {
        text += strlen(begin_mark);
        const char *end = strstr(text, end_mark);
        if (end == NULL)
            break;
        size_t size = strip(digits, text, (size_t)(end - text));
        text = end;
        if (!is_certificate(digits, size, only_cas))
            continue;
        found++;
        if (append_block(out, digits, size) < 0)
            return -1;
    }
    *ret_found = found;
    return 0;
}

int
trust_collect(struct buf *out, const char *const *paths, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (paths[i] == NULL)
            continue;
        cleanup_buf struct buf file;
        buf_init(&file, TRUST_FILE_MAX);
        if (read_file(paths[i], &file, err) < 0)
            return -1;
        size_t found = 0;
        if (collect_text(out, (const char *)buf_bytes(&file), false, &found) < 0)
            return error_set(err, ERR_TOO_LARGE, "too many certificates in %s", paths[i]);
    }
    return 0;
}

int
trust_take_ca(struct buf *out, const void *pem, size_t size)
{
    cleanup_free char *text = strndup(pem, size);
    size_t found = 0;
    if (text == NULL || collect_text(out, text, true, &found) < 0 || found != 1) {
        buf_clear(out);
        return -1;
    }
    return 0;
}
