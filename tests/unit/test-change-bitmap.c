/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* array_change_bitmap: from any place to any other, killed at each write.  A
 * child does it, and ends at once before its n-th write of a leg or of a bitmap
 * file.  Of what is left
 *
 *   - whatever opens has all the bits that there were;
 *   - the old bitmap or the new one opens with just these, if it is one;
 *   - once the array has gone on with one of them, the other one is never
 *     believed again.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bitmap/store_file.h"
#include "format/bitmap_note.h"
#include "legs.h"

#define SIZE    MiB
#define CHUNK   8192u
#define UNITS   (SIZE / CHUNK)
#define FINE    4096u
#define COARSE  65536u
#define GONE_ON 50 /* the chunk that is written when the array goes on */

#define KILLED 7

static const unsigned marks[] = { 3, 7, 100 };
#define MARKS (sizeof marks / sizeof marks[0])

/* ---- places ---- */

struct place {
  enum array_bitmap bitmap;
  unsigned file; /* 0 or 1 */
  uint32_t chunk;
};

static const char *
file_path (unsigned file)
{
  static char paths[2][200];

  snprintf (paths[file], sizeof paths[file], "%s.bits%u", leg_path (0), file);
  return paths[file];
}

static bool
has_bitmap (const struct place *place)
{
  return place->bitmap != ARRAY_BITMAP_NONE;
}

static void
choose (const struct place *place)
{
  legs_options.bitmap = place->bitmap;
  legs_options.bitmap_file =
      place->bitmap == ARRAY_BITMAP_FILE ? file_path (place->file) : NULL;
  legs_options.bitmap_io = ARRAY_BITMAP_PAGECACHE;
}

static int
change_to (struct array *array, const struct place *to)
{
  return array_change_bitmap (
      array, to->bitmap,
      to->bitmap == ARRAY_BITMAP_FILE ? file_path (to->file) : NULL, to->chunk);
}

/* ---- the child ---- */

static unsigned writes_left = UINT32_MAX;

static void
count_write (void)
{
  if (writes_left == 0)
    _exit (KILLED);
  writes_left--;
}

static bool tears; /* the last write of a bitmap, if it is of one, is torn */

static enum verdict
die (unsigned leg, enum op op, const struct io *io)
{
  (void)leg, (void)io;
  if (tears && writes_left == 0 && op == OP_WRITE_BITMAP) {
    tears = false;
    return TAP_TEAR;
  }
  if (op & (OP_WRITES | OP_FLUSH))
    count_write ();
  return TAP_PASS;
}

extern int
__real_store_file_write (const struct file *file, struct buffer *buffer,
                         const uint64_t *pages, unsigned n, uint64_t used);
extern int
__wrap_store_file_write (const struct file *file, struct buffer *buffer,
                         const uint64_t *pages, unsigned n, uint64_t used);

int
__wrap_store_file_write (const struct file *file, struct buffer *buffer,
                         const uint64_t *pages, unsigned n, uint64_t used)
{
  count_write ();
  return __real_store_file_write (file, buffer, pages, n, used);
}

typedef void
fill_function (void *opaque, uint64_t from, size_t length, uint8_t *data);

extern int
__real_file_make (const struct log *log, const char *path, uint64_t length,
                  bool replace, fill_function *fill, void *opaque);
extern int
__wrap_file_make (const struct log *log, const char *path, uint64_t length,
                  bool replace, fill_function *fill, void *opaque);

/* Killed before it has done anything; or before the new file has its name. */
int
__wrap_file_make (const struct log *log, const char *path, uint64_t length,
                  bool replace, fill_function *fill, void *opaque)
{
  char other[300];

  count_write ();
  if (writes_left == 0) {
    snprintf (other, sizeof other, "%s.new", path);
    close (open (other, O_CREAT | O_WRONLY, 0600));
  }
  count_write ();
  return __real_file_make (log, path, length, replace, fill, opaque);
}

/* 0: it came to its end; KILLED: it did not; 1: it failed. */
static int
change_in_child (const struct place *from, const struct place *to,
                 unsigned point)
{
  struct array *array;
  pid_t pid = fork ();
  int status;

  ck_assert_int_ne (pid, -1);
  if (pid == 0) {
    writes_left = UINT32_MAX;
    choose (from);
    array = legs_open ();
    writes_left = point;
    tap_hook (die);
    _exit (change_to (array, to) == 0 ? 0 : 1);
  }
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert (WIFEXITED (status));
  return WEXITSTATUS (status);
}

/* ---- the state before ---- */

enum scene { UNCLEAN, DEGRADED, CLEAN, SCENES };

static void
change_now (const struct place *from, const struct place *to)
{
  struct array *array;

  choose (from);
  array = legs_open ();
  ck_assert_int_eq (change_to (array, to), 0);
  legs_close (array);
}

static const struct place internal = { ARRAY_BITMAP_INTERNAL, 0, CHUNK };

static uint64_t header_lead; /* the old one's header was written before it */

static uint64_t
internal_offset (unsigned leg)
{
  const struct superblock *sb = &images[leg].superblock;

  return (uint64_t)((int64_t)sb->super_offset + sb->bitmap_offset) * 512;
}

/* As an interrupted update leaves it. */
static void
let_header_lead (const struct place *from)
{
  uint8_t events[8];
  int fd;

  legs_load ();
  put_le64 (events, images[0].superblock.events + header_lead);
  if (from->bitmap == ARRAY_BITMAP_INTERNAL) {
    for (unsigned i = 0; i < legs_options.nlegs; ++i)
      leg_put (i, internal_offset (i) + 24, events, sizeof events);
    return;
  }
  fd = open (file_path (from->file), O_WRONLY);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (pwrite (fd, events, sizeof events, 24), sizeof events);
  close (fd);
}

static void
make_scene (enum superblock_version version, enum scene scene,
            const struct place *from)
{
  writes_left = UINT32_MAX;
  legs_make_version (version, true, 2, SIZE, CHUNK);
  unlink (file_path (0));
  unlink (file_path (1));
  for (unsigned i = 0; i < 2; ++i) {
    for (unsigned k = 0; k < MARKS && scene != CLEAN; ++k)
      image_set_bit (&images[i], marks[k]);
    images[i].bitmap.events_cleared = LEGS_EVENTS - 10;
    if (scene == UNCLEAN)
      images[i].superblock.resync_offset = 0;
  }
  if (scene == DEGRADED) {
    images[0].superblock.dev_roles[1] = ROLE_FAULTY;
    leg_set_events (1, LEGS_EVENTS - 5);
    legs_options.nlegs = 1;
  }
  legs_store ();
  if (from->bitmap != ARRAY_BITMAP_INTERNAL || from->chunk != CHUNK)
    change_now (&internal, from);
  if (header_lead > 0)
    let_header_lead (from);
}

/* ---- what is left ---- */

struct view {
  int err;
  bool marked[UNITS], all;
  bool needed;
  uint64_t events_cleared;
};

static void
look (const struct place *place, struct view *view)
{
  struct array *array;

  memset (view, 0, sizeof *view);
  choose (place);
  view->err = legs_try_open (&array);
  if (view->err != 0)
    return;
  view->all = true;
  for (unsigned unit = 0; unit < UNITS; ++unit) {
    view->marked[unit] =
        bitmap_range_marked (array->bitmap, unit * CHUNK, CHUNK);
    view->all &= view->marked[unit];
  }
  view->needed = needed (array) > 0;
  view->events_cleared = array->events_cleared;
  array_close (array);
}

/* Bits of a clean and whole array mean nothing, and without a bitmap nobody is
 * brought up by one.
 */
static void
assert_no_bit_lost (const struct view *view, const struct place *place,
                    enum scene scene)
{
  const bool matter =
      scene == UNCLEAN || (scene == DEGRADED && has_bitmap (place));

  for (unsigned k = 0; k < MARKS && matter && view->err == 0; ++k)
    ck_assert_msg (view->marked[marks[k]], "bit %u is lost", marks[k]);
  ck_assert (view->err != 0 || view->needed == (scene == UNCLEAN));
}

/* It opens, and marks no more than it has to. */
static bool
is_good (const struct view *view, const struct place *from,
         const struct place *place, enum scene scene)
{
  unsigned extra = 0;

  if (view->err != 0 || !has_bitmap (place))
    return false;
  for (unsigned unit = 0; unit < UNITS; ++unit)
    extra += view->marked[unit];
  if (scene == CLEAN)
    return true; /* nothing to be seen */
  if (!has_bitmap (from))
    return view->all;
  if (view->all)
    return false;
  if (place->chunk <= CHUNK && from->chunk <= CHUNK)
    ck_assert_uint_eq (extra, MARKS);
  /* Who left with fewer events than that is not brought up by these bits. */
  ck_assert_uint_eq (view->events_cleared, LEGS_EVENTS - 10);
  return true;
}

/* The array goes on with this one, is killed again, and then somebody gives
 * the other one.
 */
static void
go_on (const struct place *place, const struct place *other)
{
  struct array *array;
  struct view view;

  choose (place);
  array = legs_open ();
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, GONE_ON * CHUNK, 0), 0);
  legs_kill (array);
  look (other, &view);
  /* Without a bitmap a single leg has nothing to be told. */
  ck_assert_msg (view.err != 0 || view.marked[GONE_ON]
                     || (!has_bitmap (other) && legs_options.nlegs == 1),
                 "what was given up is believed again");
}

static bool
same (const struct place *a, const struct place *b)
{
  return a->bitmap == b->bitmap && a->file == b->file;
}

/* Some leg's superblock is that of the new file already. */
static bool
switch_began (const struct place *to)
{
  uint8_t events[8];
  uint64_t most = 0;
  int fd;

  if (to->bitmap != ARRAY_BITMAP_FILE)
    return false;
  fd = open (file_path (to->file), O_RDONLY);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (pread (fd, events, sizeof events, 24), sizeof events);
  close (fd);
  for (unsigned i = 0; i < legs_options.nlegs; ++i) {
    leg_load (i, &images[i]);
    most = max_u64 (most, images[i].superblock.events);
  }
  return most >= get_le64 (events);
}

static void
check (enum scene scene, const struct place *from, const struct place *to)
{
  struct view old, new;
  bool good_old, good_new, keep_old;

  look (from, &old);
  look (to, &new);
  assert_no_bit_lost (&old, from, scene);
  assert_no_bit_lost (&new, to, scene);
  good_old = is_good (&old, from, from, scene);
  good_new = is_good (&new, from, to, scene);
  ck_assert_msg (good_old || good_new || !has_bitmap (from) || !has_bitmap (to),
                 "neither opens: %d %d", old.err, new.err);
  if (!has_bitmap (from) || !has_bitmap (to))
    ck_assert (old.err == 0 || new.err == 0);
  if (same (from, to))
    return;
  keep_old = old.err == 0 && (good_old || new.err != 0);
  if (good_new && switch_began (to))
    keep_old = false;
  if (scene != CLEAN || old.err == 0)
    go_on (keep_old ? from : to, keep_old ? to : from);
}

/* ---- tests ---- */

static const struct {
  struct place from, to;
} directions[] = {
  { { ARRAY_BITMAP_INTERNAL, 0, CHUNK }, { ARRAY_BITMAP_NONE, 0, 0 } },
  { { ARRAY_BITMAP_INTERNAL, 0, CHUNK }, { ARRAY_BITMAP_FILE, 0, CHUNK } },
  { { ARRAY_BITMAP_INTERNAL, 0, CHUNK }, { ARRAY_BITMAP_FILE, 0, FINE } },
  { { ARRAY_BITMAP_INTERNAL, 0, CHUNK }, { ARRAY_BITMAP_FILE, 0, COARSE } },
  { { ARRAY_BITMAP_NONE, 0, 0 }, { ARRAY_BITMAP_INTERNAL, 0, CHUNK } },
  { { ARRAY_BITMAP_NONE, 0, 0 }, { ARRAY_BITMAP_FILE, 0, CHUNK } },
  { { ARRAY_BITMAP_FILE, 0, CHUNK }, { ARRAY_BITMAP_INTERNAL, 0, CHUNK } },
  { { ARRAY_BITMAP_FILE, 0, FINE }, { ARRAY_BITMAP_INTERNAL, 0, COARSE } },
  { { ARRAY_BITMAP_FILE, 0, CHUNK }, { ARRAY_BITMAP_NONE, 0, 0 } },
  { { ARRAY_BITMAP_FILE, 0, CHUNK }, { ARRAY_BITMAP_FILE, 1, CHUNK } },
  { { ARRAY_BITMAP_FILE, 0, CHUNK }, { ARRAY_BITMAP_FILE, 0, FINE } },
  /* Not with 0.90 and 1.0, which have no room for two. */
  { { ARRAY_BITMAP_INTERNAL, 0, CHUNK }, { ARRAY_BITMAP_INTERNAL, 0, FINE } },
};
#define DIRECTIONS (sizeof directions / sizeof directions[0])

static bool
has_room (enum superblock_version version, const struct place *from,
          const struct place *to)
{
  return version == SUPERBLOCK_1_1 || version == SUPERBLOCK_1_2
         || from->bitmap != ARRAY_BITMAP_INTERNAL
         || to->bitmap != ARRAY_BITMAP_INTERNAL;
}

/* What is announced, and whether there is a note. */
static void
assert_arrived (const struct place *to)
{
  struct array_info info;
  struct array *array;

  choose (to);
  legs_options.bitmap = has_bitmap (to) && to->bitmap == ARRAY_BITMAP_FILE
                            ? ARRAY_BITMAP_FILE
                            : ARRAY_BITMAP_AUTO;
  array = legs_open ();
  array_get_info (array, &info);
  ck_assert_int_eq (info.bitmap, to->bitmap);
  ck_assert (array->noted == (to->bitmap == ARRAY_BITMAP_FILE));
  ck_assert (!array->note_differs);
  ck_assert (to->chunk == 0 || info.chunksize == to->chunk);
  legs_close (array);
}

/* Nobody's file of these events is believed any more: the kernel counts back by
 * one, and a header may lead by a few.
 */
static void
assert_given_up (unsigned file)
{
  uint8_t header[BITMAP_SUPERBLOCK_BYTES];
  int fd = open (file_path (file), O_RDONLY);

  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (read (fd, header, sizeof header), sizeof header);
  close (fd);
  leg_load (0, &images[0]);
  ck_assert_uint_ge (images[0].superblock.events,
                     get_le64 (header + 24) + (header_lead > 0 ? 1 : 9));
  ck_assert_uint_eq (get_le32 (header + 48), BITMAP_STALE);
}

/* At each write; with versions that differ in nothing that matters here, at
 * each third.
 */
static void
kill_everywhere (enum superblock_version version, enum scene scene,
                 const struct place *from, const struct place *to)
{
  const unsigned step = version == SUPERBLOCK_1_2 ? 1 : 3;
  int status = KILLED;
  struct view view;
  unsigned point;

  for (point = (unsigned)version % step; status == KILLED; point += step) {
    make_scene (version, scene, from);
    status = change_in_child (from, to, point);
    ck_assert_int_ne (status, 1);
    if (status == KILLED)
      check (scene, from, to);
  }
  ck_assert_uint_gt (point, 4);
  assert_arrived (to);
  look (to, &view);
  assert_no_bit_lost (&view, to, scene);
  ck_assert (!has_bitmap (to) || is_good (&view, from, to, scene));
  if (from->bitmap == ARRAY_BITMAP_FILE && !same (from, to))
    assert_given_up (from->file);
}

START_TEST (test_killed)
{
  const unsigned d = (unsigned)_i % DIRECTIONS;
  const enum superblock_version version =
      (enum superblock_version) (_i / (int)DIRECTIONS);
  const struct place *from = &directions[d].from, *to = &directions[d].to;

  if (!has_room (version, from, to)) {
    make_scene (version, UNCLEAN, from);
    ck_assert_int_eq (change_in_child (from, to, UINT32_MAX), 1);
    assert_arrived (from);
  }
  else if (version == SUPERBLOCK_1_2 || version == SUPERBLOCK_0_90
           || from->bitmap == ARRAY_BITMAP_INTERNAL
           || to->bitmap == ARRAY_BITMAP_INTERNAL)
    kill_everywhere (version, UNCLEAN, from, to);
}
END_TEST

START_TEST (test_killed_degraded)
{
  kill_everywhere (SUPERBLOCK_1_2, DEGRADED, &directions[_i].from,
                   &directions[_i].to);
}
END_TEST

START_TEST (test_killed_clean)
{
  kill_everywhere (SUPERBLOCK_1_2, CLEAN, &directions[_i].from,
                   &directions[_i].to);
}
END_TEST

/* The header of the old one leads by one, or by more: after an update that was
 * interrupted on one leg, or on more.
 */
START_TEST (test_killed_header_leads)
{
  static const struct {
    unsigned direction;
    uint64_t lead;
    enum scene scene;
  } cells[] = {
    { 1, 5, CLEAN },   /* internal, file */
    { 9, 1, UNCLEAN }, /* file, file */
    { 9, 5, UNCLEAN },
    { 6, 1, UNCLEAN }, /* file, internal */
  };

  header_lead = cells[_i].lead;
  kill_everywhere (SUPERBLOCK_1_2, cells[_i].scene,
                   &directions[cells[_i].direction].from,
                   &directions[cells[_i].direction].to);
}
END_TEST

/* Announced, but gone: its place is full of zeroes on both legs. */
static void
make_wiped (const struct place *fine)
{
  static const uint8_t zeroes[2 * BITMAP_PAGE_BYTES];

  legs_make_version (SUPERBLOCK_1_2, true, 2, 128 * MiB, fine->chunk);
  for (unsigned i = 0; i < 2; ++i)
    images[i].superblock.resync_offset = 0;
  legs_store ();
  for (unsigned i = 0; i < 2; ++i)
    leg_put (i, internal_offset (i), zeroes, sizeof zeroes);
}

/* Made anew in the same place, of all bits, and killed at each write, which
 * may be torn: what is there is never taken for one that lacks some.
 */
START_TEST (test_wiped_killed)
{
  const struct place fine = { ARRAY_BITMAP_INTERNAL, 0, FINE };
  int status = KILLED, err = -1;
  struct array *array;
  unsigned point;

  for (point = 0; status == KILLED; ++point) {
    make_wiped (&fine);
    legs_options.ignore_bitmap = true;
    tears = _i == 1;
    status = change_in_child (&fine, &fine, point);
    ck_assert_int_ne (status, 1);
    legs_options.ignore_bitmap = false;
    err = legs_try_open (&array);
    if (err != 0)
      continue;
    ck_assert_uint_eq (needed (array), 128 * MiB / FINE);
    array_close (array);
  }
  ck_assert_int_eq (err, 0);
  ck_assert_uint_gt (point, 4);
}
END_TEST

/* Of two pages, of which the second one has no header. */
START_TEST (test_two_pages)
{
  const struct place none = { ARRAY_BITMAP_NONE, 0, 0 };
  const struct place fine = { ARRAY_BITMAP_INTERNAL, 0, FINE };
  const struct place file = { ARRAY_BITMAP_FILE, 0, FINE };
  const struct place *to = _i == 0 ? &fine : &file;
  const uint64_t last = 128 * MiB / FINE - 1;
  struct array *array;

  legs_make_version (SUPERBLOCK_1_2, false, 2, 128 * MiB, CHUNK);
  unlink (file_path (0));
  for (unsigned i = 0; i < 2; ++i)
    images[i].superblock.resync_offset = 0;
  legs_store ();
  change_now (&none, to);
  choose (to);
  array = legs_open ();
  ck_assert_uint_eq (bitmap_page_count (array->bitmap), 2);
  ck_assert (bitmap_range_marked (array->bitmap, last * FINE, FINE));
  ck_assert_uint_eq (needed (array), last + 1);
  legs_close (array);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("change-bitmap");
  TCase *tc = tcase_create ("all"), *pages = tcase_create ("pages");
  TCase *leads = tcase_create ("leads"), *wiped = tcase_create ("wiped");

  tcase_set_timeout (tc, 300);
  tcase_add_loop_test (tc, test_killed, 0,
                       SUPERBLOCK_VERSIONS * (int)DIRECTIONS);
  tcase_add_loop_test (tc, test_killed_degraded, 0, (int)DIRECTIONS);
  tcase_add_loop_test (tc, test_killed_clean, 0, (int)DIRECTIONS);
  suite_add_tcase (suite, tc);
  tcase_set_timeout (pages, 300);
  tcase_add_loop_test (pages, test_two_pages, 0, 2);
  suite_add_tcase (suite, pages);
  tcase_set_timeout (leads, 300);
  tcase_add_loop_test (leads, test_killed_header_leads, 0, 4);
  suite_add_tcase (suite, leads);
  tcase_set_timeout (wiped, 300);
  tcase_add_loop_test (wiped, test_wiped_killed, 0, 2);
  suite_add_tcase (suite, wiped);
  return legs_run (suite);
}
