/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The pool of transfer buffers. */

#include <config.h>

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"

START_TEST (comes_back_and_is_used_again)
{
  struct buffer_pool *pool = buffer_pool_new ();
  struct buffer *a = buffer_pool_take (pool, 4096);
  struct buffer *b = buffer_pool_take (pool, 4096);
  struct buffer *c;
  uint8_t *data = b->data;

  ck_assert_ptr_ne (a->data, b->data);
  buffer_ref (b);
  buffer_unref (b);
  c = buffer_pool_take (pool, 512);
  ck_assert_ptr_ne (c->data, data); /* which is still used */
  buffer_unref (c);
  buffer_unref (a);
  buffer_unref (b);
  /* The last one first, and for any size of its class. */
  b = buffer_pool_take (pool, 513);
  ck_assert_ptr_eq (b->data, data);
  ck_assert_uint_eq (b->size, 513);
  ck_assert_uint_eq (b->refs.n, 1);
  a = buffer_pool_take (pool, 4097);
  ck_assert_ptr_ne (a->data, data);
  memset (a->data, 1, 8192);
  buffer_unref (a);
  buffer_unref (b);
  buffer_pool_free (pool);
}
END_TEST

/* What nobody has needed between two trims goes, and nothing else. */
START_TEST (trim)
{
  struct buffer_pool *pool = buffer_pool_new ();
  struct buffer *buffers[3];
  uint8_t *data[3];

  for (unsigned i = 0; i < 3; ++i) {
    buffers[i] = buffer_pool_take (pool, MiB);
    data[i] = buffers[i]->data;
  }
  for (unsigned i = 0; i < 3; ++i)
    buffer_unref (buffers[i]);
  buffer_pool_trim (pool); /* all three were in use a moment ago */
  ck_assert_uint_eq (buffer_pool_bytes (pool), 3 * MiB);
  buffers[0] = buffer_pool_take (pool, MiB);
  ck_assert_ptr_eq (buffers[0]->data, data[2]);
  buffer_unref (buffers[0]);
  buffer_pool_trim (pool);
  ck_assert_uint_eq (buffer_pool_bytes (pool), MiB);
  buffer_pool_trim (pool);
  ck_assert_uint_eq (buffer_pool_bytes (pool), 0);
  buffer_pool_free (pool);
}
END_TEST

START_TEST (bounded)
{
  struct buffer_pool *pool = buffer_pool_new ();
  struct buffer *buffers[5];

  for (unsigned i = 0; i < 5; ++i)
    buffers[i] = buffer_pool_take (pool, 16 * MiB);
  for (unsigned i = 0; i < 5; ++i)
    buffer_unref (buffers[i]);
  ck_assert_uint_eq (buffer_pool_bytes (pool), 32 * MiB);
  /* Larger than any class: not the pool's at all. */
  buffer_unref (buffer_pool_take (pool, 33 * MiB));
  ck_assert_uint_eq (buffer_pool_bytes (pool), 32 * MiB);
  buffer_pool_free (pool);
}
END_TEST

/* A transfer that was given up ends after its array was closed. */
START_TEST (outlived)
{
  struct buffer_pool *pool = buffer_pool_new ();
  struct buffer *a = buffer_pool_take (pool, 4096);
  struct buffer *b = buffer_pool_take (pool, 4096);

  buffer_unref (buffer_pool_take (pool, 64 * KiB));
  buffer_pool_free (pool);
  memset (a->data, 1, a->size);
  buffer_unref (a);
  memset (b->data, 1, b->size);
  buffer_unref (b); /* and the pool with it: the leak checker knows */
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("buffer");
  TCase *tcase = tcase_create ("pool");
  SRunner *runner;
  int failed;

  tcase_add_test (tcase, comes_back_and_is_used_again);
  tcase_add_test (tcase, trim);
  tcase_add_test (tcase, bounded);
  tcase_add_test (tcase, outlived);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
