/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The simulator's disks: images and how copies share them, and disks that fail,
 * vanish, hang and restart.
 */

#include <config.h>

#include "unit/sim-disk.h"

/* ---- images ---- */

START_TEST (images_are_copied_on_write)
{
  static uint8_t plain[3][300000], data[70000];
  struct image *images[3] = { image_new (sizeof plain[0]) };
  uint64_t offset, length;

  images[1] = image_copy (images[0]);
  images[2] = image_copy (images[0]);
  for (unsigned i = 0; i < 3000; ++i) {
    uint64_t k = choose (CHANCE_PLAN, 3), from = choose (CHANCE_PLAN, 3);

    offset = choose (CHANCE_PLAN, sizeof plain[0]);
    length = choose (CHANCE_PLAN, chance (CHANCE_PLAN, 1, 4) ? 65536 : 600);
    length = min_u64 (length, sizeof plain[0] - offset);
    if (i % 50 == 0 && k != from) {
      image_free (images[k]);
      images[k] = image_copy (images[from]);
      memcpy (plain[k], plain[from], sizeof plain[k]);
      continue;
    }
    memset (data, i % 3 ? (int)i : 0, length);
    image_write (images[k], offset, i % 6 == 0 ? NULL : data, length);
    memcpy (plain[k] + offset, data, length);

    ck_assert (
        image_equal (images[k], offset, images[from], offset, length)
        == (memcmp (plain[k] + offset, plain[from] + offset, length) == 0));
    offset = choose (CHANCE_PLAN, sizeof plain[0] - length);
    image_read (images[from], offset, data, length);
    ck_assert (memcmp (data, plain[from] + offset, length) == 0);
  }
  for (unsigned k = 0; k < 3; ++k)
    image_free (images[k]);
}
END_TEST

START_TEST (hash_is_of_what_is_read)
{
  struct image *a = image_new (48 * 1024), *b = image_new (48 * 1024);
  static const uint8_t zero[8192], some[512] = { 1 };

  ck_assert (image_hash (a) == image_hash (b));
  image_write (a, 4096, zero, sizeof zero);
  ck_assert (image_hash (a) == image_hash (b));
  image_write (a, 5120, some, sizeof some);
  ck_assert (image_hash (a) != image_hash (b));
  image_write (b, 9216, some, sizeof some);
  ck_assert (image_hash (a) != image_hash (b));
  ck_assert (image_equal (a, 5000, b, 9096, 4000));
  ck_assert (!image_equal (a, 5000, b, 9095, 4000));
  image_free (a);
  image_free (b);
}
END_TEST

/* ---- states ---- */

START_TEST (failed_and_vanished)
{
  struct disk *disk = make_disk ();
  uint64_t number;

  write_fua (disk, 0, 1, 1);
  disk_set_state (disk, DISK_FAILED);
  ck_assert_int_eq (write_now (disk, 0, 1, 2), -EIO);
  ck_assert_int_eq (read_now (disk, 0, &number), -EIO);
  disk_set_state (disk, DISK_GOOD);
  ck_assert_int_eq (read_now (disk, 0, &number), 0);
  ck_assert (number == 1);
  disk_free (disk);
}
END_TEST

START_TEST (vanished_comes_back_older)
{
  unsigned seen = 0;

  for (unsigned i = 0; i < 200; ++i) {
    struct disk *disk = make_disk ();
    struct disk_op *op;
    uint64_t number;

    write_now (disk, 0, 1, 1);
    op = take (disk, IO_WRITE, 0, 0, 1, 2);
    disk_set_state (disk, DISK_VANISHED);
    ck_assert (!disk_has_volatile (disk, 0, 512));
    ck_assert (!disk_has_write_in_flight (disk, 0, 512));
    ck_assert_int_eq (finish (op, NULL), -EIO);
    ck_assert_int_eq (flush_now (disk), -EIO);
    disk_set_state (disk, DISK_GOOD);
    ck_assert_int_eq (read_now (disk, 0, &number), 0);
    seen |= 1u << number;
    disk_free (disk);
  }
  ck_assert_uint_eq (seen, 7);
}
END_TEST

START_TEST (hangs_until_repaired)
{
  unsigned never = 0, failed = 0;

  for (unsigned i = 0; i < 100; ++i) {
    struct disk *disk = make_disk ();
    struct disk_op *op;
    uint64_t delay;
    int result;

    disk_set_state (disk, DISK_HANGS);
    op = take (disk, IO_WRITE, 0, 0, 1, 1);
    ck_assert (!disk_end (op, NULL, &result, &delay));
    ck_assert (delay >= RT_SECOND);
    never += delay == DISK_NEVER;
    ck_assert (disk_was_faulty (disk));
    ck_assert_uint_eq (look_at_loss (disk, LOSE_ANY, look_first), 3);
    disk_set_state (disk, DISK_GOOD);
    failed += finish (op, NULL) < 0;
    disk_free (disk);
  }
  ck_assert (never > 0 && never < 100);
  ck_assert (failed > 0 && failed < 100);
}
END_TEST

START_TEST (restart_ends_the_session)
{
  unsigned seen = 0;

  for (unsigned i = 0; i < 200; ++i) {
    struct disk *disk = make_disk (), *after;
    struct disk_op *op;
    uint64_t number;

    write_now (disk, 0, 1, 1);
    op = take (disk, IO_WRITE, IO_FUA, 0, 1, 2);
    disk_restart (disk);
    ck_assert (!disk_has_volatile (disk, 0, 512));
    ck_assert (!disk_has_write_in_flight (disk, 0, 512));
    ck_assert_int_eq (finish (op, NULL), -ESHUTDOWN);
    /* Nobody reads what is not there any more as if nothing had been. */
    ck_assert_int_eq (read_now (disk, 0, &number), -EIO);
    ck_assert_int_eq (flush_now (disk), -EIO);

    after = disk_after_crash (disk, LOSE_NOTHING);
    ck_assert_int_eq (read_now (after, 0, &number), 0);
    seen |= 1u << number;
    disk_free (after);
    disk_free (disk);
  }
  ck_assert_uint_eq (seen, 7);
}
END_TEST

START_TEST (faults_are_as_frequent_as_they_should)
{
  static const struct disk_faults faults = { .slow = 200000,
                                             .hang = 100000,
                                             .read_error = 100000 };
  unsigned slow = 0, late = 0, never = 0, errors = 0;
  uint64_t words[DISK_SECTOR / 8], delay;
  struct device device = { .timeout = RT_SECOND };
  struct io io = { .device = &device, .type = IO_READ, .length = 512 };
  int result;

  for (unsigned i = 0; i < 10000; ++i) {
    struct disk *disk = make_disk ();
    struct disk_op *op;

    disk_set_faults (disk, &faults);
    op = disk_take (disk, &io, false, NULL, NULL, &delay);
    ck_assert (disk_was_faulty (disk) == (delay >= RT_SECOND));
    slow += delay > 100000 && delay <= RT_SECOND / 2;
    never += delay == DISK_NEVER;
    late += delay >= RT_SECOND;
    ck_assert (disk_end (op, (uint8_t *)words, &result, &delay));
    errors += result < 0;
    disk_free (disk);
  }
  ck_assert (slow > 1700 && slow < 2300);
  ck_assert (late > 800 && late < 1200);
  ck_assert (never > 200 && never < 500);
  ck_assert (errors > 1000 && errors < 1700);
}
END_TEST

static Suite *
suite (void)
{
  Suite *s = suite_create ("sim-disk-states");
  TCase *t = tcase_create ("images");

  tcase_add_checked_fixture (t, setup, NULL);
  tcase_add_test (t, images_are_copied_on_write);
  tcase_add_test (t, hash_is_of_what_is_read);
  suite_add_tcase (s, t);

  t = tcase_create ("states");
  tcase_add_checked_fixture (t, setup, NULL);
  tcase_add_test (t, failed_and_vanished);
  tcase_add_test (t, vanished_comes_back_older);
  tcase_add_test (t, hangs_until_repaired);
  tcase_add_test (t, restart_ends_the_session);
  tcase_add_test (t, faults_are_as_frequent_as_they_should);
  suite_add_tcase (s, t);
  return s;
}

int
main (void)
{
  SRunner *runner = srunner_create (suite ());
  int failed;

  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
