/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* See legs.h.  One lock, tap_lock, guards the taps; it is never held while an
 * operation is done or ended.  Images and options belong to the main thread.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/aio.h"
#include "format/layout.h"
#include "legs.h"

#define HELD_MAX 16

extern int
__real_aio_open (struct aio *aio, const char *path, unsigned flags,
                 uint64_t timeout, struct device **device, bool *created);
extern int
__wrap_aio_open (struct aio *aio, const char *path, unsigned flags,
                 uint64_t timeout, struct device **device, bool *created);

struct image images[LEGS];
struct array_options legs_options;
uint32_t legs_logical_block[LEGS];

static char folder[] = "/tmp/mdbitmap-test-legs-XXXXXX";
static char paths[LEGS][sizeof folder + 16];
static int fds[LEGS] = { -1, -1, -1 };
static unsigned nlegs;
static uint64_t bitmap_start, data_start; /* bytes, the same on all legs */

/* ---- the log ---- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[64 * 1024];

static void
sink (void *opaque, enum log_level level, const char *line)
{
  size_t used;

  (void)opaque;
  if (getenv ("LEGS_LOG"))
    fprintf (stderr, "log: %s\n", line);
  if (level == LOG_LEVEL_DEBUG)
    return;
  pthread_mutex_lock (&log_lock);
  used = strlen (lines);
  snprintf (lines + used, sizeof lines - used, "%s\n", line);
  pthread_mutex_unlock (&log_lock);
}

static int debugging;
static const struct log log_ = {
  .sink = sink,
  .debug = { &debugging, &debugging, &debugging, &debugging, &debugging },
};

bool
logged (const char *text)
{
  bool found;

  pthread_mutex_lock (&log_lock);
  found = strstr (lines, text) != NULL;
  pthread_mutex_unlock (&log_lock);
  return found;
}

/* ---- files ---- */

const char *
leg_path (unsigned leg)
{
  return paths[leg];
}

static void
get (unsigned leg, uint64_t offset, void *data, size_t n)
{
  ck_assert_int_eq (pread (fds[leg], data, n, (off_t)offset), (ssize_t)n);
}

static void
put (unsigned leg, uint64_t offset, const void *data, size_t n)
{
  ck_assert_int_eq (pwrite (fds[leg], data, n, (off_t)offset), (ssize_t)n);
}

static size_t
bitmap_length (const struct image *image)
{
  uint64_t chunks =
      bitmap_chunks (image->superblock.size, image->bitmap.chunksize);
  uint64_t bytes = round_up (bitmap_bytes (chunks), BITMAP_PAGE_BYTES);

  ck_assert_uint_le (bytes, LEGS_BITS);
  return (size_t)bytes;
}

static void
make_image (unsigned leg, unsigned n, const struct layout *layout)
{
  struct image *image = &images[leg];
  struct superblock_1 *s = &image->superblock;

  memset (image, 0, sizeof *image);
  s->feature_map = FEATURE_BITMAP_OFFSET;
  memset (s->set_uuid, 0xa5, sizeof s->set_uuid);
  memset (s->device_uuid, (int)leg + 1, sizeof s->device_uuid);
  strcpy (s->set_name, "legs");
  s->ctime = s->utime = superblock_1_time (1700000000);
  s->level = 1;
  s->size = layout->size;
  s->raid_disks = n;
  s->bitmap_offset = layout->bitmap_offset;
  s->data_offset = layout->data_offset;
  s->data_size = layout->data_size;
  s->super_offset = layout->super_offset;
  s->dev_number = leg;
  s->bblog_offset = layout->bblog_offset;
  s->bblog_size = layout->bblog_size;
  s->events = LEGS_EVENTS;
  s->resync_offset = RESYNC_CLEAN;
  s->max_dev = 128;
  for (unsigned i = 0; i < s->max_dev; ++i)
    s->dev_roles[i] = (uint16_t)(i < n ? i : ROLE_SPARE);

  image->bitmap.version = BITMAP_VERSION;
  memcpy (image->bitmap.uuid, s->set_uuid, sizeof image->bitmap.uuid);
  image->bitmap.events = LEGS_EVENTS;
  image->bitmap.sync_size = layout->size;
  image->bitmap.chunksize = layout->chunksize;
  /* The clear thread does nothing by itself. */
  image->bitmap.daemon_sleep = 3600;
}

void
legs_make (unsigned n, uint64_t size, uint32_t chunk)
{
  struct layout layout;
  struct format_error error;
  uint64_t sectors;

  ck_assert_uint_le (n, LEGS);
  nlegs = n;
  size = (size ? size : LEGS_SIZE) / SECTOR_SIZE;
  chunk = chunk ? chunk : LEGS_CHUNK;
  ck_assert_int_eq (layout_1_2_leg (size, chunk, &sectors, &error), 0);
  ck_assert_int_eq (layout_1_2 (sectors, size, chunk, &layout, &error), 0);
  bitmap_start = (uint64_t)((int64_t)layout.super_offset + layout.bitmap_offset)
                 * SECTOR_SIZE;
  data_start = layout.data_offset * SECTOR_SIZE;
  memset (&legs_options, 0, sizeof legs_options);
  memset (legs_logical_block, 0, sizeof legs_logical_block);
  legs_options.nlegs = n;
  legs_options.leg_timeout = 60 * RT_SECOND;
  legs_options.sync_rate_min = MiB;
  legs_options.sync_rate_max = UINT64_MAX;
  for (unsigned i = 0; i < n; ++i) {
    if (fds[i] >= 0)
      close (fds[i]);
    snprintf (paths[i], sizeof paths[i], "%s/leg%u", folder, i);
    /* Not the file of an earlier test, which may have left it locked. */
    unlink (paths[i]);
    fds[i] = open (paths[i], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_ge (fds[i], 0);
    ck_assert_int_eq (ftruncate (fds[i], (off_t)(sectors * SECTOR_SIZE)), 0);
    legs_options.legs[i] = paths[i];
    make_image (i, n, &layout);
  }
  pthread_mutex_lock (&log_lock);
  lines[0] = '\0';
  pthread_mutex_unlock (&log_lock);
  debugging = getenv ("LEGS_LOG") != NULL;
  for (unsigned i = 0; i < LEGS; ++i) {
    tap_fail (i, 0);
    tap_hold (i, 0);
  }
  tap_hook (NULL);
  tap_reset ();
}

void
legs_store (void)
{
  uint8_t block[SUPERBLOCK_1_BYTES];

  for (unsigned i = 0; i < nlegs; ++i) {
    struct image *image = &images[i];

    superblock_1_encode (&image->superblock, block);
    put (i, image->superblock.super_offset * SECTOR_SIZE, block, sizeof block);
    bitmap_superblock_encode (&image->bitmap, image->bits);
    put (i, bitmap_start, image->bits, bitmap_length (image));
  }
}

void
leg_load (unsigned leg, struct image *image)
{
  uint8_t block[SUPERBLOCK_1_BYTES];
  struct format_error error;
  struct stat st;
  bool intact;

  ck_assert_int_eq (fstat (fds[leg], &st), 0);
  get (leg, SUPERBLOCK_1_2_SECTOR * SECTOR_SIZE, block, sizeof block);
  ck_assert_int_eq (superblock_1_decode (block, SUPERBLOCK_1_2_SECTOR,
                                         (uint64_t)st.st_size / SECTOR_SIZE,
                                         &image->superblock, &intact, &error),
                    0);
  get (leg, bitmap_start, image->bits, BITMAP_PAGE_BYTES);
  ck_assert_int_eq (
      bitmap_superblock_decode (image->bits, &image->bitmap, &intact, &error),
      0);
  get (leg, bitmap_start, image->bits, bitmap_length (image));
}

void
legs_load (void)
{
  for (unsigned i = 0; i < nlegs; ++i)
    leg_load (i, &images[i]);
}

void
image_set_bit (struct image *image, uint64_t chunk)
{
  image->bits[bitmap_bit_byte (chunk)] |= bitmap_bit_mask (chunk);
}

bool
image_bit (const struct image *image, uint64_t chunk)
{
  return image->bits[bitmap_bit_byte (chunk)] & bitmap_bit_mask (chunk);
}

void
leg_set_data (unsigned leg, uint64_t offset, uint8_t byte)
{
  uint8_t block[BLOCK];

  memset (block, byte, sizeof block);
  put (leg, data_start + offset, block, sizeof block);
}

void
leg_get_data (unsigned leg, uint64_t offset, void *data, size_t n)
{
  get (leg, data_start + offset, data, n);
}

uint8_t
leg_data (unsigned leg, uint64_t offset)
{
  uint8_t block[BLOCK];

  leg_get_data (leg, offset, block, sizeof block);
  ck_assert_mem_eq (block + 1, block, sizeof block - 1); /* all the same */
  return block[0];
}

uint64_t
legs_hash (void)
{
  uint64_t *words = malloc (MiB);
  uint64_t hash = 1;
  ssize_t n;

  ck_assert_ptr_nonnull (words);
  for (unsigned leg = 0; leg < nlegs; ++leg)
    for (off_t at = 0; (n = pread (fds[leg], words, MiB, at)) > 0; at += n)
      for (size_t i = 0; i < (size_t)n / sizeof words[0]; ++i)
        hash = (hash ^ words[i]) * UINT64_C (0x100000001b3);
  free (words);
  return hash;
}

/* ---- taps ---- */

struct tap {
  struct device *device;
  struct device_ops ops;
  unsigned fail, hold;
  struct io *held[HELD_MAX];
  unsigned nheld;
  unsigned counts[8]; /* by bit of enum op */
};

static pthread_mutex_t tap_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tap taps[LEGS];
static enum verdict (*hook_) (unsigned leg, enum op op, const struct io *io);

static enum op
classify (const struct io *io)
{
  bool read = io->type == IO_READ;

  if (io->type == IO_FLUSH)
    return OP_FLUSH;
  if (io->offset >= data_start)
    return read ? OP_READ_DATA : OP_WRITE_DATA;
  if (io->offset >= bitmap_start)
    return read ? OP_READ_BITMAP : OP_WRITE_BITMAP;
  return read ? OP_READ_SUPERBLOCK : OP_WRITE_SUPERBLOCK;
}

/* Do the first length bytes of it.  0 or -errno. */
static int
perform (unsigned leg, const struct io *io, uint64_t length)
{
  static const uint8_t zeroes[BLOCK];
  uint64_t done = 0;
  ssize_t n = 1;

  while (done < length && n > 0) {
    off_t at = (off_t)(io->offset + done);

    if (io->type == IO_READ)
      n = pread (fds[leg], io->data + done, length - done, at);
    else if (io->type == IO_WRITE)
      n = pwrite (fds[leg], io->data + done, length - done, at);
    else
      n = pwrite (fds[leg], zeroes, min_u64 (length - done, BLOCK), at);
    if (n > 0)
      done += (uint64_t)n;
  }
  return done == length ? 0 : -EIO;
}

static enum verdict
judge (struct tap *tap, unsigned leg, enum op op, const struct io *io)
{
  enum verdict verdict = TAP_PASS;
  enum verdict (*hook) (unsigned leg, enum op op, const struct io *io);

  pthread_mutex_lock (&tap_lock);
  tap->counts[__builtin_ctz (op)]++;
  hook = hook_;
  pthread_mutex_unlock (&tap_lock);
  if (hook)
    verdict = hook (leg, op, io);
  pthread_mutex_lock (&tap_lock);
  if (verdict == TAP_PASS && (tap->fail & op))
    verdict = TAP_FAIL;
  if (verdict == TAP_PASS && (tap->hold & op))
    verdict = TAP_HOLD;
  pthread_mutex_unlock (&tap_lock);
  return verdict;
}

static void
tap_submit (struct io_batch *batch, struct io **ios, unsigned n)
{
  unsigned leg = 0;

  (void)batch;
  while (taps[leg].device != ios[0]->device)
    leg++;
  for (unsigned i = 0; i < n; ++i)
    switch (judge (&taps[leg], leg, classify (ios[i]), ios[i])) {
    case TAP_PASS:
      io_done (ios[i], perform (leg, ios[i], ios[i]->length));
      break;
    case TAP_TEAR:
      (void)perform (leg, ios[i], SECTOR_SIZE);
      io_done (ios[i], -EIO);
      break;
    case TAP_FAIL:
      io_done (ios[i], -EIO);
      break;
    case TAP_NO_MEMORY:
      io_done (ios[i], -ENOMEM);
      break;
    case TAP_HOLD:
      pthread_mutex_lock (&tap_lock);
      ck_assert_uint_lt (taps[leg].nheld, HELD_MAX);
      taps[leg].held[taps[leg].nheld++] = ios[i];
      pthread_mutex_unlock (&tap_lock);
      break;
    }
}

int
__wrap_aio_open (struct aio *aio, const char *path, unsigned flags,
                 uint64_t timeout, struct device **device, bool *created)
{
  int err = __real_aio_open (aio, path, flags, timeout, device, created);

  for (unsigned i = 0; i < nlegs && err == 0; ++i)
    if (strcmp (path, paths[i]) == 0) {
      taps[i].device = *device;
      taps[i].ops = *(*device)->ops;
      taps[i].ops.submit = tap_submit;
      taps[i].ops.reap = NULL;
      taps[i].ops.give_up = NULL;
      (*device)->ops = &taps[i].ops;
      if (legs_logical_block[i] != 0)
        (*device)->limits.logical_block = legs_logical_block[i];
    }
  return err;
}

void
tap_fail (unsigned leg, unsigned ops)
{
  pthread_mutex_lock (&tap_lock);
  taps[leg].fail = ops;
  pthread_mutex_unlock (&tap_lock);
}

void
tap_hold (unsigned leg, unsigned ops)
{
  pthread_mutex_lock (&tap_lock);
  taps[leg].hold = ops;
  pthread_mutex_unlock (&tap_lock);
}

void
tap_release (unsigned leg)
{
  struct tap *tap = &taps[leg];

  pthread_mutex_lock (&tap_lock);
  tap->hold = 0;
  while (tap->nheld > 0) {
    struct io *io = tap->held[--tap->nheld];

    pthread_mutex_unlock (&tap_lock);
    io_done (io, perform (leg, io, io->length));
    pthread_mutex_lock (&tap_lock);
  }
  pthread_mutex_unlock (&tap_lock);
}

unsigned
tap_count (unsigned leg, unsigned ops)
{
  unsigned n = 0;

  pthread_mutex_lock (&tap_lock);
  for (unsigned i = 0; i < 8; ++i)
    if (ops >> i & 1)
      n += taps[leg].counts[i];
  pthread_mutex_unlock (&tap_lock);
  return n;
}

void
tap_reset (void)
{
  pthread_mutex_lock (&tap_lock);
  for (unsigned i = 0; i < LEGS; ++i)
    memset (taps[i].counts, 0, sizeof taps[i].counts);
  pthread_mutex_unlock (&tap_lock);
}

void tap_hook (enum verdict (*hook) (unsigned leg, enum op op,
                                     const struct io *io))
{
  pthread_mutex_lock (&tap_lock);
  hook_ = hook;
  pthread_mutex_unlock (&tap_lock);
}

/* ---- arrays ---- */

int
legs_try_open (struct array **array)
{
  uint64_t before = legs_hash ();
  unsigned writes = 0;
  int err;

  *array = NULL;
  for (unsigned i = 0; i < nlegs; ++i)
    writes += tap_count (i, OP_WRITES | OP_FLUSH);
  err = array_open (&legs_options, &log_, array);
  ck_assert_uint_eq (legs_hash (), before);
  for (unsigned i = 0; i < nlegs; ++i)
    writes -= tap_count (i, OP_WRITES | OP_FLUSH);
  ck_assert_uint_eq (writes, 0);
  return err;
}

struct array *
legs_open (void)
{
  struct array *array;
  int err = legs_try_open (&array);

  ck_assert_msg (err == 0, "array_open: %d: %s", err, lines);
  ck_assert_int_eq (array_start (array), 0);
  return array;
}

struct array *
legs_activate (void)
{
  struct array *array = legs_open ();

  ck_assert_int_eq (array_activate (array), 0);
  return array;
}

void
legs_kill (struct array *array)
{
  for (unsigned i = 0; i < LEGS; ++i)
    tap_fail (i, OP_WRITES | OP_FLUSH);
  array_stop (array);
  array_close (array);
  for (unsigned i = 0; i < LEGS; ++i)
    tap_fail (i, 0);
}

void
legs_close (struct array *array)
{
  array_stop (array);
  array_close (array);
}

int
block_write (struct array *array, uint8_t byte, uint64_t offset, unsigned flags)
{
  uint8_t block[BLOCK];

  memset (block, byte, sizeof block);
  return array_write (array, block, sizeof block, offset, flags);
}

int
block_read (struct array *array, uint8_t *byte, uint64_t offset)
{
  uint8_t block[BLOCK];
  int err = array_read (array, block, sizeof block, offset);

  if (err != 0)
    return err;
  ck_assert_mem_eq (block + 1, block, sizeof block - 1); /* all the same */
  *byte = block[0];
  return 0;
}

unsigned
in_sync (struct array *array)
{
  struct array_info info;

  array_get_info (array, &info);
  return info.in_sync;
}

bool
leg_in_sync (struct array *array, unsigned leg)
{
  bool yes;

  rt_mutex_lock (&array->lock);
  yes = array->legs[leg].state == LEG_IN_SYNC;
  rt_mutex_unlock (&array->lock);
  return yes;
}

int
clear_pass (struct array *array)
{
  int err;

  rt_mutex_lock (&array->lock);
  err = array_clear_pass (array, true);
  rt_mutex_unlock (&array->lock);
  return err;
}

/* ---- main ---- */

int
legs_run (Suite *suite)
{
  SRunner *runner = srunner_create (suite);
  char path[sizeof paths[0]];
  int failed;

  if (!mkdtemp (folder)) {
    perror (folder);
    srunner_free (runner);
    return EXIT_FAILURE;
  }
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  for (unsigned i = 0; i < LEGS; ++i) {
    snprintf (path, sizeof path, "%s/leg%u", folder, i);
    unlink (path);
  }
  rmdir (folder);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
