// SPDX-License-Identifier: Apache-2.0
#include "certificate.h"

#include "unit.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

void
make_certificate(char *pem, size_t size, const char *name, const char *constraints)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    BIO *out = BIO_new(BIO_s_mem());
    X509V3_CTX ctx;
    assert_non_null(key);
    (void)X509_set_version(x, X509_VERSION_3);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
    (void)X509_gmtime_adj(X509_getm_notBefore(x), 0);
    (void)X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                     (const unsigned char *)name, -1, -1, 0);
    (void)X509_set_issuer_name(x, X509_get_subject_name(x));
    (void)X509_set_pubkey(x, key);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, constraints);
    (void)X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(out, x), 1);
    int n = BIO_read(out, pem, (int)size - 1);
    assert_true(n > 0);
    pem[n] = '\0';
    BIO_free(out);
    X509_free(x);
    EVP_PKEY_free(key);
}
