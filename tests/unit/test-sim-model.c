/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The simulator's model: what it must accept, since an array may do it, and
 * what it must not.  And plans: text and back.
 *
 * violation is ours here: it ends the process with a number for each rule.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/chance.h"
#include "sim/model.h"
#include "sim/plan.h"
#include "sim/trace.h"

#define CELL 512
#define SIZE (8 * CELL)

enum { EXIT_OTHER = 1, EXIT_I2, EXIT_I6, EXIT_I6A, EXIT_DATA };

uint64_t trace_hash;

void
violation (const char *rule, const char *fmt, ...)
{
  va_list args;

  fprintf (stderr, "%s: ", rule);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fputc ('\n', stderr);
  if (strcmp (rule, "I2") == 0)
    exit (EXIT_I2);
  if (strcmp (rule, "I6") == 0)
    exit (EXIT_I6);
  if (strcmp (rule, "I6a") == 0)
    exit (EXIT_I6A);
  exit (strcmp (rule, "data") == 0 ? EXIT_DATA : EXIT_OTHER);
}

/* ---- words that the tests are written in ---- */

static struct model *model;
static uint8_t data[SIZE];

static void
setup (void)
{
  model = model_new (SIZE, CELL);
}

static void
teardown (void)
{
  model_free (model);
}

/* Requests for cell 3, but where it is said. */
#define AT (3 * CELL)

static uint64_t
begin (void)
{
  return model_write_begin (model, AT, CELL, false);
}

static uint64_t
begin_zero (void)
{
  return model_write_begin (model, AT, CELL, true);
}

static void
done (uint64_t write)
{
  model_write_end (model, write, 0, false);
}

static void
done_fua (uint64_t write)
{
  model_write_end (model, write, 0, true);
}

static void
failed (uint64_t write)
{
  model_write_end (model, write, -EIO, false);
}

static uint64_t
written (void)
{
  uint64_t write = begin ();

  done (write);
  return write;
}

static uint64_t
written_fua (void)
{
  uint64_t write = begin ();

  done_fua (write);
  return write;
}

static void
flush (void)
{
  model_flush_end (model, model_flush_begin (model), 0);
}

static uint64_t
read_begin (void)
{
  return model_read_begin (model, AT, CELL);
}

/* The read sees that write. */
static void
sees (uint64_t read, uint64_t write)
{
  model_fill (model, write, AT, CELL, data);
  model_read_end (model, read, 0, data);
}

static void
see (uint64_t write)
{
  sees (read_begin (), write);
}

static bool
may_be (uint64_t write)
{
  model_fill (model, write, AT, CELL, data);
  return model_may_hold (model, AT, data);
}

/* ---- data ---- */

START_TEST (data_tells_write_and_place)
{
  uint8_t other[CELL];
  uint64_t write = written ();

  model_fill (model, write, AT, CELL, data);
  model_fill (model, 0, AT, CELL, other);
  ck_assert_mem_ne (data, other, CELL);
  ck_assert (model_may_hold (model, AT, data));
  ck_assert (!model_may_hold (model, AT + CELL, data));
  ck_assert (!model_may_hold (model, AT, other));
  memcpy (other, data, CELL / 2);
  ck_assert (!model_may_hold (model, AT, other));
  model_fill (model, 0, 0, SIZE, data);
  model_fill (model, 0, AT, CELL, other);
  ck_assert_mem_eq (data + AT, other, CELL);
}
END_TEST

START_TEST (zeroes_are_zeroes)
{
  static const uint8_t zeroes[CELL];
  uint64_t write = begin_zero ();

  done (write);
  model_fill (model, write, AT, CELL, data);
  ck_assert_mem_eq (data, zeroes, CELL);
  see (write);
  ck_assert (!model_may_hold (model, AT + CELL, zeroes));
}
END_TEST

START_TEST (data_of_another_place)
{
  uint64_t read = read_begin ();

  model_fill (model, 0, AT + CELL, CELL, data);
  model_read_end (model, read, 0, data);
}
END_TEST

START_TEST (data_torn_within_a_cell)
{
  uint64_t write = begin ();

  model_fill (model, write, AT, CELL, data);
  model_fill (model, 0, AT + CELL, CELL, data + CELL);
  memcpy (data + 256, data + CELL + 256, 256);
  model_read_end (model, read_begin (), 0, data);
}
END_TEST

START_TEST (data_swapped_within_a_cell)
{
  uint8_t word[8];

  model_fill (model, 0, AT, CELL, data);
  memcpy (word, data + 8, 8);
  memcpy (data + 8, data + 16, 8);
  memcpy (data + 16, word, 8);
  model_read_end (model, read_begin (), 0, data);
}
END_TEST

START_TEST (small_cells)
{
  struct model *small = model_new (2048, 128);
  uint64_t write = model_write_begin (small, 128, 256, false), read;

  model_write_end (small, write, 0, false);
  model_fill (small, 0, 0, 2048, data);
  model_fill (small, write, 128, 256, data + 128);
  read = model_read_begin (small, 0, 2048);
  model_read_end (small, read, 0, data);
  ck_assert_uint_eq (model_cell (small), 128);
  model_free (small);
}
END_TEST

/* ---- reads while all is well ---- */

START_TEST (answered_write_is_read)
{
  uint64_t write = written ();

  see (write);
  see (write);
}
END_TEST

START_TEST (answered_write_is_not_undone)
{
  (void)written ();
  see (0);
}
END_TEST

/* A disk may serve one read before the write, and the next one after it. */
START_TEST (write_in_flight_is_seen_or_not)
{
  uint64_t write = begin ();

  see (0);
  see (0);
  see (write);
  done (write);
  see (write);
}
END_TEST

/* But not the other way round. */
START_TEST (write_in_flight_stays_if_seen)
{
  see (begin ());
  see (0);
}
END_TEST

START_TEST (reads_at_once_see_either)
{
  uint64_t a = read_begin (), b = read_begin (), write = begin ();

  done (write);
  sees (a, write);
  sees (b, 0);
  see (write);
}
END_TEST

START_TEST (read_begun_before_sees_either)
{
  uint64_t read = read_begin (), write = written_fua ();

  see (write);
  (void)written_fua ();
  sees (read, 0);
}
END_TEST

START_TEST (read_begun_after_is_not_older)
{
  uint64_t write = written (), read = read_begin (), next = written ();

  sees (read, write);
  see (next);
  see (write);
}
END_TEST

START_TEST (two_at_once_in_any_order)
{
  uint64_t a = begin (), b = begin ();

  done (a);
  done (b);
  see (a);
  see (a);
}
END_TEST

START_TEST (two_at_once_have_an_order)
{
  uint64_t a = begin (), b = begin ();

  done (b);
  done (a);
  see (a);
  see (b);
}
END_TEST

START_TEST (order_holds_when_a_leg_is_lost)
{
  uint64_t a = begin (), b = begin ();

  done (b);
  done (a);
  see (a);
  model_forget_seen (model);
  see (b);
}
END_TEST

START_TEST (both_at_once_are_newer)
{
  uint64_t a = begin (), b = begin ();

  done (b);
  done (a);
  see (0);
}
END_TEST

START_TEST (zeroes_of_several)
{
  uint64_t a = begin_zero (), b = begin (), c = begin_zero ();

  done (a);
  done (b);
  done (c);
  see (a);
  see (c);
}
END_TEST

START_TEST (zeroes_of_several_stay)
{
  uint64_t a = begin_zero (), b = begin (), c = begin_zero ();

  done (a);
  done (b);
  done (c);
  see (a);
  see (b);
}
END_TEST

/* ---- errors ---- */

START_TEST (failed_write_is_there_or_not)
{
  uint64_t write = begin (), next;

  failed (write);
  see (0);
  next = written ();
  see (next);
}
END_TEST

START_TEST (failed_write_stays_if_seen)
{
  uint64_t write = begin ();

  failed (write);
  see (write);
  see (0);
}
END_TEST

START_TEST (failed_write_stays_away_if_not_seen)
{
  uint64_t write = begin ();

  failed (write);
  see (0);
  see (write);
}
END_TEST

START_TEST (failed_write_excludes_nothing)
{
  uint64_t write = written (), next = begin ();

  failed (next);
  flush ();
  model_crash (model);
  ck_assert (may_be (write));
  ck_assert (may_be (next));
  ck_assert (!may_be (0));
}
END_TEST

START_TEST (failed_read_says_nothing)
{
  memset (data, 1, sizeof data);
  model_read_end (model, read_begin (), -EIO, data);
  see (0);
}
END_TEST

START_TEST (failed_flush_keeps_nothing)
{
  uint64_t write = written ();

  model_flush_end (model, model_flush_begin (model), -EIO);
  model_crash (model);
  ck_assert (may_be (write));
  ck_assert (may_be (0));
}
END_TEST

START_TEST (failed_fua_keeps_nothing)
{
  uint64_t write = begin ();

  model_write_end (model, write, -EIO, true);
  model_crash (model);
  ck_assert (may_be (write));
  ck_assert (may_be (0));
}
END_TEST

/* ---- doubt ---- */

START_TEST (source_is_lost)
{
  uint64_t write = begin ();

  failed (write);
  see (write);
  model_forget_seen (model);
  see (0);
  see (0);
}
END_TEST

START_TEST (source_flips)
{
  uint64_t write = begin ();

  failed (write);
  model_set_doubt (model, MODEL_FLIPS);
  see (write);
  see (0);
  see (write);
  model_set_doubt (model, MODEL_FIRM);
  see (0);
}
END_TEST

START_TEST (flips_do_not_undo_an_answer)
{
  (void)written ();
  model_set_doubt (model, MODEL_FLIPS);
  see (0);
}
END_TEST

START_TEST (cache_is_lost)
{
  uint64_t write = written (), next = written ();

  model_set_doubt (model, MODEL_LOSES);
  see (next);
  see (0);
  see (write);
}
END_TEST

START_TEST (lost_cache_does_not_lose_what_is_durable)
{
  (void)written_fua ();
  (void)written ();
  model_set_doubt (model, MODEL_LOSES);
  see (0);
}
END_TEST

/* ---- crashes ---- */

START_TEST (crash_loses_what_is_not_durable)
{
  uint64_t a = written_fua (), b = written (), c = begin ();

  model_crash (model);
  ck_assert (!may_be (0));
  ck_assert (may_be (a));
  ck_assert (may_be (b));
  ck_assert (may_be (c));
  see (b);
  see (b);
}
END_TEST

START_TEST (fua_is_kept)
{
  (void)written_fua ();
  model_crash (model);
  see (0);
}
END_TEST

START_TEST (flushed_is_kept)
{
  (void)written ();
  flush ();
  model_crash (model);
  see (0);
}
END_TEST

START_TEST (flush_covers_what_was_answered)
{
  uint64_t a = written (), b = begin (), flushing = model_flush_begin (model);
  uint64_t c;

  done (b);
  c = written ();
  model_flush_end (model, flushing, 0);
  model_crash (model);
  ck_assert (!may_be (0));
  ck_assert (may_be (a));
  ck_assert (may_be (b));
  ck_assert (may_be (c));
}
END_TEST

START_TEST (fua_keeps_no_order_with_those_beside)
{
  uint64_t a = written (), b = begin (), c = begin ();

  done_fua (b);
  done (c);
  model_crash (model);
  ck_assert (!may_be (a));
  ck_assert (may_be (b));
  ck_assert (may_be (c));
}
END_TEST

START_TEST (order_that_was_seen_is_kept)
{
  uint64_t a = begin (), b = begin ();

  done (a);
  done (b);
  see (a);
  flush ();
  model_crash (model);
  ck_assert (may_be (a));
  ck_assert (!may_be (b));
}
END_TEST

START_TEST (order_that_was_seen_without_flush)
{
  uint64_t a = begin (), b = begin ();

  done (a);
  done (b);
  see (a);
  model_crash (model);
  ck_assert (may_be (a));
  ck_assert (may_be (b));
  ck_assert (may_be (0));
}
END_TEST

START_TEST (seen_after_crash_stays)
{
  uint64_t write = begin ();

  model_crash (model);
  see (write);
  see (0);
}
END_TEST

START_TEST (seen_after_crash_stays_beside_a_write)
{
  uint64_t write = begin (), next;

  model_crash (model);
  see (write);
  next = begin ();
  see (write);
  see (next);
  see (write);
  see (0);
}
END_TEST

START_TEST (not_seen_after_crash_stays_away_beside_a_write)
{
  uint64_t write = begin ();

  model_crash (model);
  see (0);
  (void)begin ();
  see (write);
}
END_TEST

START_TEST (reading_makes_nothing_durable)
{
  uint64_t write = begin ();

  model_crash (model);
  see (write);
  flush ();
  model_crash (model);
  see (0);
  model_crash (model);
  see (write);
}
END_TEST

START_TEST (overwritten_after_crash_is_gone)
{
  uint64_t write = begin (), next;

  model_crash (model);
  next = written_fua ();
  model_crash (model);
  ck_assert (!may_be (0));
  ck_assert (!may_be (write));
  ck_assert (may_be (next));
}
END_TEST

START_TEST (not_durably_overwritten_after_crash)
{
  uint64_t write = begin (), next;

  model_crash (model);
  next = written ();
  model_crash (model);
  ck_assert (may_be (0));
  ck_assert (may_be (write));
  ck_assert (may_be (next));
}
END_TEST

START_TEST (copies_are_independent)
{
  uint64_t write = begin ();
  struct model *copy = model_copy (model), *other = model;

  model_crash (copy);
  ck_assert_uint_eq (model_in_flight (copy), 0);
  ck_assert_uint_eq (model_in_flight (model), 1);
  model = copy;
  see (0);
  (void)written_fua ();
  model = other;
  done (write);
  see (write);
  model_free (copy);
}
END_TEST

START_TEST (maybe_before_the_first_world)
{
  uint64_t write = model_maybe (model, AT, CELL);

  ck_assert (may_be (0));
  ck_assert (may_be (write));
  see (write);
  model_crash (model);
  see (0);
}
END_TEST

START_TEST (maybe_is_overwritten)
{
  uint64_t write = model_maybe (model, AT, CELL);

  (void)written ();
  see (write);
}
END_TEST

/* ---- a clean stop ---- */

START_TEST (settled_is_kept)
{
  (void)written ();
  model_settled (model);
  model_crash (model);
  see (0);
}
END_TEST

START_TEST (seen_and_settled_is_kept)
{
  uint64_t write = begin ();

  model_crash (model);
  see (write);
  model_settled (model);
  model_crash (model);
  ck_assert (may_be (write));
  see (0);
}
END_TEST

START_TEST (not_seen_and_settled_is_either)
{
  uint64_t write = begin ();

  model_crash (model);
  model_settled (model);
  ck_assert (may_be (write));
  ck_assert (may_be (0));
}
END_TEST

/* ---- kills ---- */

START_TEST (kill_keeps_what_was_answered)
{
  uint64_t a = written ();

  model_kill (model);
  ck_assert_uint_eq (model_in_flight (model), 0);
  ck_assert (may_be (a));
  ck_assert (!may_be (0));
  see (a);
}
END_TEST

START_TEST (killed_and_answered_is_not_undone)
{
  (void)written ();
  model_kill (model);
  see (0);
}
END_TEST

START_TEST (kill_leaves_what_was_in_flight_open)
{
  uint64_t a = written (), b = begin ();
  struct model *copy;

  (void)model_flush_begin (model);
  (void)read_begin ();
  model_kill (model);
  ck_assert (may_be (a));
  ck_assert (may_be (b));
  copy = model_copy (model);
  see (a);
  see (a);
  model_free (model);
  model = copy;
  see (b);
  see (b);
}
END_TEST

START_TEST (seen_after_kill_stays)
{
  uint64_t a = written (), b = begin ();

  model_kill (model);
  see (b);
  see (a);
}
END_TEST

START_TEST (killed_is_lost_in_a_crash)
{
  uint64_t a = written (), b = begin ();

  (void)model_flush_begin (model);
  model_kill (model);
  see (b);
  model_crash (model);
  ck_assert (may_be (a));
  ck_assert (may_be (b));
  see (0);
}
END_TEST

/* Of the earlier server's writes, those that were answered. */
START_TEST (flush_covers_an_earlier_server)
{
  uint64_t a = written (), b = begin ();

  model_kill (model);
  flush ();
  model_crash (model);
  ck_assert (may_be (a));
  ck_assert (may_be (b));
  ck_assert (!may_be (0));
  see (0);
}
END_TEST

START_TEST (flush_of_a_killed_server_is_none)
{
  (void)written ();
  (void)model_flush_begin (model);
  model_kill (model);
  model_crash (model);
  see (0);
}
END_TEST

START_TEST (fua_before_a_kill_is_kept)
{
  (void)written_fua ();
  model_kill (model);
  model_crash (model);
  see (0);
}
END_TEST

/* Refused: nothing of it was written. */

static uint64_t
refused (void)
{
  uint64_t write = begin ();

  model_write_end (model, write, -EROFS, false);
  return write;
}

START_TEST (refused_is_nothing)
{
  uint64_t a = written (), b = refused ();

  ck_assert_uint_eq (model_in_flight (model), 0);
  ck_assert (may_be (a));
  ck_assert (!may_be (b));
  see (a);
  flush ();
  model_settled (model);
  model_crash (model);
  see (a);
}
END_TEST

START_TEST (refused_is_not_read)
{
  see (refused ());
}
END_TEST

/* ---- text ---- */

START_TEST (explains)
{
  char text[200], little[10];

  (void)written_fua ();
  (void)begin_zero ();
  model_explain (model, AT, text, sizeof text);
  ck_assert_str_eq (text, "write 2 of zeroes (ongoing), write 1 (done, "
                          "durable)");
  model_explain (model, AT, little, sizeof little);
  ck_assert_uint_lt (strlen (little), sizeof little);
}
END_TEST

static void
same_plan (const struct plan *a, const struct plan *b)
{
  struct plan x = *a, y = *b;

  ck_assert_uint_eq (a->nsteps, b->nsteps);
  for (unsigned i = 0; i < a->nsteps; ++i)
    ck_assert_mem_eq (&a->steps[i], &b->steps[i], sizeof a->steps[i]);
  x.steps = y.steps = NULL;
  ck_assert_mem_eq (&x, &y, sizeof x);
}

START_TEST (plans_are_the_same_as_text)
{
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    struct plan *plan, *copy, *parsed;
    unsigned line = 0;
    FILE *file = tmpfile ();

    ck_assert_ptr_nonnull (file);
    chance_seed (seed);
    plan = plan_new (seed);
    copy = plan_copy (plan);
    plan_print (plan, file);
    rewind (file);
    parsed = plan_parse (file, &line);
    ck_assert_msg (parsed, "seed %ju, line %u", (uintmax_t)seed, line);
    same_plan (plan, parsed);
    same_plan (plan, copy);
    plan_free (plan);
    plan_free (copy);
    plan_free (parsed);
    fclose (file);
  }
}
END_TEST

#define GOOD                                   \
  "mdbitmap-plan 1\n"                          \
  "run seed 1 checks 1 epochs 1\n"             \
  "array legs 2 chunk 512 size 1024 cell 512 " \
  "daemon-sleep 1 leg-timeout 30000000000\n"   \
  "leg 0 512\nleg 1 512\nworld random\nepoch 0\n"

static const struct {
  const char *text;
  unsigned line; /* 0: it is a plan */
} texts[] = {
  { GOOD "# a word\n\nstep write offset 512 length 512\nend\n", 0 },
  { GOOD "step write offset 512 length 1024\nend\n", 9 },
  { GOOD "step write offset 512 length 100\nend\n", 9 },
  { GOOD "step write\nend\n", 9 },
  { GOOD "step flush leg 2\nend\n", 9 },
  { GOOD "step flush epoch 1\nend\n", 9 },
  { GOOD "step flush client 3\nend\n", 9 },
  { GOOD "step stop client 2\nend\n", 9 },
  { GOOD "step stop-busy client 2\nend\n", 9 },
  { GOOD "step stop-busy client 3\nend\n", 0 },
  { GOOD "step dance\nend\n", 8 },
  { GOOD "step flush fua 2\nend\n", 8 },
  { GOOD "step flush leg x\nend\n", 8 },
  { GOOD "step flush leg 4294967296\nend\n", 8 },
  { GOOD "step flush depth 1\nend\n", 8 },
  { GOOD "leg 4 512\nend\n", 8 },
  { GOOD "epoch 4\nend\n", 8 },
  { GOOD "dance\nend\n", 8 },
  { GOOD "world round\nend\n", 8 },
  { GOOD "array cell 256\nend\n", 9 },
  { GOOD "array chunk 1000\nend\n", 9 },
  { GOOD "array size 1000\nend\n", 9 },
  { GOOD "array legs 3\nend\n", 9 },
  { GOOD "leg 0 4096\nend\n", 9 },
  { GOOD, 8 },
  { "mdbitmap-plan 2\nend\n", 1 },
};

START_TEST (text_that_is_no_plan)
{
  FILE *file = tmpfile ();
  struct plan *plan;
  unsigned line = 0;

  ck_assert_ptr_nonnull (file);
  fputs (texts[_i].text, file);
  rewind (file);
  plan = plan_parse (file, &line);
  if (texts[_i].line == 0)
    ck_assert_ptr_nonnull (plan);
  else {
    ck_assert_ptr_null (plan);
    ck_assert_uint_eq (line, texts[_i].line);
  }
  plan_free (plan);
  fclose (file);
}
END_TEST

/* ---- the suite ---- */

static void
add_reads (TCase *tc)
{
  tcase_add_test (tc, answered_write_is_read);
  tcase_add_exit_test (tc, answered_write_is_not_undone, EXIT_I6);
  tcase_add_test (tc, write_in_flight_is_seen_or_not);
  tcase_add_exit_test (tc, write_in_flight_stays_if_seen, EXIT_I6A);
  tcase_add_test (tc, reads_at_once_see_either);
  tcase_add_test (tc, read_begun_before_sees_either);
  tcase_add_exit_test (tc, read_begun_after_is_not_older, EXIT_I6);
  tcase_add_test (tc, two_at_once_in_any_order);
  tcase_add_exit_test (tc, two_at_once_have_an_order, EXIT_I6);
  tcase_add_exit_test (tc, order_holds_when_a_leg_is_lost, EXIT_I6);
  tcase_add_exit_test (tc, both_at_once_are_newer, EXIT_I6);
  tcase_add_test (tc, zeroes_of_several);
  tcase_add_exit_test (tc, zeroes_of_several_stay, EXIT_I6A);
}

static void
add_errors (TCase *tc)
{
  tcase_add_test (tc, failed_write_is_there_or_not);
  tcase_add_exit_test (tc, failed_write_stays_if_seen, EXIT_I6A);
  tcase_add_exit_test (tc, failed_write_stays_away_if_not_seen, EXIT_I6A);
  tcase_add_test (tc, failed_write_excludes_nothing);
  tcase_add_test (tc, failed_read_says_nothing);
  tcase_add_test (tc, failed_flush_keeps_nothing);
  tcase_add_test (tc, failed_fua_keeps_nothing);
  tcase_add_test (tc, source_is_lost);
  tcase_add_test (tc, source_flips);
  tcase_add_exit_test (tc, flips_do_not_undo_an_answer, EXIT_I6);
  tcase_add_test (tc, cache_is_lost);
  tcase_add_exit_test (tc, lost_cache_does_not_lose_what_is_durable, EXIT_I2);
}

static void
add_crashes (TCase *tc)
{
  tcase_add_test (tc, crash_loses_what_is_not_durable);
  tcase_add_exit_test (tc, fua_is_kept, EXIT_I2);
  tcase_add_exit_test (tc, flushed_is_kept, EXIT_I2);
  tcase_add_test (tc, flush_covers_what_was_answered);
  tcase_add_test (tc, fua_keeps_no_order_with_those_beside);
  tcase_add_test (tc, order_that_was_seen_is_kept);
  tcase_add_test (tc, order_that_was_seen_without_flush);
  tcase_add_exit_test (tc, seen_after_crash_stays, EXIT_I6A);
  tcase_add_exit_test (tc, seen_after_crash_stays_beside_a_write, EXIT_I6A);
  tcase_add_exit_test (tc, not_seen_after_crash_stays_away_beside_a_write,
                       EXIT_I6A);
  tcase_add_test (tc, reading_makes_nothing_durable);
  tcase_add_test (tc, overwritten_after_crash_is_gone);
  tcase_add_test (tc, not_durably_overwritten_after_crash);
  tcase_add_test (tc, copies_are_independent);
  tcase_add_test (tc, maybe_before_the_first_world);
  tcase_add_exit_test (tc, maybe_is_overwritten, EXIT_I6);
  tcase_add_exit_test (tc, settled_is_kept, EXIT_I2);
  tcase_add_exit_test (tc, seen_and_settled_is_kept, EXIT_I2);
  tcase_add_test (tc, not_seen_and_settled_is_either);
}

static void
add_kills (TCase *tc)
{
  tcase_add_test (tc, kill_keeps_what_was_answered);
  tcase_add_exit_test (tc, killed_and_answered_is_not_undone, EXIT_I6);
  tcase_add_test (tc, kill_leaves_what_was_in_flight_open);
  tcase_add_exit_test (tc, seen_after_kill_stays, EXIT_I6A);
  tcase_add_test (tc, killed_is_lost_in_a_crash);
  tcase_add_exit_test (tc, flush_covers_an_earlier_server, EXIT_I2);
  tcase_add_test (tc, flush_of_a_killed_server_is_none);
  tcase_add_exit_test (tc, fua_before_a_kill_is_kept, EXIT_I2);
  tcase_add_test (tc, refused_is_nothing);
  tcase_add_exit_test (tc, refused_is_not_read, EXIT_I2);
}

int
main (void)
{
  Suite *suite = suite_create ("sim-model");
  TCase *tc = tcase_create ("model");
  TCase *plans = tcase_create ("plans");
  SRunner *runner;
  int failures;

  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_test (tc, data_tells_write_and_place);
  tcase_add_test (tc, zeroes_are_zeroes);
  tcase_add_exit_test (tc, data_of_another_place, EXIT_DATA);
  tcase_add_exit_test (tc, data_torn_within_a_cell, EXIT_DATA);
  tcase_add_exit_test (tc, data_swapped_within_a_cell, EXIT_DATA);
  tcase_add_test (tc, small_cells);
  add_reads (tc);
  add_errors (tc);
  add_crashes (tc);
  add_kills (tc);
  tcase_add_test (tc, explains);
  tcase_add_test (plans, plans_are_the_same_as_text);
  tcase_add_loop_test (plans, text_that_is_no_plan, 0,
                       sizeof texts / sizeof texts[0]);
  suite_add_tcase (suite, tc);
  suite_add_tcase (suite, plans);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failures = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failures == 0 ? 0 : 1;
}
