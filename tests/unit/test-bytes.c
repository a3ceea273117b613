/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Little-endian integers and rounding. */

#include <config.h>

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* Every alignment, the bytes written out. */
START_TEST (test_le)
{
  static const uint8_t want[] = {
    0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x81
  };

  for (unsigned at = 1; at < 17; ++at) {
    uint8_t b[32];

    memset (b, 0x55, sizeof b);
    put_le64 (b + at, 0x8123456789abcdef);
    ck_assert_mem_eq (b + at, want, 8);
    ck_assert_uint_eq (b[at - 1], 0x55);
    ck_assert_uint_eq (b[at + 8], 0x55);
    ck_assert_uint_eq (get_le64 (b + at), 0x8123456789abcdef);
    ck_assert_uint_eq (get_le32 (b + at), 0x89abcdef);
    ck_assert_uint_eq (get_le16 (b + at), 0xcdef);

    memset (b, 0x55, sizeof b);
    put_le32 (b + at, 0x89abcdef);
    ck_assert_mem_eq (b + at, want, 4);
    ck_assert_uint_eq (b[at - 1], 0x55);
    ck_assert_uint_eq (b[at + 4], 0x55);

    memset (b, 0x55, sizeof b);
    put_le16 (b + at, 0xcdef);
    ck_assert_mem_eq (b + at, want, 2);
    ck_assert_uint_eq (b[at - 1], 0x55);
    ck_assert_uint_eq (b[at + 2], 0x55);
  }
}
END_TEST

START_TEST (test_le_extremes)
{
  static const uint64_t values[] = { 0,          1,          0x7f,
                                     0x80,       0xff,       0x7fff,
                                     0x8000,     0xffff,     0x7fffffff,
                                     0x80000000, 0xffffffff, 0x100000000,
                                     INT64_MAX,  1ull << 63, UINT64_MAX };
  uint8_t b[8];

  for (size_t i = 0; i < sizeof values / sizeof values[0]; ++i) {
    put_le64 (b, values[i]);
    ck_assert_uint_eq (get_le64 (b), values[i]);
    put_le32 (b, (uint32_t)values[i]);
    ck_assert_uint_eq (get_le32 (b), (uint32_t)values[i]);
    put_le16 (b, (uint16_t)values[i]);
    ck_assert_uint_eq (get_le16 (b), (uint16_t)values[i]);
  }
}
END_TEST

START_TEST (test_power_of_2)
{
  ck_assert (!is_power_of_2 (0));
  for (unsigned bit = 0; bit < 64; ++bit) {
    uint64_t v = (uint64_t)1 << bit;

    ck_assert (is_power_of_2 (v));
    ck_assert (v <= 2 || !is_power_of_2 (v - 1));
    ck_assert (v == 1 || !is_power_of_2 (v + 1));
  }
}
END_TEST

START_TEST (test_round)
{
  const uint64_t top = (uint64_t)1 << 63;

  ck_assert_uint_eq (round_down (0, 4096), 0);
  ck_assert_uint_eq (round_down (4095, 4096), 0);
  ck_assert_uint_eq (round_down (4096, 4096), 4096);
  ck_assert_uint_eq (round_down (UINT64_MAX, 4096), UINT64_MAX - 4095);
  ck_assert_uint_eq (round_down (UINT64_MAX, top), top);
  ck_assert_uint_eq (round_down (7, 1), 7);
  ck_assert_uint_eq (round_up (0, 4096), 0);
  ck_assert_uint_eq (round_up (1, 4096), 4096);
  ck_assert_uint_eq (round_up (4096, 4096), 4096);
  ck_assert_uint_eq (round_up (4097, 4096), 8192);
  ck_assert_uint_eq (round_up (UINT64_MAX - 4095, 4096), UINT64_MAX - 4095);
  ck_assert_uint_eq (round_up (UINT64_MAX, 1), UINT64_MAX);
  ck_assert_uint_eq (round_up (top, top), top);
  ck_assert_uint_eq (div_up (0, 3), 0);
  ck_assert_uint_eq (div_up (1, 3), 1);
  ck_assert_uint_eq (div_up (3, 3), 1);
  ck_assert_uint_eq (div_up (4, 3), 2);
  ck_assert_uint_eq (div_up (UINT64_MAX, 1), UINT64_MAX);
  ck_assert_uint_eq (div_up (UINT64_MAX, 2), top);
  ck_assert_uint_eq (div_up (UINT64_MAX, UINT64_MAX), 1);
}
END_TEST

START_TEST (test_min_max)
{
  ck_assert_uint_eq (min_u64 (1, UINT64_MAX), 1);
  ck_assert_uint_eq (min_u64 (UINT64_MAX, 1), 1);
  ck_assert_uint_eq (max_u64 (1, UINT64_MAX), UINT64_MAX);
  ck_assert_uint_eq (max_u64 (UINT64_MAX, 1), UINT64_MAX);
  ck_assert_uint_eq (min_u64 (5, 5), 5);
  ck_assert_uint_eq (max_u64 (5, 5), 5);
}
END_TEST

/* One byte that is not zero is seen wherever it is, and none beside the
 * range is.
 */
START_TEST (test_zero)
{
  uint8_t b[80];

  for (size_t at = 0; at < 9; ++at)
    for (size_t n = 0; n < 68; ++n) {
      memset (b, 0xff, sizeof b);
      memset (b + at, 0, n);
      ck_assert_msg (bytes_are_zero (b + at, n), "%zu+%zu", at, n);
      for (size_t i = 0; i < n; ++i) {
        b[at + i] = (uint8_t)(1 << i % 8);
        ck_assert_msg (!bytes_are_zero (b + at, n), "%zu+%zu: %zu", at, n, i);
        b[at + i] = 0;
      }
    }
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("bytes");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_add_test (tc, test_le);
  tcase_add_test (tc, test_le_extremes);
  tcase_add_test (tc, test_power_of_2);
  tcase_add_test (tc, test_round);
  tcase_add_test (tc, test_min_max);
  tcase_add_test (tc, test_zero);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
