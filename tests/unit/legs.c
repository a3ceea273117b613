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

struct image images[LEGS_MAX];
struct array_options legs_options;
uint32_t legs_logical_block[LEGS_MAX];

static char folder[] = "/tmp/mdbitmap-test-legs-XXXXXX";
static char paths[LEGS_MAX][sizeof folder + 16];
static int fds[LEGS_MAX]; /* 0: not open */
static unsigned nlegs;
static enum superblock_version version_;
static bool has_bitmap;
/* Bytes, the same on all legs as long as the images are not changed. */
static uint64_t super_start, bitmap_start, log_start, log_end;
static uint64_t data_start, data_end;

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
const struct log legs_log = {
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

unsigned
logged_lines (void)
{
  unsigned n = 0;

  pthread_mutex_lock (&log_lock);
  for (const char *at = lines; *at; at = strchr (at, '\n') + 1)
    n++;
  pthread_mutex_unlock (&log_lock);
  return n;
}

const char *
logged_line (const char *start, const char *text, char *line, size_t size)
{
  bool found = false;

  pthread_mutex_lock (&log_lock);
  for (const char *at = lines; *at && !found; at = strchr (at, '\n') + 1) {
    snprintf (line, size, "%.*s", (int)strcspn (at, "\n"), at);
    found = strncmp (line, start, strlen (start)) == 0 && strstr (line, text);
  }
  pthread_mutex_unlock (&log_lock);
  return found ? line : NULL;
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

void
leg_put (unsigned leg, uint64_t offset, const void *data, size_t n)
{
  ck_assert_int_eq (pwrite (fds[leg], data, n, (off_t)offset), (ssize_t)n);
}

/* As much of it as an image holds. */
static size_t
bitmap_length (const struct image *image)
{
  uint64_t chunks =
      bitmap_chunks (image->superblock.size, image->bitmap.chunksize);
  uint64_t bytes = round_up (bitmap_bytes (chunks), BITMAP_PAGE_BYTES);

  return (size_t)min_u64 (bytes, LEGS_BITS);
}

static void
make_image (unsigned leg, unsigned n, const struct layout *layout)
{
  struct image *image = &images[leg];
  struct superblock *s = &image->superblock;

  memset (image, 0, sizeof *image);
  s->version = version_;
  s->feature_map = has_bitmap ? FEATURE_BITMAP_OFFSET : 0;
  memset (s->set_uuid, 0xa5, sizeof s->set_uuid);
  if (version_ != SUPERBLOCK_0_90) {
    memset (s->device_uuid, (int)leg + 1, sizeof s->device_uuid);
    strcpy (s->set_name, "legs");
  }
  s->ctime = s->utime = superblock_time (1700000000);
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
  s->max_dev = version_ == SUPERBLOCK_0_90 ? 27 : 128;
  for (unsigned i = 0; i < SUPERBLOCK_MAX_DEV; ++i)
    s->dev_roles[i] = (uint16_t)(i < n ? i : ROLE_SPARE);

  image->bitmap.version = BITMAP_VERSION;
  memcpy (image->bitmap.uuid, s->set_uuid, sizeof image->bitmap.uuid);
  image->bitmap.events = LEGS_EVENTS;
  image->bitmap.sync_size = layout->size;
  image->bitmap.chunksize = layout->chunksize;
  /* The clear thread does nothing by itself. */
  image->bitmap.daemon_sleep = 3600;
}

/* Where everything is on each leg. */
static uint64_t
place (uint64_t size, uint32_t chunk, struct layout *layout)
{
  struct format_error error;
  uint64_t sectors;

  size = (size ? size : LEGS_SIZE) / SECTOR_SIZE;
  chunk = chunk ? chunk : LEGS_CHUNK;
  ck_assert_int_eq (
      layout_leg_sectors (version_, has_bitmap, size, chunk, &sectors, &error),
      0);
  ck_assert_int_eq (
      layout_place (version_, has_bitmap, sectors, size, chunk, layout, &error),
      0);
  super_start = layout->super_offset * SECTOR_SIZE;
  bitmap_start =
      (uint64_t)((int64_t)layout->super_offset + layout->bitmap_offset)
      * SECTOR_SIZE;
  log_start = (uint64_t)((int64_t)layout->super_offset + layout->bblog_offset)
              * SECTOR_SIZE;
  log_end = log_start + layout->bblog_size * SECTOR_SIZE;
  data_start = layout->data_offset * SECTOR_SIZE;
  data_end = data_start + layout->size * SECTOR_SIZE;
  return sectors;
}

static void
reset_taps (void)
{
  for (unsigned i = 0; i < LEGS_MAX; ++i) {
    tap_fail (i, 0);
    tap_hold (i, 0);
  }
  tap_hook (NULL);
  tap_reset ();
}

void
legs_make_version (enum superblock_version version, bool bitmap, unsigned n,
                   uint64_t size, uint32_t chunk)
{
  struct layout layout;
  uint64_t sectors;

  ck_assert_uint_le (n, LEGS_MAX);
  nlegs = n;
  version_ = version;
  has_bitmap = bitmap;
  sectors = place (size, chunk, &layout);
  memset (&legs_options, 0, sizeof legs_options);
  memset (legs_logical_block, 0, sizeof legs_logical_block);
  legs_options.nlegs = n;
  legs_options.leg_timeout = 60 * RT_SECOND;
  legs_options.sync_rate_min = MiB;
  legs_options.sync_rate_max = UINT64_MAX;
  for (unsigned i = 0; i < n; ++i) {
    if (fds[i] > 0)
      close (fds[i]);
    snprintf (paths[i], sizeof paths[i], "%s/leg%u", folder, i);
    /* Not the file of an earlier test, which may have left it locked. */
    unlink (paths[i]);
    fds[i] = open (paths[i], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_gt (fds[i], 0);
    ck_assert_int_eq (ftruncate (fds[i], (off_t)(sectors * SECTOR_SIZE)), 0);
    legs_options.legs[i] = paths[i];
    make_image (i, n, &layout);
  }
  pthread_mutex_lock (&log_lock);
  lines[0] = '\0';
  pthread_mutex_unlock (&log_lock);
  debugging = getenv ("LEGS_LOG") != NULL;
  reset_taps ();
}

void
legs_make (unsigned n, uint64_t size, uint32_t chunk)
{
  legs_make_version (SUPERBLOCK_1_2, true, n, size, chunk);
}

void
legs_set_raid_disks (unsigned n)
{
  for (unsigned i = 0; i < nlegs; ++i)
    images[i].superblock.raid_disks = n;
}

void
legs_set_role (unsigned leg, uint16_t role)
{
  for (unsigned i = 0; i < nlegs; ++i)
    images[i].superblock.dev_roles[leg] = role;
}

void
leg_set_events (unsigned leg, uint64_t events)
{
  images[leg].superblock.events = images[leg].bitmap.events = events;
}

void
leg_set_bad_log (unsigned leg, const uint64_t *entries, unsigned n)
{
  uint8_t log[BAD_BLOCKS_LOG_BYTES];

  ck_assert_uint_ge (log_end - log_start, sizeof log);
  images[leg].superblock.feature_map |= FEATURE_BAD_BLOCKS;
  memset (log, 0xff, sizeof log);
  for (unsigned i = 0; i < n; ++i)
    put_le64 (log + 8 * i, entries[i]);
  leg_put (leg, log_start, log, sizeof log);
}

void
leg_get_bad_log (unsigned leg, uint64_t entries[512])
{
  uint8_t log[BAD_BLOCKS_LOG_BYTES];

  get (leg, log_start, log, sizeof log);
  for (unsigned i = 0; i < 512; ++i)
    entries[i] = get_le64 (log + 8 * i);
}

uint64_t
legs_data_sector (void)
{
  return data_start / SECTOR_SIZE;
}

void
legs_store (void)
{
  uint8_t block[SUPERBLOCK_BYTES];

  for (unsigned i = 0; i < nlegs; ++i) {
    struct image *image = &images[i];

    superblock_encode (&image->superblock, block);
    leg_put (i, image->superblock.super_offset * SECTOR_SIZE, block,
             sizeof block);
    if (!has_bitmap)
      continue;
    bitmap_superblock_encode (&image->bitmap, image->bits);
    leg_put (i, bitmap_start, image->bits, bitmap_length (image));
  }
}

void
leg_load (unsigned leg, struct image *image)
{
  uint8_t block[SUPERBLOCK_BYTES];
  struct format_error error;
  struct stat st;
  bool intact;

  ck_assert_int_eq (fstat (fds[leg], &st), 0);
  get (leg, super_start, block, sizeof block);
  ck_assert_int_eq (
      superblock_decode (version_, block, (uint64_t)st.st_size / SECTOR_SIZE,
                         &image->superblock, &intact, &error),
      0);
  if (!has_bitmap)
    return;
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
  leg_put (leg, data_start + offset, block, sizeof block);
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

static uint64_t
hash_leg (unsigned leg, uint64_t hash)
{
  uint64_t *words = malloc (MiB);
  ssize_t n;

  ck_assert_ptr_nonnull (words);
  for (off_t at = 0; (n = pread (fds[leg], words, MiB, at)) > 0; at += n)
    for (size_t i = 0; i < (size_t)n / sizeof words[0]; ++i)
      hash = (hash ^ words[i]) * UINT64_C (0x100000001b3);
  free (words);
  return hash;
}

uint64_t
leg_hash (unsigned leg)
{
  return hash_leg (leg, 1);
}

uint64_t
legs_hash (void)
{
  uint64_t hash = 1;

  for (unsigned leg = 0; leg < nlegs; ++leg)
    hash = hash_leg (leg, hash);
  return hash;
}

uint8_t *
leg_get_all (unsigned leg, size_t *n)
{
  uint8_t *bytes;
  struct stat st;

  ck_assert_int_eq (fstat (fds[leg], &st), 0);
  *n = (size_t)st.st_size;
  bytes = malloc (*n);
  ck_assert_ptr_nonnull (bytes);
  get (leg, 0, bytes, *n);
  return bytes;
}

/* ---- taps ---- */

struct tap {
  struct device *device;
  struct device_ops ops;
  unsigned fail, hold;
  struct io *held[HELD_MAX];
  unsigned nheld;
  unsigned counts[16]; /* by bit of enum op */
};

static pthread_mutex_t tap_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tap taps[LEGS_MAX];
static enum verdict (*hook_) (unsigned leg, enum op op, const struct io *io);

static bool
inside (const struct io *io, uint64_t start, uint64_t end)
{
  return io->offset >= start && io->offset < end;
}

/* Assembly looks for superblocks 0.90 and 1.0 where the data of other versions
 * may lie: no test reads just those blocks of the data.
 */
static bool
other_superblock (const struct io *io)
{
  uint64_t sectors = io->device->limits.size / SECTOR_SIZE;
  uint64_t sector = io->offset / SECTOR_SIZE;

  return io->type == IO_READ && io->length == SUPERBLOCK_BYTES
         && (sector == superblock_sector (SUPERBLOCK_0_90, sectors)
             || sector == superblock_sector (SUPERBLOCK_1_0, sectors));
}

static enum op
classify (const struct io *io)
{
  bool read = io->type == IO_READ;

  if (io->type == IO_FLUSH)
    return OP_FLUSH;
  if (inside (io, super_start, super_start + SUPERBLOCK_BYTES))
    return read ? OP_READ_SUPERBLOCK : OP_WRITE_SUPERBLOCK;
  if (inside (io, log_start, log_end))
    return read ? OP_READ_BAD_LOG : OP_WRITE_BAD_LOG;
  if (has_bitmap && inside (io, bitmap_start, bitmap_start + LEGS_BITS))
    return read ? OP_READ_BITMAP : OP_WRITE_BITMAP;
  if (inside (io, data_start, data_end) && !other_superblock (io))
    return read ? OP_READ_DATA : OP_WRITE_DATA;
  return read ? OP_READ_OTHER : OP_WRITE_OTHER;
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

  /* What was freed may be used again. */
  for (unsigned i = 0; i < LEGS_MAX && err == 0; ++i)
    if (taps[i].device == *device)
      taps[i].device = NULL;
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
  struct io *held[HELD_MAX];
  unsigned n;

  /* Those that are held now, and none that a hook holds because of them. */
  pthread_mutex_lock (&tap_lock);
  tap->hold = 0;
  n = tap->nheld;
  memcpy (held, tap->held, n * sizeof held[0]);
  tap->nheld = 0;
  pthread_mutex_unlock (&tap_lock);
  for (unsigned i = 0; i < n; ++i)
    io_done (held[i], perform (leg, held[i], held[i]->length));
}

unsigned
tap_count (unsigned leg, unsigned ops)
{
  unsigned n = 0;

  pthread_mutex_lock (&tap_lock);
  for (unsigned i = 0; i < 16; ++i)
    if (ops >> i & 1)
      n += taps[leg].counts[i];
  pthread_mutex_unlock (&tap_lock);
  return n;
}

void
tap_reset (void)
{
  pthread_mutex_lock (&tap_lock);
  for (unsigned i = 0; i < LEGS_MAX; ++i)
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
  err = array_open (&legs_options, &legs_log, array);
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
  for (unsigned i = 0; i < LEGS_MAX; ++i)
    tap_fail (i, OP_WRITES | OP_FLUSH);
  array_stop (array);
  array_close (array);
  for (unsigned i = 0; i < LEGS_MAX; ++i)
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

void
assert_refused (const char *why)
{
  struct array *array;

  legs_store ();
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert_ptr_null (array);
  ck_assert_msg (logged (why), "'%s' has not been logged, but: %s", why, lines);
}

struct array *
assert_opens (unsigned mask)
{
  struct array *array;

  legs_store ();
  array = legs_open ();
  for (unsigned i = 0; i < legs_options.nlegs; ++i)
    ck_assert_msg (leg_in_sync (array, i) == (mask >> i & 1), "leg %u: %s", i,
                   lines);
  return array;
}

void
assert_opens_and_close (unsigned mask)
{
  array_close (assert_opens (mask));
}

uint64_t
needed (struct array *array)
{
  struct array_info info;

  array_get_info (array, &info);
  return info.chunks_needed;
}

void
assert_fate (struct array *array, unsigned leg, enum array_leg_fate fate,
             const char *why)
{
  struct array_leg_info info;

  array_get_leg_info (array, leg, &info);
  ck_assert_str_eq (array_leg_fate_string (info.fate),
                    array_leg_fate_string (fate));
  ck_assert_msg (strstr (info.why, why), "'%s' is not in '%s'", why, info.why);
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
  for (unsigned i = 0; i < LEGS_MAX; ++i) {
    snprintf (path, sizeof path, "%s/leg%u", folder, i);
    unlink (path);
  }
  rmdir (folder);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
