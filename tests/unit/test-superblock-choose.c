/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Which of several superblocks is the leg's.  A leg of 64 MiB. */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/superblock.h"

#define LEG_SECTORS 131072
#define OLD         superblock_time (1700000000)
#define NEW         (superblock_time (1700000001) | (uint64_t)7 << 40)

static struct superblock all[SUPERBLOCK_VERSIONS];
static const struct superblock *found[SUPERBLOCK_VERSIONS];

/* As made on the whole leg. */
static struct superblock *
make (enum superblock_version version, uint64_t ctime)
{
  struct superblock *s = &all[version];

  memset (s, 0, sizeof *s);
  s->version = version;
  s->ctime = ctime;
  s->super_offset = superblock_sector (version, LEG_SECTORS);
  s->data_offset = version >= SUPERBLOCK_1_1 ? 2048 : 0;
  s->data_size =
      (version >= SUPERBLOCK_1_1 ? LEG_SECTORS : s->super_offset - 16)
      - s->data_offset;
  s->size = s->data_size & ~(uint64_t)127;
  found[version] = s;
  return s;
}

static void
reset (void)
{
  memset (found, 0, sizeof found);
}

static int
choose (void)
{
  enum superblock_version chosen, rival;
  int err = superblock_choose (found, &chosen, &rival);

  if (err == -EINVAL)
    ck_assert_int_ne (chosen, rival);
  return err == 0 ? (int)chosen : err;
}

/* Of arrays made one after the other on whole legs, the last. */
START_TEST (test_last)
{
  const enum superblock_version a = (unsigned)_i / SUPERBLOCK_VERSIONS;
  const enum superblock_version b = (unsigned)_i % SUPERBLOCK_VERSIONS;

  reset ();
  ck_assert_int_eq (choose (), -ENOENT);
  make (a, OLD);
  ck_assert_int_eq (choose (), a);
  if (a == b)
    return;
  make (b, NEW);
  ck_assert_int_eq (choose (), b);
  make (b, OLD | (uint64_t)9 << 40); /* microseconds do not count */
  ck_assert_int_eq (choose (), -EINVAL);
}
END_TEST

/* Whoever uses an array of version 1.x as a disk makes one of 0.90 on it, at
 * the end, which is the end of the leg too; or the other way round, at the
 * start.  It is younger, and data.
 */
START_TEST (test_inside)
{
  static const struct {
    enum superblock_version outer, inner;
  } pairs[] = {
    { SUPERBLOCK_1_1, SUPERBLOCK_0_90 }, { SUPERBLOCK_1_2, SUPERBLOCK_0_90 },
    { SUPERBLOCK_0_90, SUPERBLOCK_1_1 }, { SUPERBLOCK_0_90, SUPERBLOCK_1_2 },
    { SUPERBLOCK_1_0, SUPERBLOCK_1_1 },  { SUPERBLOCK_1_0, SUPERBLOCK_1_2 },
  };
  struct superblock *outer, *inner;
  uint64_t ctimes[] = { NEW, OLD };

  for (unsigned i = 0; i < 2; ++i) {
    reset ();
    outer = make (pairs[_i].outer, OLD);
    inner = make (pairs[_i].inner, ctimes[i]);
    /* What md would have made on a disk of outer->size sectors. */
    if (pairs[_i].inner == SUPERBLOCK_0_90) {
      inner->data_size = superblock_sector (SUPERBLOCK_0_90, outer->size);
      ck_assert_uint_eq (inner->data_size + outer->data_offset,
                         inner->super_offset);
      inner->size = inner->data_size;
    }
    else {
      inner->data_size = outer->size - inner->data_offset - 1;
      inner->size = inner->data_size & ~(uint64_t)127;
    }
    ck_assert_int_eq (choose (), pairs[_i].outer);
  }
}
END_TEST

/* 0.90 at the end of the data of 1.0, both from the start of the leg: nothing
 * tells whether it was made on the leg or on the array.
 */
START_TEST (test_undecided)
{
  reset ();
  make (SUPERBLOCK_1_0, OLD)->size = LEG_SECTORS - 64;
  make (SUPERBLOCK_0_90, NEW);
  ck_assert_int_eq (choose (), -EINVAL);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("superblock-choose");
  TCase *tcase = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_add_loop_test (tcase, test_last, 0,
                       SUPERBLOCK_VERSIONS * SUPERBLOCK_VERSIONS);
  tcase_add_loop_test (tcase, test_inside, 0, 6);
  tcase_add_test (tcase, test_undecided);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
