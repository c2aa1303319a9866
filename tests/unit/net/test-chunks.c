// SPDX-License-Identifier: Apache-2.0
#include "net/chunks.h"

#include "unit.h"
#include <string.h>

// The chunks hold bytes that count up from the given one.
static void
check_counts(const struct chunks *q, uint8_t from)
{
    size_t size = 0;
    for (const struct chunk *c = q->first; c != NULL; c = c->next) {
        assert_true(c->size > 0 && c->size <= c->capacity);
        for (uint32_t i = 0; i < c->size; i++)
            assert_int_equal(c->bytes[i], (uint8_t)(from + size + i));
        size += c->size;
        assert_true(c->next != NULL || c == q->last);
    }
    assert_int_equal(size, q->size);
}

static void
append_counts(struct chunks *q, size_t size, size_t step)
{
    uint8_t piece[256];
    for (size_t at = 0; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        for (size_t i = 0; i < n; i++)
            piece[i] = (uint8_t)(at + i);
        chunks_append(q, piece, n);
    }
}

static void
test_bytes_come_out_in_their_order(void **state)
{
    (void)state;
    struct chunks q = {0};
    append_counts(&q, 1 << 20, 251);
    assert_int_equal(q.size, 1 << 20);
    check_counts(&q, 0);
    chunks_clear(&q);
    assert_null(q.first);
    assert_null(q.last);
    assert_int_equal(q.size, 0);
}

static void
test_it_costs_little_more_than_it_holds(void **state)
{
    (void)state;
    struct chunks q = {0};
    size_t held = 0;
    append_counts(&q, 16 << 20, 2);
    for (const struct chunk *c = q.first; c != NULL; c = c->next)
        held += sizeof *c + c->capacity;
    assert_true(held < (16 << 20) + 128 * 1024);
    chunks_clear(&q);
}

static void
test_a_large_piece_is_cut(void **state)
{
    (void)state;
    static uint8_t large[300 * 1024];
    struct chunks q = {0};
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (uint8_t)i;
    chunks_append(&q, large, sizeof large);
    check_counts(&q, 0);
    assert_true(q.first->capacity < 64 * 1024);
    assert_ptr_not_equal(q.first, q.last);
    chunks_clear(&q);
}

static void
test_chunks_are_moved_from_the_front(void **state)
{
    (void)state;
    struct chunks q = {0};
    struct chunks out = {0};
    append_counts(&q, 1 << 20, 256);
    size_t all = q.size;
    chunks_move(&out, &q, 2);
    assert_ptr_equal(out.first->next, out.last);
    assert_int_equal(out.size + q.size, all);
    check_counts(&out, 0);
    check_counts(&q, (uint8_t)out.size);
    chunks_clear(&out);
    chunks_move(&out, &q, UINT32_MAX);
    assert_int_equal(q.size, 0);
    assert_null(q.first);
    assert_null(q.last);
    chunks_append(&q, "again", 5);
    assert_memory_equal(q.first->bytes, "again", 5);
    chunks_clear(&q);
    chunks_clear(&out);
    chunks_move(&out, &q, 1);
    assert_null(out.first);
    assert_int_equal(out.size, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_come_out_in_their_order),
        cmocka_unit_test(test_it_costs_little_more_than_it_holds),
        cmocka_unit_test(test_a_large_piece_is_cut),
        cmocka_unit_test(test_chunks_are_moved_from_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
