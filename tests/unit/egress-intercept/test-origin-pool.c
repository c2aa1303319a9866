// SPDX-License-Identifier: Apache-2.0
// What is remembered of hosts, for how long and how much of it. The monotonic clock is the test's.
#include "unit.h"

#include "base/fd.h"
#include "egress/origin-pool.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int64_t ahead_s;

// Ours comes before the C library's.
int
clock_gettime(clockid_t clock, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, t);
    t->tv_sec += ahead_s;
    return rc;
}

static uv_loop_t loop;
static struct worker worker = {.loop = &loop};

static struct destination
host(const char *name, uint16_t port)
{
    struct destination to = {.port = port, .name_size = strlen(name)};
    memcpy(to.name, name, to.name_size);
    return to;
}

// An idle stream; *ret_peer is its other end.
static struct stream *
open_stream(int *ret_peer)
{
    int pair[2];
    struct stream *s = NULL;
    struct error err = {0};
    assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
    (void)fd_set_nonblock(pair[0]);
    assert_int_equal(stream_from_fd(&loop, pair[0], &s, &err), 0);
    *ret_peer = pair[1];
    return s;
}

static void
turn(void)
{
    for (int i = 0; i < 3; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static void
test_choices(void **state)
{
    (void)state;
    struct origins *o = origins_of(&worker);
    struct destination a = host("a.test", 443);
    struct destination other_port = host("a.test", 8443);
    struct destination longer = host("a.test.b", 443);
    const unsigned both = ORIGIN_H1 | ORIGIN_H2;
    assert_int_equal(origins_last_choice(o, &a, both), 0);
    origins_note_choice(o, &a, both, ORIGIN_H2);
    origins_note_choice(o, &a, ORIGIN_H1, ORIGIN_H1);
    assert_int_equal(origins_last_choice(o, &a, both), ORIGIN_H2);
    assert_int_equal(origins_last_choice(o, &a, ORIGIN_H1), ORIGIN_H1);
    assert_int_equal(origins_last_choice(o, &a, ORIGIN_H2), 0);
    assert_int_equal(origins_last_choice(o, &other_port, both), 0);
    assert_int_equal(origins_last_choice(o, &longer, both), 0);
    origins_note_choice(o, &a, both, ORIGIN_H1);
    assert_int_equal(origins_last_choice(o, &a, both), ORIGIN_H1);
    ahead_s = 601;
    assert_int_equal(origins_last_choice(o, &a, both), 0);
    char name[16];
    for (int i = 0; i < 100; i++) {
        ahead_s++;
        (void)snprintf(name, sizeof name, "n%d.test", i);
        struct destination n = host(name, 443);
        origins_note_choice(o, &n, both, ORIGIN_H1);
    }
    struct destination early = host("n67.test", 443);
    struct destination late = host("n68.test", 443);
    assert_int_equal(origins_last_choice(o, &early, both), 0);
    assert_int_equal(origins_last_choice(o, &late, both), ORIGIN_H1);
    ahead_s = 0;
}

static void
test_session_keys_differ(void **state)
{
    (void)state;
    char one[TLS_SESSION_KEY_MAX + 1];
    char two[TLS_SESSION_KEY_MAX + 1];
    struct destination a = host("a.test", 443);
    struct destination b = host("a.test", 44);
    origins_session_key(&a, ORIGIN_H1, one);
    origins_session_key(&a, ORIGIN_H2, two);
    assert_string_not_equal(one, two);
    origins_session_key(&b, ORIGIN_H1, two);
    assert_string_not_equal(one, two);
}

static void
test_idle_is_keyed(void **state)
{
    (void)state;
    struct origins *o = origins_of(&worker);
    struct destination a = host("a.test", 443);
    struct destination other_port = host("a.test", 8443);
    struct destination nameless = host("", 443);
    int peer;
    struct stream *s = open_stream(&peer);
    origins_put_idle(o, &a, false, s);
    turn();
    assert_null(origins_take_idle(o, &a, true));
    assert_null(origins_take_idle(o, &other_port, false));
    assert_true(origins_has_idle(o, &a, false));
    assert_ptr_equal(origins_take_idle(o, &a, false), s);
    assert_null(origins_take_idle(o, &a, false));
    stream_close(s);
    (void)close(peer);
    origins_put_idle(o, &nameless, false, open_stream(&peer));
    assert_null(origins_take_idle(o, &nameless, false));
    (void)close(peer);
    turn();
}

// Whether the loop has seen it or not.
static void
test_what_the_host_says_unasked_ends_it(void **state)
{
    (void)state;
    struct origins *o = origins_of(&worker);
    struct destination a = host("a.test", 443);
    for (int i = 0; i < 8; i++) {
        int peer;
        bool end = (i & 1) != 0;
        struct stream *s = open_stream(&peer);
        if ((i & 2) != 0) { // before it is given back
            if (end)
                (void)shutdown(peer, SHUT_WR);
            else
                assert_int_equal(write(peer, "x", 1), 1);
            origins_put_idle(o, &a, false, s);
        } else {
            origins_put_idle(o, &a, false, s);
            turn();
            if (end)
                (void)shutdown(peer, SHUT_WR);
            else
                assert_int_equal(write(peer, "x", 1), 1);
        }
        if ((i & 4) != 0)
            turn();
        assert_null(origins_take_idle(o, &a, false));
        turn();
        (void)close(peer);
    }
}

static void
test_bounds(void **state)
{
    (void)state;
    struct origins *o = origins_of(&worker);
    int peers[60];
    char name[16];
    for (int i = 0; i < 60; i++) {
        (void)snprintf(name, sizeof name, "h%d.test", i < 20 ? 0 : i);
        struct destination to = host(name, 443);
        origins_put_idle(o, &to, false, open_stream(&peers[i]));
    }
    turn();
    unsigned open = 0;
    for (int i = 0; i < 60; i++) {
        char byte;
        open += recv(peers[i], &byte, 1, MSG_DONTWAIT) != 0;
        assert_int_equal(i >= 28, recv(peers[i], &byte, 1, MSG_DONTWAIT) != 0);
    }
    assert_int_equal(open, 32);
    origins_drop_idle(o);
    turn();
    for (int i = 0; i < 60; i++) {
        char byte;
        assert_int_equal(recv(peers[i], &byte, 1, MSG_DONTWAIT), 0);
        (void)close(peers[i]);
    }
}

static int
set_up(void **state)
{
    (void)state;
    return uv_loop_init(&loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_session_keys_differ),
        cmocka_unit_test(test_idle_is_keyed),
        cmocka_unit_test(test_what_the_host_says_unasked_ends_it),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
