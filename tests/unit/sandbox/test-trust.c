// SPDX-License-Identifier: Apache-2.0
// Bundles of certificates: what gets in, and in which form.
#include "certificate.h"
#include "unit.h"

#include "base/cleanup.h"
#include "sandbox/sandbox-internal.h"

#include <stdio.h>
#include <string.h>

static char ca[2048];    // PEM, a CA's
static char other[2048]; // another CA's
static char leaf[2048];  // no CA's

static int
make_all(void **state)
{
    (void)state;
    make_certificate(ca, sizeof ca, "one", "critical,CA:true");
    make_certificate(other, sizeof other, "two", "critical,CA:true");
    make_certificate(leaf, sizeof leaf, "leaf", "critical,CA:false");
    return 0;
}

static void
collect(struct buf *out, const char *text)
{
    char path[] = "/tmp/casemate-test-trust.XXXXXX";
    struct error err = {0};
    cleanup_fd int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    const char *paths[] = {path, NULL, path};
    assert_int_equal(trust_collect(out, paths, 3, &err), 0);
    (void)unlink(path);
}

static void
bundle_is_clean(void **state)
{
    (void)state;
    cleanup_buf struct buf out;
    cleanup_free char *text = NULL;
    cleanup_free char *wanted = NULL;
    buf_init(&out, 65536);
    // Comments, a block that is no base64, one that is no certificate,
    // the same one twice with other line ends, and one that never ends.
    char *body = strchr(other, '\n') + 1;
    assert_true(asprintf(&text,
                         "# comment\n%s-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"
                         "-----BEGIN CERTIFICATE-----\nMAEA\n-----END CERTIFICATE-----\n"
                         "-----BEGIN CERTIFICATE-----\r\n %s"
                         "Issuer: x\n%s%s-----BEGIN CERTIFICATE-----\nMAEA",
                         ca, body, ca, leaf) > 0);
    collect(&out, text);
    assert_true(asprintf(&wanted, "%s%s%s", ca, other, leaf) > 0);
    assert_int_equal(buf_size(&out), strlen(wanted));
    assert_memory_equal(buf_bytes(&out), wanted, strlen(wanted));
}

static void
one_ca_is_taken(void **state)
{
    (void)state;
    cleanup_buf struct buf out;
    cleanup_free char *two = NULL;
    cleanup_free char *mixed = NULL;
    cleanup_free char *commented = NULL;
    buf_init(&out, 65536);
    assert_true(asprintf(&two, "%s%s", ca, other) > 0);
    assert_true(asprintf(&mixed, "%s%s", leaf, leaf) > 0);
    assert_true(asprintf(&commented, "export X=1\n%s\nrest", ca) > 0);
    const char *refused[] = {"", "text", two, leaf, mixed};
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        assert_int_equal(trust_take_ca(&out, refused[i], strlen(refused[i])), -1);
        assert_int_equal(buf_size(&out), 0);
    }
    assert_int_equal(trust_take_ca(&out, commented, strlen(commented)), 0);
    assert_int_equal(buf_size(&out), strlen(ca));
    assert_memory_equal(buf_bytes(&out), ca, strlen(ca));
    buf_clear(&out);
    assert_int_equal(trust_take_ca(&out, ca, strlen(ca) / 2), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bundle_is_clean),
                                       cmocka_unit_test(one_ca_is_taken)};
    return cmocka_run_group_tests(tests, make_all, NULL);
}
