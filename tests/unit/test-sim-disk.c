/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The simulator's disks: that they keep what a drive promises, in thousands
 * of crashes; and that they are as cruel as they say: each thing that may be
 * lost is lost in some of them.
 */

#include <config.h>

#include "unit/sim-disk.h"

/* ---- promises ---- */

START_TEST (flushed_is_kept)
{
  struct disk *disk = make_disk ();

  write_now (disk, 0, 1, 1);
  ck_assert (disk_has_volatile (disk, 0, 512));
  ck_assert_int_eq (flush_now (disk), 0);
  ck_assert (!disk_has_volatile (disk, 0, 512));
  write_now (disk, 8, 1, 2);
  ck_assert_uint_eq (look_at_all (disk, look_first), 2);
  disk_free (disk);
}
END_TEST

START_TEST (fua_is_kept_alone)
{
  for (unsigned i = 0; i < 50; ++i) {
    struct disk *disk = make_disk ();

    write_now (disk, 0, 1, 1);
    write_now (disk, 8, 1, 1);
    ck_assert_int_eq (write_fua (disk, 0, 1, 2), 0);
    ck_assert_uint_eq (look_at_all (disk, look_first), 4);
    /* Sector 8 may have been written back by chance. */
    if (disk_has_volatile (disk, 8 * 512, 512))
      ck_assert_uint_eq (look_at_all (disk, look_two), 2 | 8);
    disk_free (disk);
  }
}
END_TEST

START_TEST (write_through_is_kept)
{
  static const struct disk_limits limits = { .logical_block = 512,
                                             .no_cache = true };
  struct disk *disk = disk_new (1, image_new (SECTORS * 512), &limits);

  write_now (disk, 0, 1, 1);
  ck_assert_uint_eq (look_at_all (disk, look_first), 2);
  take (disk, IO_WRITE, 0, 0, 1, 2);
  ck_assert_uint_eq (look_at_all (disk, look_first), 2 | 4);
  disk_free (disk);
}
END_TEST

/* What each sector may be, by a model much simpler than the disk. */
struct sector_model {
  uint64_t may; /* bit n: write n */
  uint64_t current;
};

#define FLYING 3

struct flying {
  struct disk_op *op;
  enum io_type type;
  unsigned flags;
  uint64_t sector, n, number;
  struct sector_model before[SECTORS]; /* as it was submitted; may is 0 for
                                        * sectors that have changed since */
};

static void
model_start (struct flying *f, struct disk *disk, struct sector_model *model,
             uint64_t number)
{
  static const enum io_type types[] = { IO_WRITE, IO_WRITE, IO_WRITE, IO_ZERO,
                                        IO_FLUSH };

  f->type = types[choose (CHANCE_PLAN, 5)];
  f->flags = chance (CHANCE_PLAN, 1, 4) ? IO_FUA : 0;
  f->n = f->type == IO_FLUSH ? 0 : 1 + choose (CHANCE_PLAN, 9);
  f->sector = f->type == IO_FLUSH ? 0 : choose (CHANCE_PLAN, SECTORS - f->n);
  f->number = f->type == IO_ZERO ? 0 : number;
  f->op = take (disk, f->type, f->flags, f->sector, f->n, number);
  memcpy (f->before, model, sizeof f->before);
}

/* A flush that has ended pins down the sectors to which no write has ended
 * since it was submitted; of others this model does not know.
 */
static void
model_end (struct flying *f, struct sector_model *model, struct flying *all)
{
  for (uint64_t i = f->sector; i < f->sector + f->n; ++i) {
    if (f->flags & IO_FUA)
      model[i].may = 0;
    model[i].may |= UINT64_C (1) << f->number;
    model[i].current = f->number;
    for (unsigned k = 0; k < FLYING; ++k)
      all[k].before[i].may = 0;
  }
  if (f->type == IO_FLUSH)
    for (unsigned i = 0; i < SECTORS; ++i)
      if (f->before[i].may != 0)
        model[i].may = UINT64_C (1) << model[i].current;
}

static void
check_images (const struct disk *disk, const struct sector_model *model,
              const struct flying *flying)
{
  for (unsigned i = 0; i < 8; ++i) {
    struct disk *after = disk_after_crash (
        disk, (enum disk_loss)choose (CHANCE_CRASH, DISK_LOSSES));

    for (unsigned s = 0; s < SECTORS; ++s) {
      uint64_t may = model[s].may;

      for (unsigned k = 0; k < FLYING; ++k)
        if (flying[k].op && s >= flying[k].sector
            && s < flying[k].sector + flying[k].n)
          may |= UINT64_C (1) << flying[k].number;
      if (!(may >> sector_of (disk_durable (after), s) & 1)
          || sector_of (disk_current (disk), s) != model[s].current)
        ck_abort_msg ("sector %u cannot be what it is", s);
    }
    disk_free (after);
  }
}

START_TEST (promises_are_kept)
{
  for (unsigned run = 0; run < 300; ++run) {
    struct sector_model model[SECTORS];
    struct flying flying[FLYING] = { { .op = NULL } };
    struct disk *disk = make_disk ();
    uint64_t number = 1;

    for (unsigned i = 0; i < SECTORS; ++i)
      model[i] = (struct sector_model){ .may = 1 };
    while (number < 40) {
      struct flying *f = &flying[choose (CHANCE_PLAN, FLYING)];

      if (!f->op)
        model_start (f, disk, model, number++);
      else {
        ck_assert_int_eq (finish (f->op, NULL), 0);
        f->op = NULL;
        model_end (f, model, flying);
      }
      check_images (disk, model, flying);
    }
    ck_assert (!disk_was_faulty (disk));
    disk_free (disk);
  }
}
END_TEST

/* ---- cruelty ---- */

START_TEST (unflushed_is_lost)
{
  struct disk *disk = make_disk ();

  write_now (disk, 0, 1, 1);
  write_now (disk, 0, 1, 2);
  /* Either value, or neither. */
  ck_assert_uint_eq (look_at_all (disk, look_first), 7);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_NOTHING, look_first), 4);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_EVERYTHING, look_first), 1);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_PREFIX, look_first), 7);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_ANY, look_first), 7);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_SECTORS, look_first), 7);
  disk_free (disk);
}
END_TEST

START_TEST (order_is_lost)
{
  struct disk *disk = make_disk ();

  write_now (disk, 0, 1, 1);
  write_now (disk, 8, 1, 2);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_PREFIX, look_two), 1 | 2 | 8);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_ANY, look_two), 15);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_SECTORS, look_two), 15);
  disk_free (disk);
}
END_TEST

START_TEST (writes_are_torn)
{
  struct disk *disk = make_disk ();

  write_now (disk, 0, 8, 1);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_ANY, look_eight), 1 | 2);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_SECTORS, look_eight), 31);
  disk_free (disk);

  /* In flight even if nothing that has ended is lost; with FUA as well. */
  disk = make_disk ();
  take (disk, IO_WRITE, IO_FUA, 0, 8, 1);
  ck_assert (disk_has_write_in_flight (disk, 7 * 512, 512));
  ck_assert (!disk_has_write_in_flight (disk, 8 * 512, 512));
  ck_assert_uint_eq (look_at_loss (disk, LOSE_NOTHING, look_eight), 31);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_EVERYTHING, look_eight), 1);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_ANY, look_eight), 1 | 2);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_SECTORS, look_eight), 31);
  disk_free (disk);
}
END_TEST

START_TEST (in_flight_comes_before_or_after)
{
  struct disk *disk = make_disk ();

  take (disk, IO_WRITE, 0, 0, 1, 1);
  write_now (disk, 0, 1, 2);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_NOTHING, look_first), 2 | 4);
  ck_assert_uint_eq (look_at_loss (disk, LOSE_ANY, look_first), 7);
  /* Even after what is durable since. */
  flush_now (disk);
  ck_assert_uint_eq (look_at_all (disk, look_first), 2 | 4);
  disk_free (disk);
}
END_TEST

START_TEST (flush_covers_what_had_ended)
{
  unsigned kept = 0, lost = 0;

  for (unsigned i = 0; i < 200; ++i) {
    struct disk *disk = make_disk ();
    struct disk_op *write = take (disk, IO_WRITE, 0, 0, 1, 1), *flush;

    write_now (disk, 8, 1, 1);
    flush = take (disk, IO_FLUSH, 0, 0, 0, 0);
    finish (write, NULL);
    if (!disk_has_volatile (disk, 0, 512)) {
      disk_free (disk); /* written back by chance, before the flush */
      continue;
    }
    ck_assert_int_eq (finish (flush, NULL), 0);
    ck_assert (sector_of (disk_durable (disk), 8) == 1);
    if (disk_has_volatile (disk, 0, 512)) {
      lost++;
      ck_assert_uint_eq (look_at_loss (disk, LOSE_ANY, look_first), 3);
    }
    else
      kept++;
    disk_free (disk);
  }
  ck_assert_uint_gt (kept, 0);
  ck_assert_uint_gt (lost, 0);
}
END_TEST

START_TEST (cache_is_written_back_by_chance)
{
  unsigned seen = 0;

  for (unsigned i = 0; i < 2000; ++i) {
    struct disk *disk = make_disk ();

    write_now (disk, 0, 8, 1);
    write_now (disk, 0, 8, 2);
    seen |= look_eight (disk_durable (disk));
    seen |= look_first (disk_durable (disk)) << 8;
    ck_assert (sector_of (disk_current (disk), 3) == 2);
    disk_free (disk);
  }
  ck_assert_uint_eq (seen, 31 | 7 << 8);
}
END_TEST

START_TEST (failed_flush_drops)
{
  static const struct disk_faults faults = { .flush_error = 1000000 };
  static const struct disk_faults none;
  unsigned seen = 0;

  for (unsigned i = 0; i < 500; ++i) {
    struct disk *disk = make_disk ();
    uint64_t number;

    disk_set_faults (disk, &faults);
    write_now (disk, 0, 1, 1);
    write_now (disk, 0, 8, 2);
    ck_assert (!disk_was_faulty (disk));
    if (sector_of (disk_durable (disk), 0) != 0) {
      disk_free (disk); /* written back by chance, before the flush */
      continue;
    }
    ck_assert_int_eq (flush_now (disk), -EIO);
    ck_assert (disk_was_faulty (disk));
    /* And the next one knows nothing of it. */
    disk_set_faults (disk, &none);
    ck_assert_int_eq (flush_now (disk), 0);
    ck_assert (!disk_has_volatile (disk, 0, SECTORS * 512));
    ck_assert_int_eq (read_now (disk, 0, &number), 0);
    ck_assert (number == sector_of (disk_durable (disk), 0));
    seen |= 1u << number | look_eight (disk_current (disk)) << 8;
    disk_free (disk);
  }
  ck_assert_uint_eq (seen, 7 | 31 << 8);
}
END_TEST

START_TEST (failed_write_leaves_anything)
{
  static const struct disk_faults faults = { .write_error = 1000000 };
  unsigned seen = 0;

  for (unsigned i = 0; i < 500; ++i) {
    struct disk *disk = make_disk ();

    disk_set_faults (disk, &faults);
    ck_assert_int_eq (write_fua (disk, 0, 8, 1), -EIO);
    seen |= look_eight (disk_current (disk));
    if (sector_of (disk_current (disk), 0) != 0)
      ck_assert_uint_eq (look_at_loss (disk, LOSE_ANY, look_first), 3);
    disk_free (disk);
  }
  ck_assert_uint_eq (seen, 31);
}
END_TEST

START_TEST (reads_beside_writes_see_either)
{
  unsigned seen = 0;

  for (unsigned i = 0; i < 500; ++i) {
    struct disk *disk = make_disk ();
    struct image *image = image_new (SECTORS * 512);
    struct disk_op *read = take (disk, IO_READ, 0, 0, SECTORS, 0);
    uint8_t data[SECTORS * 512];

    take (disk, IO_WRITE, 0, 0, 8, 1);
    ck_assert_int_eq (finish (read, data), 0);
    image_write (image, 0, data, sizeof data);
    seen |= look_eight (image);
    ck_assert (sector_of (image, 8) == 0);
    image_free (image);
    disk_free (disk);
  }
  ck_assert_uint_eq (seen, 31);
}
END_TEST

START_TEST (spoiled_until_written)
{
  struct disk *disk = make_disk (), *after;
  uint64_t number;

  write_fua (disk, 0, 8, 1);
  disk_spoil (disk, 3 * 512, 512);
  ck_assert_int_eq (read_now (disk, 3, &number), -EIO);
  ck_assert_int_eq (read_now (disk, 4, &number), 0);
  ck_assert (disk_is_spoiled (disk, 0, 4096));
  write_now (disk, 3, 1, 2);
  ck_assert_int_eq (read_now (disk, 3, &number), 0);
  ck_assert (number == 2);

  /* Healed in the cache only. */
  after = disk_after_crash (disk, LOSE_EVERYTHING);
  ck_assert_int_eq (read_now (after, 3, &number), -EIO);
  disk_free (after);
  flush_now (disk);
  after = disk_after_crash (disk, LOSE_EVERYTHING);
  ck_assert_int_eq (read_now (after, 3, &number), 0);
  disk_free (after);
  disk_free (disk);
}
END_TEST

START_TEST (crash_spoils_what_was_being_written)
{
  static const struct disk_faults faults = { .latent = 500000 };
  struct disk *disk = make_disk (), *after;
  unsigned whole = 0, part = 0, good = 0;

  disk_set_faults (disk, &faults);
  write_fua (disk, 8, 8, 1);
  take (disk, IO_WRITE, 0, 0, 8, 1);
  for (unsigned i = 0; i < IMAGES; ++i) {
    unsigned n = 0;

    after = disk_after_crash (disk, LOSE_SECTORS);
    ck_assert (!disk_is_spoiled (after, 8 * 512, 8 * 512));
    for (unsigned s = 0; s < 8; ++s)
      n += disk_is_spoiled (after, s * 512, 512);
    *(n == 8 ? &whole : n == 1 ? &part : &good) += 1;
    ck_assert (n == 0 || n == 1 || n == 8);
    disk_free (after);
  }
  ck_assert (whole > 0 && part > 0 && good > 0);
  disk_free (disk);
}
END_TEST

/* ---- all crashes ---- */

static void
check_count (const struct disk *disk, uint64_t expected)
{
  uint64_t hashes[64];

  ck_assert_uint_eq (disk_crash_count (disk, 64), expected);
  ck_assert_uint_eq (disk_crash_count (disk, expected), expected);
  if (expected > 1)
    ck_assert_uint_eq (disk_crash_count (disk, expected - 1), 0);
  for (uint64_t n = 0; n < expected; ++n) {
    struct disk *after = disk_crash_nth (disk, n);

    hashes[n] = image_hash (disk_durable (after));
    for (uint64_t i = 0; i < n; ++i)
      ck_assert (hashes[i] != hashes[n]);
    disk_free (after);
  }
}

START_TEST (all_crashes_are_counted)
{
  struct disk *disk = make_disk ();

  check_count (disk, 1);
  write_fua (disk, 20, 4, 9);
  check_count (disk, 1);
  while (!disk_has_volatile (disk, 0, 512)) /* not written back by chance */
    write_now (disk, 0, 1, 1 + choose (CHANCE_PLAN, 1000));
  while (!disk_has_volatile (disk, 10 * 512, 512))
    write_now (disk, 10, 1, 1 + choose (CHANCE_PLAN, 1000));
  disk_set_faults (disk, &(struct disk_faults){ .flush_error = 1000000 });
  check_count (disk, 4);
  take (disk, IO_WRITE, 0, 24, 1, 2);
  check_count (disk, 8);
  take (disk, IO_WRITE, IO_FUA, 4, 4, 3);
  check_count (disk, 32);
  /* One that would change nothing. */
  take (disk, IO_WRITE, 0, 20, 4, 9);
  check_count (disk, 32);
  flush_now (disk);
  check_count (disk, 8);
  disk_free (disk);
}
END_TEST

/* ---- a server is killed ---- */

START_TEST (kill_keeps_the_cache)
{
  struct disk *disk = make_disk (), *after, *again;
  uint64_t number;

  write_now (disk, 0, 1, 1);
  ck_assert (disk_has_volatile (disk, 0, 512));
  take (disk, IO_FLUSH, 0, 0, 0, 0);
  after = disk_after_kill (disk);
  disk_free (disk);
  again = disk_after_kill (after);
  for (unsigned i = 0; i < 2; ++i) {
    disk = i == 0 ? after : again;
    ck_assert (disk_has_volatile (disk, 0, 512));
    ck_assert_int_eq (read_now (disk, 0, &number), 0);
    ck_assert_uint_eq (number, 1);
    ck_assert_uint_eq (look_at_all (disk, look_first), 1 | 2);
  }
  /* The next server's first flush covers it, and only on its own disk. */
  write_now (after, 0, 1, 2);
  ck_assert_int_eq (flush_now (after), 0);
  ck_assert_uint_eq (look_at_all (after, look_first), 4);
  ck_assert_uint_eq (look_at_all (again, look_first), 1 | 2);
  disk_free (after);
  disk_free (again);
}
END_TEST

START_TEST (kill_keeps_what_is_durable)
{
  struct disk *disk = make_disk (), *after;

  write_now (disk, 0, 1, 1);
  ck_assert_int_eq (flush_now (disk), 0);
  after = disk_after_kill (disk);
  ck_assert (!disk_has_volatile (after, 0, 512));
  ck_assert_uint_eq (look_at_all (after, look_first), 2);
  disk_free (after);
  disk_free (disk);
}
END_TEST

START_TEST (kill_makes_disks_good)
{
  static const struct disk_faults faults = { .read_error = 1000000 };
  struct disk *disk = make_disk (), *after;
  uint64_t number;

  disk_set_faults (disk, &faults);
  write_now (disk, 0, 1, 1);
  disk_spoil (disk, 8 * 512, 512);
  disk_set_state (disk, DISK_FAILED);
  ck_assert_int_eq (read_now (disk, 0, &number), -EIO);
  after = disk_after_kill (disk);
  ck_assert_int_eq (disk_state (after), DISK_GOOD);
  ck_assert (!disk_was_faulty (after));
  ck_assert_int_eq (read_now (after, 0, &number), 0);
  ck_assert_uint_eq (number, 1);
  ck_assert (disk_is_spoiled (after, 8 * 512, 512));
  ck_assert (!disk_is_spoiled (after, 0, 8 * 512));
  disk_free (after);
  disk_free (disk);
}
END_TEST

/* What kills make of eight sectors in flight, as look_eight says. */
static void
look_at_kills (const struct disk *disk, unsigned *read, unsigned *durable,
               unsigned *crashed)
{
  *read = *durable = *crashed = 0;
  for (unsigned i = 0; i < IMAGES; ++i) {
    struct disk *after = disk_after_kill (disk), *crash;

    ck_assert (!disk_has_write_in_flight (after, 0, 8 * 512));
    crash = disk_after_crash (after, LOSE_EVERYTHING);
    *read |= look_eight (disk_current (after));
    *durable |= look_eight (disk_durable (after));
    *crashed |= look_eight (disk_durable (crash));
    disk_free (crash);
    disk_free (after);
  }
}

START_TEST (kill_leaves_any_part_of_what_is_in_flight)
{
  static const struct disk_limits limits = { .logical_block = 512,
                                             .no_cache = true };
  unsigned read, durable, crashed;
  struct disk *disk = make_disk ();

  take (disk, IO_WRITE, 0, 0, 8, 1);
  look_at_kills (disk, &read, &durable, &crashed);
  ck_assert_uint_eq (read, 31);
  ck_assert_uint_eq (durable, 1);
  ck_assert_uint_eq (crashed, 1);
  disk_free (disk);

  /* FUA: durable only if it was done in whole. */
  disk = make_disk ();
  take (disk, IO_WRITE, IO_FUA, 0, 8, 1);
  look_at_kills (disk, &read, &durable, &crashed);
  ck_assert_uint_eq (read, 31);
  ck_assert_uint_eq (durable, 1 | 2);
  ck_assert_uint_eq (crashed, 1 | 2);
  disk_free (disk);

  disk = disk_new (1, image_new (SECTORS * 512), &limits);
  take (disk, IO_WRITE, 0, 0, 8, 1);
  look_at_kills (disk, &read, &durable, &crashed);
  ck_assert_uint_eq (read, 31);
  ck_assert_uint_eq (durable, 31);
  disk_free (disk);
}
END_TEST

START_TEST (dropped_cache_is_told)
{
  static const struct disk_faults faults = { .flush_error = 1000000 };
  struct disk *disk = make_disk ();

  disk_set_faults (disk, &faults);
  ck_assert_int_eq (flush_now (disk), -EIO);
  ck_assert (!disk_lost_cache (disk)); /* there was nothing in it */
  write_now (disk, 0, 1, 1);
  ck_assert_int_eq (flush_now (disk), -EIO);
  ck_assert (disk_lost_cache (disk));
  disk_free (disk);
}
END_TEST

static Suite *
suite (void)
{
  Suite *s = suite_create ("sim-disk");
  TCase *t = tcase_create ("promises");

  tcase_add_checked_fixture (t, setup, NULL);
  tcase_add_test (t, flushed_is_kept);
  tcase_add_test (t, fua_is_kept_alone);
  tcase_add_test (t, write_through_is_kept);
  tcase_add_test (t, promises_are_kept);
  suite_add_tcase (s, t);

  t = tcase_create ("cruelty");
  tcase_add_checked_fixture (t, setup, NULL);
  tcase_add_test (t, unflushed_is_lost);
  tcase_add_test (t, order_is_lost);
  tcase_add_test (t, writes_are_torn);
  tcase_add_test (t, in_flight_comes_before_or_after);
  tcase_add_test (t, flush_covers_what_had_ended);
  tcase_add_test (t, cache_is_written_back_by_chance);
  tcase_add_test (t, failed_flush_drops);
  tcase_add_test (t, failed_write_leaves_anything);
  tcase_add_test (t, reads_beside_writes_see_either);
  tcase_add_test (t, spoiled_until_written);
  tcase_add_test (t, crash_spoils_what_was_being_written);
  suite_add_tcase (s, t);

  t = tcase_create ("kills");
  tcase_add_checked_fixture (t, setup, NULL);
  tcase_add_test (t, kill_keeps_the_cache);
  tcase_add_test (t, kill_keeps_what_is_durable);
  tcase_add_test (t, kill_makes_disks_good);
  tcase_add_test (t, kill_leaves_any_part_of_what_is_in_flight);
  tcase_add_test (t, dropped_cache_is_told);
  suite_add_tcase (s, t);

  t = tcase_create ("all crashes");
  tcase_add_checked_fixture (t, setup, NULL);
  tcase_add_test (t, all_crashes_are_counted);
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
