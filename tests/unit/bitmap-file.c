/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* See bitmap-file.h.  One lock, lock_, guards the contents and the tap; it is
 * never held while an operation is ended.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bitmap-file.h"

#define HELD_MAX 16

#define WRAP(type, function, arguments) extern type __wrap_##function arguments
WRAP (int, file_open,
      (struct aio *, const char *, enum file_io, bool, uint64_t,
       struct file **));
WRAP (int, file_check_place,
      (struct file *, const struct device *const *, unsigned));
WRAP (int, file_read, (struct file *, uint64_t, uint64_t, struct buffer *));
WRAP (int, file_prepare, (struct file *, uint64_t));
WRAP (int, file_check, (struct file *));
WRAP (void, file_close, (struct file *));

struct opened {
  struct file file; /* first */
  struct file_extent whole;
  struct device device;
  bool read_only, prepared;
};

struct file_image file;

static struct opened *
to_opened (struct device *device)
{
  return (struct opened *)((char *)device - offsetof (struct opened, device));
}

static pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
static uint8_t durable[LEGS_BITS], now[LEGS_BITS];
static unsigned fail_, hold_;
static unsigned counts[8]; /* by bit of enum file_op */
static bool flush_failed;  /* of whoever has it open */
static struct io *held[HELD_MAX];
static unsigned nheld;
static enum verdict (*hook_) (enum file_op op, const struct io *io);

/* ---- contents ---- */

void
bits_make_version (enum superblock_version version, unsigned n, uint64_t size,
                   uint32_t chunk)
{
  legs_make_version (version, false, n, size, chunk);
  memset (&file, 0, sizeof file);
  memset (durable, 0, sizeof durable);
  file.header = images[0].bitmap;
  file.header.chunksize = chunk ? chunk : LEGS_CHUNK;
  file.size = round_up (bitmap_bytes (bitmap_chunks (images[0].superblock.size,
                                                     file.header.chunksize)),
                        BITMAP_PAGE_BYTES);
  ck_assert_uint_le (file.size, LEGS_BITS);
  file.logical_block = SECTOR_SIZE;
  legs_options.bitmap = ARRAY_BITMAP_FILE;
  legs_options.bitmap_file = FILE_PATH;
  bits_fail (0);
  bits_hold (0);
  bits_hook (NULL);
  memset (counts, 0, sizeof counts);
}

void
bits_make (unsigned n, uint64_t size, uint32_t chunk)
{
  bits_make_version (SUPERBLOCK_1_2, n, size, chunk);
}

void
bits_store (void)
{
  bitmap_superblock_encode (&file.header, file.bits);
  memcpy (durable, file.bits, sizeof durable);
  memcpy (now, durable, sizeof now);
  legs_store ();
}

void
bits_look (void)
{
  struct format_error error;
  bool intact;

  pthread_mutex_lock (&lock_);
  memcpy (file.bits, durable, sizeof durable);
  pthread_mutex_unlock (&lock_);
  ck_assert_int_eq (
      bitmap_superblock_decode (file.bits, &file.header, &intact, &error), 0);
}

void
bits_load (void)
{
  bits_look ();
  legs_load ();
}

void
bits_set (uint64_t chunk)
{
  file.bits[bitmap_bit_byte (chunk)] |= bitmap_bit_mask (chunk);
}

bool
bits_get (uint64_t chunk)
{
  return file.bits[bitmap_bit_byte (chunk)] & bitmap_bit_mask (chunk);
}

void
bits_poke (uint64_t offset, const void *data, size_t n)
{
  memcpy (durable + offset, data, n);
  memcpy (now + offset, data, n);
}

void
bits_poke_cache (uint64_t offset, const void *data, size_t n)
{
  memcpy (now + offset, data, n);
}

uint64_t
bits_hash (void)
{
  uint64_t hash = file.size;

  for (size_t i = 0; i < sizeof now; ++i)
    hash = (hash ^ now[i]) * UINT64_C (0x100000001b3) + durable[i];
  return hash;
}

void
bits_crash (void)
{
  memcpy (now, durable, sizeof now);
}

void
bits_kill (struct array *array)
{
  bits_fail (FILE_OP_ALL);
  legs_kill (array);
  bits_crash ();
  bits_fail (0);
}

/* ---- the tap ---- */

void
bits_fail (unsigned ops)
{
  pthread_mutex_lock (&lock_);
  fail_ = ops;
  pthread_mutex_unlock (&lock_);
}

void
bits_hold (unsigned ops)
{
  pthread_mutex_lock (&lock_);
  hold_ = ops;
  pthread_mutex_unlock (&lock_);
}

unsigned
bits_count (unsigned ops)
{
  unsigned n = 0;

  pthread_mutex_lock (&lock_);
  for (unsigned i = 0; i < 8; ++i)
    if (ops >> i & 1)
      n += counts[i];
  pthread_mutex_unlock (&lock_);
  return n;
}

void
bits_forget_counts (void)
{
  pthread_mutex_lock (&lock_);
  memset (counts, 0, sizeof counts);
  pthread_mutex_unlock (&lock_);
}

void bits_hook (enum verdict (*hook) (enum file_op op, const struct io *io))
{
  pthread_mutex_lock (&lock_);
  hook_ = hook;
  pthread_mutex_unlock (&lock_);
}

static enum verdict
judge (enum file_op op, const struct io *io)
{
  enum verdict (*hook) (enum file_op op, const struct io *io);
  enum verdict verdict = TAP_PASS;

  pthread_mutex_lock (&lock_);
  counts[__builtin_ctz (op)]++;
  hook = hook_;
  pthread_mutex_unlock (&lock_);
  if (hook)
    verdict = hook (op, io);
  pthread_mutex_lock (&lock_);
  if (verdict == TAP_PASS && (fail_ & op))
    verdict = TAP_FAIL;
  if (verdict == TAP_PASS && (hold_ & op))
    verdict = TAP_HOLD;
  pthread_mutex_unlock (&lock_);
  return verdict;
}

/* ---- the device ---- */

/* The first length bytes of it.  0 or -errno. */
static int
perform (const struct io *io, uint64_t length)
{
  int err = 0;

  pthread_mutex_lock (&lock_);
  if (io->type == IO_WRITE) {
    ck_assert_uint_le (io->offset + length, sizeof now);
    memcpy (now + io->offset, io->data, length);
    if (io->flags & IO_FUA)
      memcpy (durable + io->offset, io->data, length);
  }
  else if (flush_failed)
    err = -EIO;
  else
    memcpy (durable, now, sizeof durable);
  pthread_mutex_unlock (&lock_);
  return err;
}

/* The kernel drops what it could not write, and says so once. */
static void
lose_cache (bool final)
{
  pthread_mutex_lock (&lock_);
  flush_failed = final;
  memcpy (now, durable, sizeof now);
  pthread_mutex_unlock (&lock_);
}

static void
submit_one (struct io *io)
{
  enum file_op op = io->type == IO_FLUSH ? FILE_OP_FLUSH
                    : io->offset == 0    ? FILE_OP_HEADER
                                         : FILE_OP_PAGES;

  ck_assert (io->type == IO_WRITE || io->type == IO_FLUSH);
  switch (judge (op, io)) {
  case TAP_PASS:
    io_done (io, perform (io, io->length));
    break;
  case TAP_TEAR:
    (void)perform (io, SECTOR_SIZE);
    io_done (io, -EIO);
    break;
  case TAP_FAIL:
    if (op == FILE_OP_FLUSH)
      lose_cache (to_opened (io->device)->file.io == FILE_PAGECACHE);
    io_done (io, -EIO);
    break;
  case TAP_NO_MEMORY:
    io_done (io, -ENOMEM);
    break;
  case TAP_HOLD:
    pthread_mutex_lock (&lock_);
    ck_assert_uint_lt (nheld, HELD_MAX);
    held[nheld++] = io;
    pthread_mutex_unlock (&lock_);
    break;
  }
}

static void
submit (struct io_batch *batch, struct io **ios, unsigned n)
{
  (void)batch;
  for (unsigned i = 0; i < n; ++i)
    submit_one (ios[i]);
}

void
bits_release (void)
{
  struct io *ios[HELD_MAX];
  unsigned n;

  pthread_mutex_lock (&lock_);
  hold_ = 0;
  n = nheld;
  memcpy (ios, held, n * sizeof ios[0]);
  nheld = 0;
  pthread_mutex_unlock (&lock_);
  for (unsigned i = 0; i < n; ++i)
    io_done (ios[i], perform (ios[i], ios[i]->length));
}

static const struct device_ops ops = { .kind = "test", .submit = submit };

/* ---- what the array calls ---- */

int
__wrap_file_open (struct aio *aio, const char *path, enum file_io io,
                  bool read_only, uint64_t timeout, struct file **filep)
{
  struct opened *f;

  (void)aio;
  ck_assert_ptr_eq (path, legs_options.bitmap_file);
  if (file.open_error != 0) {
    log_error (&legs_log, "bitmap file %s: cannot be opened", path);
    return file.open_error;
  }
  f = calloc (1, sizeof *f);
  ck_assert_ptr_nonnull (f);
  f->file.io = io;
  f->file.path = path;
  f->file.size = file.size;
  f->read_only = read_only;
  f->device.ops = &ops;
  f->device.name = (char *)FILE_PATH;
  f->device.limits.size = LEGS_BITS;
  f->device.limits.logical_block = file.logical_block;
  f->device.timeout = timeout;
  f->device.log = &legs_log;
  f->device.leg = -1;
  if (!read_only)
    f->file.device = &f->device;
  flush_failed = false;
  *filep = &f->file;
  return 0;
}

int
__wrap_file_check_place (struct file *f, const struct device *const *legs,
                         unsigned n)
{
  ck_assert_uint_eq (n, legs_options.nlegs);
  for (unsigned i = 0; i < n; ++i)
    ck_assert_int_eq (legs[i]->leg, (int)i);
  if (file.place_error != 0)
    log_error (&legs_log, "bitmap file %s: lies on a leg", f->path);
  return file.place_error;
}

int
__wrap_file_read (struct file *f, uint64_t offset, uint64_t length,
                  struct buffer *buffer)
{
  ck_assert_uint_eq (offset % SECTOR_SIZE + length % SECTOR_SIZE, 0);
  ck_assert_uint_le (length, buffer->size);
  if (judge (FILE_OP_READ, NULL) != TAP_PASS)
    return -EIO;
  memset (buffer->data, 0, length);
  pthread_mutex_lock (&lock_);
  if (offset < f->size)
    memcpy (buffer->data, now + offset, min_u64 (length, f->size - offset));
  pthread_mutex_unlock (&lock_);
  return 0;
}

int
__wrap_file_prepare (struct file *f, uint64_t length)
{
  struct opened *o = (struct opened *)f;

  ck_assert (!o->read_only);
  ck_assert_uint_le (length, round_up (f->size, BITMAP_PAGE_BYTES));
  if (judge (FILE_OP_PREPARE, NULL) != TAP_PASS)
    return -EIO;
  f->size = round_up (f->size, BITMAP_PAGE_BYTES);
  o->whole.length = f->size;
  f->extents = &o->whole;
  f->nextents = 1;
  o->prepared = true;
  return 0;
}

int
__wrap_file_check (struct file *f)
{
  ck_assert (((struct opened *)f)->prepared);
  return judge (FILE_OP_CHECK, NULL) == TAP_PASS ? 0 : -ESTALE;
}

void
__wrap_file_close (struct file *f)
{
  if (f && device_abandoned (&((struct opened *)f)->device) == 0)
    free (f);
}

/* ---- arrays ---- */

void
images_set_dirty (void)
{
  for (unsigned i = 0; i < legs_options.nlegs; ++i)
    images[i].superblock.resync_offset = 0;
}

int
bits_try_open (struct array **array)
{
  uint64_t before = bits_hash ();
  int err = legs_try_open (array);

  ck_assert_uint_eq (bits_hash (), before);
  ck_assert_uint_eq (
      bits_count (FILE_OP_WRITES | FILE_OP_FLUSH | FILE_OP_PREPARE), 0);
  return err;
}

struct array *
bits_open (void)
{
  struct array *array;

  ck_assert_int_eq (bits_try_open (&array), 0);
  ck_assert_int_eq (array_start (array), 0);
  return array;
}

struct array_info
info_of (struct array *array)
{
  struct array_info i;

  array_get_info (array, &i);
  return i;
}

void
wait_for_resync (struct array *array)
{
  while (needed (array) > 0)
    usleep (1000);
}

/* ---- dying ---- */

static unsigned writes_left;
static bool tore; /* the first write of the file that is not done is torn */
static pthread_mutex_t left_lock = PTHREAD_MUTEX_INITIALIZER;

static enum verdict
spend (void)
{
  enum verdict verdict = TAP_PASS;

  pthread_mutex_lock (&left_lock);
  if (writes_left == 0)
    verdict = TAP_FAIL;
  else
    writes_left--;
  pthread_mutex_unlock (&left_lock);
  return verdict;
}

static enum verdict
die_leg (unsigned leg, enum op op, const struct io *io)
{
  (void)leg, (void)io;
  return op & (OP_WRITES | OP_FLUSH) ? spend () : TAP_PASS;
}

static enum verdict
die_file (enum file_op op, const struct io *io)
{
  bool torn = writes_left == 0 && !tore;
  enum verdict verdict = TAP_PASS;

  (void)io;
  if (op & (FILE_OP_WRITES | FILE_OP_FLUSH))
    verdict = spend ();
  if (verdict == TAP_PASS)
    return verdict;
  tore = true;
  return torn && (op & FILE_OP_WRITES) ? TAP_TEAR : TAP_FAIL;
}

void
bits_die_after (unsigned writes)
{
  writes_left = writes;
  tore = false;
  tap_hook (die_leg);
  bits_hook (die_file);
}

bool
bits_died (void)
{
  return writes_left == 0;
}

void
bits_revive (struct array *array)
{
  bits_kill (array);
  tap_hook (NULL);
  bits_hook (NULL);
}
