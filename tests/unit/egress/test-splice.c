// SPDX-License-Identifier: Apache-2.0
// One direction of a relay, and the cap on what may leave.
#include "unit.h"

#include "base/fd.h"
#include "egress/splice.h"
#include "egress/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 100000, TOTAL = 8 * 1000 * 1000 };

struct pairs {
    int sender[2]; // the test writes 0, the relay reads 1
    int receiver[2];
    struct splice s;
};

static bool
may(void *user, size_t size)
{
    size_t *left = user;
    if (left == NULL)
        return true;
    if (size > *left)
        return false;
    *left -= size;
    return true;
}

static void
open_pairs(struct pairs *p)
{
    *p = (struct pairs){0};
    assert_int_equal(fd_socketpair(SOCK_STREAM, p->sender), 0);
    assert_int_equal(fd_socketpair(SOCK_STREAM, p->receiver), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fd_set_nonblock(p->sender[i]), 0);
        assert_int_equal(fd_set_nonblock(p->receiver[i]), 0);
    }
}

static void
close_pairs(struct pairs *p)
{
    splice_done(&p->s);
    splice_done(&p->s);
    for (int i = 0; i < 2; i++) {
        (void)close(p->sender[i]);
        (void)close(p->receiver[i]);
    }
}

static enum splice_wants
go(struct pairs *p, size_t *left)
{
    return splice_move(&p->s, p->sender[1], p->receiver[0], may, left);
}

static void
test_whole_and_in_order(void **state)
{
    (void)state;
    struct pairs p;
    static uint8_t block[BLOCK];
    uint32_t wrote = 0;
    uint32_t read_so_far = 0;
    enum splice_wants wants = SPLICE_TURN;
    open_pairs(&p);
    while (wants != SPLICE_DONE) {
        size_t n = 0;
        while (wrote + n / 4 < TOTAL && n + 4 <= sizeof block) {
            uint32_t number = wrote + (uint32_t)(n / 4);
            memcpy(block + n, &number, 4);
            n += 4;
        }
        ssize_t sent = send(p.sender[0], block, n, MSG_DONTWAIT);
        // Whole numbers only, so that the next block begins with one.
        if (sent > 0) {
            assert_int_equal(sent % 4, 0);
            wrote += (uint32_t)sent / 4;
        }
        if (wrote == TOTAL)
            (void)shutdown(p.sender[0], SHUT_WR);
        wants = go(&p, NULL);
        assert_int_not_equal(wants, SPLICE_BROKEN);
        ssize_t got;
        while ((got = recv(p.receiver[1], block, 4, MSG_DONTWAIT)) == 4) {
            uint32_t number;
            memcpy(&number, block, 4);
            assert_int_equal(number, read_so_far++);
        }
    }
    assert_int_equal(recv(p.receiver[1], block, 4, MSG_DONTWAIT), 0); // its end has come
    assert_int_equal(read_so_far, TOTAL);
    assert_int_equal(p.s.bytes, (uint64_t)TOTAL * 4);
    assert_false(p.s.has_pipe);
    close_pairs(&p);
}

// What waits for a receiver that takes nothing is bounded, and an idle direction holds nothing.
static void
test_receiver_that_takes_nothing(void **state)
{
    (void)state;
    struct pairs p;
    static uint8_t block[BLOCK];
    open_pairs(&p);
    assert_int_equal(go(&p, NULL), SPLICE_READ);
    assert_false(p.s.has_pipe);
    enum splice_wants wants;
    do {
        (void)send(p.sender[0], block, sizeof block, MSG_DONTWAIT);
        wants = go(&p, NULL);
    } while (wants == SPLICE_READ || wants == SPLICE_TURN);
    assert_int_equal(wants, SPLICE_WRITE);
    assert_true(p.s.has_pipe);
    assert_in_range(p.s.held, 1, SPLICE_HELD_MAX);
    uint64_t bytes = p.s.bytes;
    (void)send(p.sender[0], block, sizeof block, MSG_DONTWAIT);
    assert_int_equal(go(&p, NULL), SPLICE_WRITE);
    assert_int_equal(p.s.bytes, bytes);
    close_pairs(&p);
}

static void
test_breaks(void **state)
{
    (void)state;
    struct pairs p;
    size_t left = 10;
    (void)signal(SIGPIPE, SIG_IGN);
    open_pairs(&p);
    assert_int_equal(send(p.sender[0], "12345678", 8, 0), 8);
    assert_int_equal(go(&p, &left), SPLICE_READ);
    assert_int_equal(send(p.sender[0], "12345678", 8, 0), 8);
    assert_int_equal(go(&p, &left), SPLICE_BROKEN);
    assert_int_equal(errno, EDQUOT);
    char got[16];
    assert_int_equal(recv(p.receiver[1], got, sizeof got, MSG_DONTWAIT), 8);
    close_pairs(&p);
    open_pairs(&p);
    (void)shutdown(p.receiver[1], SHUT_RD);
    assert_int_equal(send(p.sender[0], "12345678", 8, 0), 8);
    assert_int_equal(go(&p, NULL), SPLICE_BROKEN);
    close_pairs(&p);
}

static void
test_cap(void **state)
{
    (void)state;
    uint64_t sent = 0;
    struct worker w = {.tx_bytes = &sent};
    struct error err = {0};
    assert_int_equal(policy_from_json(NULL, NULL, &w.policy, &err), 0);
    assert_true(worker_may_send(&w, SIZE_MAX)); // no cap
    ((struct policy_settings *)(uintptr_t)policy_settings(w.policy))->max_tx_bytes = 100;
    assert_true(worker_may_send(&w, 60));
    assert_false(worker_may_send(&w, 41));
    assert_true(worker_may_send(&w, 40));
    assert_false(worker_may_send(&w, 1));
    assert_false(worker_may_send(&w, SIZE_MAX));
    assert_int_equal(sent, 100);
    policy_free(w.policy);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_and_in_order),
        cmocka_unit_test(test_receiver_that_takes_nothing),
        cmocka_unit_test(test_breaks),
        cmocka_unit_test(test_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
