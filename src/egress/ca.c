// SPDX-License-Identifier: Apache-2.0
// One P-256 key signs, another serves all leaves: making a leaf is one signature on a copy of a
// template, no key generation. Dates go back and leaves are made anew in time for guests whose
// clock is an hour off. Ready contexts are kept in a table of fixed size, least recently used out
// first.
//
// The authority lives as long as its sandbox, for its certificate is in trust stores in there that
// nothing can renew. A sandbox may be extended again and again, so its end is put beyond all that;
// the key is gone with the process.
#include "egress/ca.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/ident.h"
#include "base/mem.h"
#include "net/tls.h"
#include "wire/pack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    CA_LIFETIME_S = 366 * 24 * 3600,
    LEAF_LIFETIME_S = 24 * 3600,
    CLOCK_MARGIN_S =
        3600 + 600, // how far a guest's clock may be off, and some time for a handshake
    SERIAL_SIZE = 16,
    COMMON_NAME_MAX = 64, // RFC 5280, ub-common-name
    LEAVES_MAX = 256,     // stops names under a wildcard from eating memory
    MINTS_PER_S = 20,     // and from eating the processor
    SEALED_MAX = POLICY_AUTHORITY_SIZE_MAX + 8192, // key and certificate, with all its names
    ROOTS_SIZE_MAX = 16 * 1024 * 1024,
};

struct leaf {
    SSL_CTX *ctx; // NULL: free
    int64_t used; // tick of the last use
    int64_t renew_ms;
    size_t name_size;
    char name[NAME_MAX_SIZE];
};

struct ca {
    EVP_PKEY *key;
    EVP_PKEY *leaf_key;
    X509 *certificate;
    X509 *template; // of leaves: all that is the same in each
    BIO *pem;
    int64_t end_s; // wall clock
    int64_t tick;
    int64_t second; // of the rate limit
    unsigned minted;
    struct leaf leaves[LEAVES_MAX];
};

static int
fail_openssl(struct error *err, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return error_set(err, ERR_INTERNAL, "%s: %s", what, reason != NULL ? reason : "unknown reason");
}

static void
free_x509(X509 **x)
{
    X509_free(*x);
}
#define cleanup_x509 __attribute__((cleanup(free_x509)))

// --- pieces of a certificate; each returns true on success ---

static bool
set_serial(X509 *x)
{
    uint8_t bytes[SERIAL_SIZE];
    ident_random_bytes(bytes, sizeof bytes);
    bytes[0] = (bytes[0] & 0x7f) | 0x40; // positive, and of full length
    BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
    BN_free(n);
    return ok;
}

static bool
add_name(X509_NAME *name, int nid, const char *text, size_t size)
{
    return X509_NAME_add_entry_by_NID(name, nid, V_ASN1_UTF8STRING, (const unsigned char *)text,
                                      (int)size, -1, 0) == 1;
}

// value in the syntax of x509v3_config(5); never of a guest's bytes.
static bool
add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool ok = extension != NULL && X509_add_ext(x, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

static GENERAL_NAME *
new_dns_name(const char *name, size_t size)
{
    GENERAL_NAME *general = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    if (general == NULL || text == NULL || ASN1_STRING_set(text, name, (int)size) != 1) {
        GENERAL_NAME_free(general);
        ASN1_IA5STRING_free(text);
        return NULL;
    }
    GENERAL_NAME_set0_value(general, GEN_DNS, text);
    return general;
}

static bool
set_dates(X509 *x, int64_t now_s, int64_t end_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(x), now_s - CLOCK_MARGIN_S) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(x), end_s) != NULL;
}

// --- the authority ---

static bool
permit(NAME_CONSTRAINTS *constraints, const char *name, size_t size)
{
    GENERAL_SUBTREE *subtree = GENERAL_SUBTREE_new();
    GENERAL_NAME *base = new_dns_name(name, size);
    if (subtree == NULL || base == NULL || constraints->permittedSubtrees == NULL) {
        GENERAL_NAME_free(base);
        GENERAL_SUBTREE_free(subtree);
        return false;
    }
    GENERAL_NAME_free(subtree->base);
    subtree->base = base;
    if (sk_GENERAL_SUBTREE_push(constraints->permittedSubtrees, subtree) > 0)
        return true;
    GENERAL_SUBTREE_free(subtree);
    return false;
}

static bool
permit_hosts(NAME_CONSTRAINTS *constraints, const struct policy *policy)
{
    struct policy_span names[POLICY_AUTHORITY_NAMES_MAX];
    size_t count = policy_authority_names(policy, names);
    for (size_t i = 0; i < count; i++) {
        if (!permit(constraints, names[i].data, names[i].size))
            return false;
    }
    return count > 0 || permit(constraints, "invalid.", strlen("invalid."));
}

static bool
add_constraints(X509 *x, const struct policy *policy)
{
    NAME_CONSTRAINTS *constraints = NAME_CONSTRAINTS_new();
    if (constraints == NULL)
        return false;
    constraints->permittedSubtrees = sk_GENERAL_SUBTREE_new_null();
    bool ok = constraints->permittedSubtrees != NULL && permit_hosts(constraints, policy) &&
              X509_add1_ext_i2d(x, NID_name_constraints, constraints, 1, X509V3_ADD_DEFAULT) == 1;
    NAME_CONSTRAINTS_free(constraints);
    return ok;
}

static X509 *
new_authority(struct ca *ca, const struct policy *policy, int64_t now_s)
{
    static const char organisation[] = "Casemate";
    static const char common_name[] = "Casemate egress CA";
    cleanup_x509 X509 *x = X509_new();
    if (x == NULL || X509_set_version(x, X509_VERSION_3) != 1 || !set_serial(x) ||
        !set_dates(x, now_s, ca->end_s) || X509_set_pubkey(x, ca->key) != 1)
        return NULL;
    X509_NAME *name = X509_get_subject_name(x);
    if (!add_name(name, NID_organizationName, organisation, sizeof organisation - 1) ||
        !add_name(name, NID_commonName, common_name, sizeof common_name - 1) ||
        X509_set_issuer_name(x, name) != 1)
        return NULL;
    if (!add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(x, x, NID_key_usage, "critical,keyCertSign") ||
        !add_extension(x, x, NID_subject_key_identifier, "hash") || !add_constraints(x, policy) ||
        X509_sign(x, ca->key, EVP_sha256()) <= 0)
        return NULL;
    return TAKE_PTR(x);
}

// Signed by its own key, so by nobody: X509_dup copies only what is whole.
static X509 *
new_template(struct ca *ca, int64_t now_s)
{
    cleanup_x509 X509 *x = X509_new();
    if (x == NULL || X509_set_version(x, X509_VERSION_3) != 1 || !set_serial(x) ||
        !set_dates(x, now_s, now_s) || X509_set_pubkey(x, ca->leaf_key) != 1 ||
        X509_set_issuer_name(x, X509_get_subject_name(ca->certificate)) != 1 ||
        !add_extension(x, ca->certificate, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(x, ca->certificate, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(x, ca->certificate, NID_ext_key_usage, "serverAuth") ||
        !add_extension(x, ca->certificate, NID_authority_key_identifier, "keyid") ||
        X509_sign(x, ca->leaf_key, EVP_sha256()) <= 0)
        return NULL;
    return TAKE_PTR(x);
}

// With the key that is there, or a new one.
static int
finish(struct ca *ca, const struct policy *policy, struct ca **ret, struct error *err)
{
    int64_t now_s = clock_wall_ms() / 1000;
    ca->leaf_key = EVP_EC_gen("P-256");
    ca->pem = BIO_new(BIO_s_mem());
    if (ca->certificate == NULL && ca->key == NULL && ca->leaf_key != NULL) {
        ca->end_s = now_s + CA_LIFETIME_S;
        ca->key = EVP_EC_gen("P-256");
        if (ca->key != NULL)
            ca->certificate = new_authority(ca, policy, now_s);
    }
    if (ca->leaf_key != NULL && ca->certificate != NULL)
        ca->template = new_template(ca, now_s);
    if (ca->pem == NULL || ca->template == NULL ||
        PEM_write_bio_X509(ca->pem, ca->certificate) != 1) {
        ca_free(ca);
        return fail_openssl(err, "cannot make the egress CA");
    }
    *ret = ca;
    return 0;
}

int
ca_new(struct worker *w, struct ca **ret, struct error *err)
{
    if (tls_init(err) != 0)
        return -1;
    return finish(xcalloc(1, sizeof(struct ca)), w->policy, ret, err);
}

// --- the memory file: i64 end, u32 size of the key, key, certificate; both DER ---

static int
pack_der(struct buf *out, int (*encode)(const void *, unsigned char **), const void *thing)
{
    int size = encode(thing, NULL);
    uint8_t *room = size > 0 ? buf_reserve(out, (size_t)size) : NULL;
    if (room == NULL || encode(thing, &room) != size)
        return -1;
    buf_commit(out, (size_t)size);
    return size;
}

static int
encode_key(const void *key, unsigned char **out)
{
    return i2d_PrivateKey(key, out);
}

static int
encode_certificate(const void *certificate, unsigned char **out)
{
    return i2d_X509(certificate, out);
}

static int
seal(const struct ca *ca, int fd, struct error *err)
{
    cleanup_buf struct buf key;
    cleanup_buf struct buf all;
    buf_init_secret(&key, SEALED_MAX);
    buf_init_secret(&all, SEALED_MAX);
    if (pack_der(&key, encode_key, ca->key) < 0 || pack_u64(&all, (uint64_t)ca->end_s) < 0 ||
        pack_u32(&all, (uint32_t)buf_size(&key)) < 0 ||
        buf_append(&all, buf_bytes(&key), buf_size(&key)) < 0 ||
        pack_der(&all, encode_certificate, ca->certificate) < 0)
        return fail_openssl(err, "cannot encode the egress CA");
    // What a worker that died on the way has left is nothing.
    int r = ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0
                ? -errno
                : fd_write_all(fd, buf_bytes(&all), buf_size(&all));
    if (r == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        r = -errno;
    return r < 0 ? error_set_errno(err, -r, "seal the egress CA") : 0;
}

static int
decode(struct ca *ca, const uint8_t *data, size_t size)
{
    struct unpack u;
    unpack_init(&u, data, size);
    ca->end_s = (int64_t)unpack_u64(&u);
    size_t key_size = unpack_u32(&u);
    enum { HEAD = 12 };
    if (size < HEAD || key_size > size - HEAD)
        return -1;
    const uint8_t *p = data + HEAD;
    const uint8_t *certificate = p + key_size;
    ca->key = d2i_AutoPrivateKey(NULL, &p, (long)key_size);
    ca->certificate = d2i_X509(NULL, &certificate, (long)(size - HEAD - key_size));
    return ca->key != NULL && ca->certificate != NULL &&
                   X509_check_private_key(ca->certificate, ca->key) == 1
               ? 0
               : -1;
}

static int
restore(struct worker *w, int fd, struct ca **ret, struct error *err)
{
    void *data;
    size_t size;
    int r = fd_map_sealed(fd, SEALED_MAX, &data, &size);
    if (r < 0)
        return error_set_errno(err, -r, "map the egress CA");
    struct ca *ca = xcalloc(1, sizeof *ca);
    r = decode(ca, data, size);
    (void)munmap(data, size);
    if (r < 0) {
        ca_free(ca);
        return fail_openssl(err, "the sealed egress CA is malformed");
    }
    return finish(ca, w->policy, ret, err);
}

int
ca_open(struct worker *w, int fd, struct ca **ret, bool *ret_restored, struct error *err)
{
    if (tls_init(err) != 0)
        return -1;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return error_set_errno(err, errno, "memory file of the egress CA");
    *ret_restored = (seals & F_SEAL_WRITE) != 0;
    if (*ret_restored)
        return restore(w, fd, ret, err);
    struct ca *ca;
    if (ca_new(w, &ca, err) < 0)
        return -1;
    if (seal(ca, fd, err) < 0) {
        ca_free(ca);
        return -1;
    }
    *ret = ca;
    return 0;
}

void
ca_free(struct ca *ca)
{
    if (ca == NULL)
        return;
    for (size_t i = 0; i < LEAVES_MAX; i++)
        SSL_CTX_free(ca->leaves[i].ctx);
    X509_free(ca->certificate);
    X509_free(ca->template);
    EVP_PKEY_free(ca->key);
    EVP_PKEY_free(ca->leaf_key);
    BIO_free(ca->pem);
    free(ca);
}

const char *
ca_certificate_pem(const struct ca *ca, size_t *ret_size)
{
    char *text = NULL;
    long size = BIO_get_mem_data(ca->pem, &text);
    *ret_size = size > 0 ? (size_t)size : 0;
    return text;
}

// --- leaves ---

static bool
add_alternative_name(X509 *x, const char *name, size_t size, bool critical)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *general = new_dns_name(name, size);
    if (names == NULL || general == NULL || sk_GENERAL_NAME_push(names, general) <= 0) {
        GENERAL_NAME_free(general);
        GENERAL_NAMES_free(names);
        return false;
    }
    bool ok = X509_add1_ext_i2d(x, NID_subject_alt_name, names, critical, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

static X509 *
new_leaf(struct ca *ca, const char *name, size_t size, int64_t now_s, int64_t end_s)
{
    cleanup_x509 X509 *x = X509_dup(ca->template);
    if (x == NULL || !set_serial(x) || !set_dates(x, now_s, end_s))
        return NULL;
    bool has_subject = size <= COMMON_NAME_MAX;
    if (has_subject && !add_name(X509_get_subject_name(x), NID_commonName, name, size))
        return NULL;
    // RFC 5280 4.2.1.6: critical when the subject is empty.
    if (!add_alternative_name(x, name, size, !has_subject) ||
        X509_sign(x, ca->key, EVP_sha256()) <= 0)
        return NULL;
    return TAKE_PTR(x);
}

static bool
may_mint(struct ca *ca)
{
    int64_t second = clock_monotonic_ms() / 1000;
    if (second != ca->second) {
        ca->second = second;
        ca->minted = 0;
    }
    return ca->minted++ < MINTS_PER_S;
}

static int
mint(struct ca *ca, struct leaf *leaf, const char *name, size_t name_size, struct error *err)
{
    int64_t now_s = clock_wall_ms() / 1000;
    if (!may_mint(ca))
        return error_set(err, ERR_LIMIT, "too many new names at once");
    int64_t end_s = now_s + LEAF_LIFETIME_S < ca->end_s ? now_s + LEAF_LIFETIME_S : ca->end_s;
    cleanup_x509 X509 *x = new_leaf(ca, name, name_size, now_s, end_s);
    if (x == NULL)
        return fail_openssl(err, "cannot make a certificate");
    SSL_CTX *ctx = NULL;
    if (tls_server_context(x, ca->leaf_key, NULL, &ctx, err) != 0)
        return -1;
    SSL_CTX_free(leaf->ctx);
    leaf->ctx = ctx;
    leaf->renew_ms = (end_s - CLOCK_MARGIN_S) * 1000;
    leaf->name_size = name_size;
    memcpy(leaf->name, name, name_size);
    return 0;
}

// The leaf of that name, or the one to make room in.
static struct leaf *
find_leaf(struct ca *ca, const char *name, size_t size, bool *ret_found)
{
    struct leaf *oldest = &ca->leaves[0];
    for (size_t i = 0; i < LEAVES_MAX; i++) {
        struct leaf *l = &ca->leaves[i];
        if (l->ctx != NULL && l->name_size == size && memcmp(l->name, name, size) == 0) {
            *ret_found = true;
            return l;
        }
        if (l->used < oldest->used)
            oldest = l;
    }
    *ret_found = false;
    return oldest;
}

int
ca_server_context(struct ca *ca, const char *name, size_t name_size, SSL_CTX **ret,
                  struct error *err)
{
    assert(name_size > 0 && name_size <= NAME_MAX_SIZE);
    bool found;
    struct leaf *leaf = find_leaf(ca, name, name_size, &found);
    if ((!found || clock_wall_ms() >= leaf->renew_ms) && mint(ca, leaf, name, name_size, err) != 0)
        return -1;
    leaf->used = ++ca->tick;
    SSL_CTX_up_ref(leaf->ctx);
    *ret = leaf->ctx;
    return 0;
}

// --- roots ---

struct tls_roots {
    void *data;
    size_t size;
    SSL_CTX *ctx; // NULL until the first use
};

int
tls_roots_new(int roots_fd, struct tls_roots **ret, struct error *err)
{
    struct tls_roots *r = xcalloc(1, sizeof *r);
    int rc = fd_map_sealed(roots_fd, ROOTS_SIZE_MAX, &r->data, &r->size);
    if (rc < 0) {
        free(r);
        return error_set_errno(err, -rc, "cannot map the root certificates");
    }
    *ret = r;
    return 0;
}

void
tls_roots_free(struct tls_roots *r)
{
    if (r == NULL)
        return;
    SSL_CTX_free(r->ctx);
    if (r->size > 0)
        (void)munmap(r->data, r->size);
    free(r);
}

static void
add_root(X509_STORE *store, const char *block, size_t size)
{
    BIO *bio = BIO_new_mem_buf(block, (int)size);
    X509 *x = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (x != NULL)
        (void)X509_STORE_add_cert(store, x);
    X509_free(x);
    BIO_free(bio);
    ERR_clear_error();
}

static void
add_roots(X509_STORE *store, const char *text, size_t size)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    static const char end[] = "-----END CERTIFICATE-----";
    const char *at = text;
    const char *limit = text + size;
    while (at < limit && (at = memmem(at, (size_t)(limit - at), begin, sizeof begin - 1)) != NULL) {
        const char *stop = memmem(at, (size_t)(limit - at), end, sizeof end - 1);
        if (stop == NULL)
            return;
        // Of a block that was cut short, the next one's beginning counts.
        const char *again;
        while ((again = memmem(at + 1, (size_t)(stop - at - 1), begin, sizeof begin - 1)) != NULL)
            at = again;
        stop += sizeof end - 1;
        add_root(store, at, (size_t)(stop - at));
        at = stop;
    }
}

int
tls_roots_context(struct tls_roots *r, SSL_CTX **ret, struct error *err)
{
    if (r->ctx == NULL) {
        X509_STORE *store = X509_STORE_new();
        if (store == NULL)
            return fail_openssl(err, "cannot make a certificate store");
        add_roots(store, r->data, r->size);
        int rc = tls_client_context(store, &r->ctx, err);
        X509_STORE_free(store);
        if (rc != 0)
            return -1;
    }
    *ret = r->ctx;
    return 0;
}
