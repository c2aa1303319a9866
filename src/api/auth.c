// SPDX-License-Identifier: Apache-2.0
#include "api/auth.h"

#include "base/ident.h"
#include "base/mem.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { AUTH_HASH_SIZE = 32 };

struct auth {
    unsigned char hashes[AUTH_TOKENS_MAX][AUTH_HASH_SIZE];
    size_t count;
};

static const char scheme[] = "Bearer ";

struct auth *
auth_new(void)
{
    return xcalloc(1, sizeof(struct auth));
}

void
auth_free(struct auth *a)
{
    if (a != NULL)
        OPENSSL_cleanse(a, sizeof *a);
    free(a);
}

static bool
hash_token(unsigned char ret_hash[AUTH_HASH_SIZE], const char *token, size_t size)
{
    unsigned int written = 0;
    return EVP_Digest(token, size, ret_hash, &written, EVP_sha256(), NULL) == 1 &&
           written == AUTH_HASH_SIZE;
}

int
auth_add_token(struct auth *a, const char *token, size_t size, struct error *err)
{
    if (a->count == AUTH_TOKENS_MAX)
        return error_set(err, ERR_LIMIT, "at most %d tokens are kept", AUTH_TOKENS_MAX);
    if (size == 0 || size > AUTH_TOKEN_TEXT_MAX)
        return error_set(err, ERR_INVALID_REQUEST, "a token has 1 to %d characters",
                         AUTH_TOKEN_TEXT_MAX);
    if (!hash_token(a->hashes[a->count], token, size))
        return error_set(err, ERR_INTERNAL, "SHA-256 is not available");
    a->count++;
    return 0;
}

int
auth_make_dev_token(struct auth *a, char ret_token[AUTH_DEV_TOKEN_SIZE + 1], struct error *err)
{
    memcpy(ret_token, "ddo_", 4);
    ident_base62(ret_token + 4, AUTH_DEV_TOKEN_SIZE - 4);
    ret_token[AUTH_DEV_TOKEN_SIZE] = '\0';
    return auth_add_token(a, ret_token, AUTH_DEV_TOKEN_SIZE, err);
}

int
auth_check(const struct auth *a, const char *value, size_t size, struct error *err)
{
    size_t scheme_size = sizeof scheme - 1;
    if (value == NULL || size <= scheme_size || strncasecmp(value, scheme, scheme_size) != 0)
        return error_set(err, ERR_INVALID_TOKEN,
                         "send the header \"Authorization: Bearer <token>\" once");
    unsigned char hash[AUTH_HASH_SIZE];
    size_t token_size = size - scheme_size;
    if (token_size > AUTH_TOKEN_TEXT_MAX || !hash_token(hash, value + scheme_size, token_size))
        return error_set(err, ERR_INVALID_TOKEN, "the token is invalid or expired");
    unsigned matched = 0;
    for (size_t i = 0; i < a->count; i++)
        matched |= CRYPTO_memcmp(hash, a->hashes[i], AUTH_HASH_SIZE) == 0;
    if (matched == 0)
        return error_set(err, ERR_INVALID_TOKEN, "the token is invalid or expired");
    return 0;
}
