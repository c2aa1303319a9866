// SPDX-License-Identifier: Apache-2.0
// Error objects, signal names, dates.
#include "unit.h"

#include "init/errors.h"
#include "init/files/dates.h"
#include "init/identity.h"
#include "init/process/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static const char *
member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "(none)";
}

static void
errno_objects(void **state)
{
    (void)state;
    json_t *e = error_object_errno(ENOENT, "readfile", "nf.txt", NULL);
    static const char *const all[] = {"constructorName", "message", "code",  "name",      "stack",
                                      "cause",           "errors",  "error", "suppressed"};
    assert_int_equal(json_object_size(e), 9);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_non_null(json_object_get(e, all[i]));
    assert_string_equal(member(e, "constructorName"), "NotFound");
    assert_string_equal(member(e, "name"), "NotFound");
    assert_string_equal(member(e, "code"), "ENOENT");
    assert_string_equal(member(e, "message"),
                        "No such file or directory (os error 2): readfile 'nf.txt'");
    json_decref(e);
    e = error_object_errno(EXDEV, "rename", "a\xff", "b");
    assert_string_equal(member(e, "constructorName"), "Error");
    assert_string_equal(member(e, "message"),
                        "Invalid cross-device link (os error 18): rename 'a\xef\xbf\xbd' -> 'b'");
    json_decref(e);
    assert_string_equal(error_constructor(ENOTSUP), "NotSupported");
    assert_string_equal(error_code_name(ENOTSUP), "ENOTSUP");
    assert_string_equal(error_constructor(EPERM), "PermissionDenied");
    assert_string_equal(error_code_name(EAGAIN), "EAGAIN");
    assert_string_equal(error_code_name(99999), "EUNKNOWN");
}

static void
aborted(void **state)
{
    (void)state;
    json_t *e = error_object_aborted();
    assert_int_equal(json_object_size(e), 9);
    assert_true(json_is_null(json_object_get(e, "code")));
    assert_string_equal(member(e, "name"), "AbortError");
    assert_string_equal(member(e, "constructorName"), "DOMException");
    json_decref(e);
}

static void
signals(void **state)
{
    (void)state;
    char name[SIGNAL_NAME_MAX];
    assert_int_equal(signal_by_name("SIGTERM"), SIGTERM);
    assert_int_equal(signal_by_name("SIGPOLL"), SIGIO);
    assert_int_equal(signal_by_name("SIGUNUSED"), SIGSYS);
    assert_int_equal(signal_by_name("SIGEMT"), -1);
    assert_int_equal(signal_by_name("TERM"), -1);
    assert_string_equal(signal_text(SIGKILL, name), "SIGKILL");
    assert_string_equal(signal_text(SIGIO, name), "SIGIO");
    assert_string_equal(signal_text(40, name), "SIGRT40");
}

static void
dates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
        long ns;
    } good[] = {
        {"2026-01-02T03:04:05.678Z", 1767323045, 678000000},
        {"1970-01-01T00:00:00Z", 0, 0},
        {"1970-01-01T01:00:00+01:00", 0, 0},
        {"1969-12-31T23:59:59.5Z", -1, 500000000},
        {"+010000-01-01T00:00:00.000Z", 253402300800, 0},
    };
    struct timespec t;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        json_t *v = json_string(good[i].text);
        assert_int_equal(date_from_json(v, &t), 0);
        assert_int_equal(t.tv_sec, good[i].seconds);
        assert_int_equal(t.tv_nsec, good[i].ns);
        json_decref(v);
    }
    static const char *const bad[] = {"", "yesterday", "2026-01-02", "2026-13-02T03:04:05Z",
                                      "2026-01-02T03:04:05Zx"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *v = json_string(bad[i]);
        assert_int_equal(date_from_json(v, &t), -1);
        json_decref(v);
    }
    json_t *number = json_real(-1.25);
    assert_int_equal(date_from_json(number, &t), 0);
    assert_int_equal(t.tv_sec, -2);
    assert_int_equal(t.tv_nsec, 750000000);
    json_decref(number);
}

static void
paths(void **state)
{
    (void)state;
    static struct app_path p;
    static char longest[2 * PATH_MAX];
    assert_int_equal(app_path_set(&p, "a/b"), 0);
    assert_string_equal(p.text, "/home/app/a/b");
    assert_int_equal(app_path_set(&p, "/x"), 0);
    assert_string_equal(p.text, "/x");
    assert_int_equal(app_path_set(&p, ""), 0);
    assert_string_equal(p.text, "");
    memset(longest, 'x', PATH_MAX);
    assert_int_equal(app_path_set(&p, longest), -ENAMETOOLONG);
    longest[PATH_MAX - 1] = '\0';
    assert_int_equal(app_path_set(&p, longest), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errno_objects), cmocka_unit_test(aborted), cmocka_unit_test(signals),
        cmocka_unit_test(dates),         cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
