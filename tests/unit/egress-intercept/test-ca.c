// SPDX-License-Identifier: Apache-2.0
// Leaves over time: dates for clocks that are off, renewal before the end, and bounds. The wall
// clock is the test's.
#include "unit.h"

#include "egress/ca.h"
#include "net/tls.h"

#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { HOUR = 3600, DAY = 24 * HOUR };

static int64_t ahead_s; // both clocks

// Ours comes before the C library's.
int
clock_gettime(clockid_t clock, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, t);
    t->tv_sec += ahead_s;
    return rc;
}

static struct worker worker;
static struct ca *ca;
static X509 *authority;

static int
set_up(void **state)
{
    (void)state;
    struct error err = {0};
    json_t *secrets = json_loads("{\"K\":{\"hosts\":[\"api.test\",\"*.wild.test\"],"
                                 "\"value\":\"sk-0123456789abcdef0123456789abcdef\"}}",
                                 0, NULL);
    assert_int_equal(policy_from_json(NULL, secrets, &worker.policy, &err), 0);
    json_decref(secrets);
    assert_int_equal(ca_new(&worker, &ca, &err), 0);
    size_t size;
    const char *pem = ca_certificate_pem(ca, &size);
    BIO *bio = BIO_new_mem_buf(pem, (int)size);
    authority = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(authority);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    X509_free(authority);
    ca_free(ca);
    policy_free(worker.policy);
    return 0;
}

// The certificate that a client sees for the name; owned by *ret_ctx.
static X509 *
leaf_of(const char *name, SSL_CTX **ret_ctx)
{
    struct error err = {0};
    assert_int_equal(ca_server_context(ca, name, strlen(name), ret_ctx, &err), 0);
    return SSL_CTX_get0_certificate(*ret_ctx);
}

static bool
verifies(X509 *leaf, int64_t at_s, const char *name)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, authority);
    X509_STORE_CTX_init(ctx, store, leaf, NULL);
    X509_STORE_CTX_set_time(ctx, 0, at_s);
    X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(ctx), name, 0);
    bool ok = X509_verify_cert(ctx) == 1;
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return ok;
}

static void
test_clocks_that_are_off(void **state)
{
    (void)state;
    SSL_CTX *ctx;
    // At any time that a leaf is handed out, a guest an hour off either way accepts it.
    for (ahead_s = 0; ahead_s < 3 * DAY; ahead_s += HOUR / 2) {
        X509 *leaf = leaf_of("api.test", &ctx);
        int64_t now = time(NULL) + ahead_s;
        assert_true(verifies(leaf, now, "api.test"));
        assert_true(verifies(leaf, now - HOUR, "api.test"));
        assert_true(verifies(leaf, now + HOUR, "api.test"));
        assert_false(verifies(leaf, now + 2 * DAY, "api.test"));
        assert_false(verifies(leaf, now, "evil.test"));
        SSL_CTX_free(ctx);
    }
    ahead_s = 0;
}

static void
test_renewed_once(void **state)
{
    (void)state;
    SSL_CTX *first;
    SSL_CTX *second;
    SSL_CTX *third;
    X509 *leaf = leaf_of("old.wild.test", &first);
    assert_ptr_equal(leaf_of("old.wild.test", &second), leaf);
    SSL_CTX_free(second);
    ahead_s = DAY - HOUR;
    X509 *renewed = leaf_of("old.wild.test", &second);
    assert_ptr_not_equal(renewed, leaf);
    assert_int_not_equal(X509_cmp(renewed, leaf), 0);
    assert_ptr_equal(leaf_of("old.wild.test", &third), renewed);
    SSL_CTX_free(first);
    SSL_CTX_free(second);
    SSL_CTX_free(third);
    ahead_s = 0;
}

static void
test_authority_outlives_its_sandbox(void **state)
{
    (void)state;
    SSL_CTX *ctx;
    ahead_s = 300 * (int64_t)DAY;
    assert_true(verifies(leaf_of("long.wild.test", &ctx), time(NULL) + ahead_s, "long.wild.test"));
    SSL_CTX_free(ctx);
    ahead_s = 0;
}

// A flood of names: so many a second, and the memory of so many.
static void
test_flood(void **state)
{
    (void)state;
    unsigned made = 0;
    struct error err = {0};
    SSL_CTX *ctx;
    char name[32];
    ahead_s = 10;
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "f%d.wild.test", i);
        if (ca_server_context(ca, name, strlen(name), &ctx, &err) == 0) {
            SSL_CTX_free(ctx);
            made++;
        } else {
            assert_int_equal(err.code, ERR_LIMIT);
        }
    }
    assert_in_range(made, 20, 40); // the second may turn once
    // A name that has its leaf is served whatever the flood.
    ahead_s = 0;
    X509 *leaf = leaf_of("api.test", &ctx);
    SSL_CTX_free(ctx);
    for (int i = 0; i < 250; i++) {
        ahead_s = 20 + i / 10;
        (void)snprintf(name, sizeof name, "g%d.wild.test", i);
        (void)leaf_of(name, &ctx);
        SSL_CTX_free(ctx);
    }
    assert_ptr_equal(leaf_of("api.test", &ctx), leaf);
    SSL_CTX_free(ctx);
    ahead_s = 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks_that_are_off),
        cmocka_unit_test(test_renewed_once),
        cmocka_unit_test(test_authority_outlives_its_sandbox),
        cmocka_unit_test(test_flood),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
