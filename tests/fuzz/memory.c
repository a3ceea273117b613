/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* See memory.h.  Linked instead of device/aio*.c and helpers.c.
 *
 * A leg is a table of pages that exist once something but zeroes was written
 * to them, so that a large leg costs little.  The array's threads come here
 * too: one lock guards everything, and is not held when an operation ends.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "device/aio.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory.h"

#define PAGE        4096
#define PAGES       16384 /* of a leg: 64 MiB */
#define ALLOWED_MAX 4

const char *const memory_names[MEMORY_LEGS] = { "leg0", "leg1", "leg2",
                                                "leg3" };

struct area {
  uint64_t first, end;
};

struct leg {
  uint64_t size;
  uint8_t *pages[PAGES];
  uint16_t existing[PAGES]; /* which pages there are */
  unsigned nexisting;
  struct memory_traits traits;
  struct area allowed[ALLOWED_MAX];
  unsigned nallowed;
  uint64_t writes;
};

struct aio {
  const struct log *log;
};

struct memory_device {
  struct device device; /* must be first */
  unsigned leg;
  bool opened_read_only;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct leg legs[MEMORY_LEGS];
static enum memory_phase phase;
static uint64_t errors;
static unsigned devices, aios; /* that exist */

/* ---- for the test ---- */

static void
empty (struct leg *leg)
{
  while (leg->nexisting > 0) {
    uint8_t **page = &leg->pages[leg->existing[--leg->nexisting]];

    free (*page);
    *page = NULL;
  }
}

void
memory_reset (uint64_t size)
{
  memory_check_closed ();
  for (unsigned i = 0; i < MEMORY_LEGS; ++i) {
    struct leg *leg = &legs[i];

    empty (leg);
    leg->traits = (struct memory_traits){
      .logical_block = SECTOR_SIZE,
      .bad_read = UINT64_MAX,
      .bad_write = UINT64_MAX,
    };
    leg->nallowed = 0;
    leg->writes = 0;
    memory_resize (i, size);
  }
  phase = MEMORY_LOOK;
  errors = 0;
}

struct memory_traits *
memory_traits (unsigned leg)
{
  return &legs[leg].traits;
}

void
memory_resize (unsigned leg, uint64_t size)
{
  assert (size <= (uint64_t)PAGES * PAGE);
  legs[leg].size = size;
}

uint64_t
memory_size (unsigned leg)
{
  return legs[leg].size;
}

void
memory_set_phase (enum memory_phase new_phase)
{
  pthread_mutex_lock (&lock);
  phase = new_phase;
  pthread_mutex_unlock (&lock);
}

void
memory_allow (unsigned leg, uint64_t first, uint64_t end)
{
  assert (legs[leg].nallowed < ALLOWED_MAX);
  legs[leg].allowed[legs[leg].nallowed++] = (struct area){ first, end };
}

uint64_t
memory_errors (void)
{
  uint64_t n;

  pthread_mutex_lock (&lock);
  n = errors;
  pthread_mutex_unlock (&lock);
  return n;
}

void
memory_check_closed (void)
{
  REQUIRE (devices == 0, "%u devices are still open", devices);
  REQUIRE (aios == 0, "%u aio were not freed", aios);
}

/* ---- bytes ---- */

static void
load (const struct leg *leg, uint64_t offset, uint8_t *data, uint64_t n)
{
  uint64_t part;

  assert (offset <= leg->size && n <= leg->size - offset);
  for (; n > 0; offset += part, data += part, n -= part) {
    const uint8_t *page = leg->pages[offset / PAGE];

    part = min_u64 (n, PAGE - offset % PAGE);
    if (page)
      memcpy (data, page + offset % PAGE, part);
    else
      memset (data, 0, part);
  }
}

/* data NULL: zeroes. */
static void
store (struct leg *leg, uint64_t offset, const uint8_t *data, uint64_t n)
{
  uint64_t part;

  assert (offset <= leg->size && n <= leg->size - offset);
  for (; n > 0; offset += part, n -= part) {
    unsigned number = (unsigned)(offset / PAGE);
    uint8_t **page = &leg->pages[number];

    part = min_u64 (n, PAGE - offset % PAGE);
    if (!*page && data && !bytes_are_zero (data, part)) {
      *page = calloc (1, PAGE);
      REQUIRE (*page != NULL, "out of memory");
      leg->existing[leg->nexisting++] = (uint16_t)number;
    }
    if (*page && data)
      memcpy (*page + offset % PAGE, data, part);
    else if (*page)
      memset (*page + offset % PAGE, 0, part);
    if (data)
      data += part;
  }
}

void
memory_load (unsigned leg, uint64_t offset, void *data, uint64_t n)
{
  pthread_mutex_lock (&lock);
  load (&legs[leg], offset, data, n);
  pthread_mutex_unlock (&lock);
}

void
memory_store (unsigned leg, uint64_t offset, const void *data, uint64_t n)
{
  pthread_mutex_lock (&lock);
  store (&legs[leg], offset, data, n);
  pthread_mutex_unlock (&lock);
}

/* ---- the rules ---- */

static void
check_write (const struct memory_device *m, const struct leg *leg,
             const struct io *io)
{
  uint64_t end = io->offset + io->length;

  REQUIRE (phase == MEMORY_WRITE, "leg %u: %llu to %llu written too early",
           m->leg, (unsigned long long)io->offset, (unsigned long long)end);
  REQUIRE (!m->opened_read_only, "leg %u: opened only to read, but written",
           m->leg);
  for (unsigned i = 0; i < leg->nallowed; ++i)
    if (io->offset >= leg->allowed[i].first && end <= leg->allowed[i].end)
      return;
  fuzz_die (__FILE__, __LINE__, "allowed",
            "leg %u: %llu to %llu written, outside of all areas", m->leg,
            (unsigned long long)io->offset, (unsigned long long)end);
}

static int
perform (struct memory_device *m, const struct io *io)
{
  struct leg *leg = &legs[m->leg];
  const struct memory_traits *traits = &leg->traits;

  switch (io->type) {
  case IO_READ:
    if (traits->bad_read - io->offset < io->length)
      return -EIO;
    load (leg, io->offset, io->data, io->length);
    return 0;
  case IO_FLUSH:
    REQUIRE (phase != MEMORY_LOOK, "leg %u: flushed too early", m->leg);
    return 0;
  case IO_WRITE:
  case IO_ZERO:
    check_write (m, leg, io);
    if (leg->writes++ >= traits->bad_write)
      return -EIO;
    store (leg, io->offset, io->type == IO_ZERO ? NULL : io->data, io->length);
    return 0;
  }
  return -EINVAL;
}

/* ---- the device ---- */

static void
memory_submit (struct io_batch *batch, struct io **ios, unsigned n)
{
  (void)batch;
  for (unsigned i = 0; i < n; ++i) {
    int result;

    pthread_mutex_lock (&lock);
    result = perform ((struct memory_device *)ios[i]->device, ios[i]);
    if (result != 0)
      errors++;
    pthread_mutex_unlock (&lock);
    io_done (ios[i], result);
  }
}

static void
memory_close (struct device *device)
{
  pthread_mutex_lock (&lock);
  devices--;
  pthread_mutex_unlock (&lock);
  free (device);
}

static const struct device_ops memory_ops = {
  .kind = "memory",
  .submit = memory_submit,
  .close = memory_close,
};

/* ---- aio.h ---- */

struct aio *
aio_new (const struct log *log)
{
  struct aio *aio = rt_alloc (sizeof *aio);

  if (!aio)
    return NULL;
  aio->log = log;
  aios++;
  return aio;
}

int
aio_start (struct aio *aio)
{
  (void)aio;
  return 0;
}

void
aio_poll (struct aio *aio)
{
  (void)aio;
}

void
aio_alarm (struct aio *aio, bool on)
{
  (void)aio;
  (void)on;
}

struct device *
aio_stuck (struct aio *aio)
{
  (void)aio;
  return NULL;
}

void
aio_free (struct aio *aio)
{
  if (!aio)
    return;
  REQUIRE (devices == 0, "%u devices outlive what they share", devices);
  aios--;
  rt_free (aio);
}

static unsigned
find_leg (const char *path)
{
  unsigned leg = 0;

  while (leg < MEMORY_LEGS && strcmp (path, memory_names[leg]) != 0)
    leg++;
  REQUIRE (leg < MEMORY_LEGS, "%s was opened", path);
  return leg;
}

static int
may_open (struct aio *aio, const char *path, const struct leg *leg,
          unsigned flags)
{
  if (leg->traits.missing) {
    log_error (aio->log, "leg %s: cannot be opened", path);
    return -ENOENT;
  }
  if (leg->traits.busy) {
    log_error (aio->log, "leg %s: in use", path);
    return -EBUSY;
  }
  if (leg->traits.read_only && !(flags & (AIO_READ_ONLY | AIO_TRY_WRITE))) {
    log_error (aio->log, "leg %s: cannot be opened for writing", path);
    return -EACCES;
  }
  return 0;
}

int
aio_open (struct aio *aio, const char *path, unsigned flags, uint64_t timeout,
          struct device **device, bool *created)
{
  const struct leg *leg = &legs[find_leg (path)];
  struct memory_device *m;
  int err;

  REQUIRE (!(flags & AIO_CREATE), "leg %s: assembly would create it", path);
  if (created)
    *created = false;
  err = may_open (aio, path, leg, flags);
  if (err != 0)
    return err;
  m = calloc (1, sizeof *m);
  REQUIRE (m != NULL, "out of memory");
  m->device.ops = &memory_ops;
  m->device.name = (char *)(uintptr_t)memory_names[leg - legs];
  m->device.limits.size = leg->size;
  m->device.limits.logical_block = leg->traits.logical_block;
  m->device.timeout = timeout;
  m->device.log = aio->log;
  m->device.leg = -1;
  m->leg = (unsigned)(leg - legs);
  m->opened_read_only = (flags & AIO_READ_ONLY) || leg->traits.read_only;
  /* With AIO_READ_ONLY alone: that the library keeps to it is for check_write
   * to see, not for the batch to hide.
   */
  m->device.limits.read_only = leg->traits.read_only;
  *device = &m->device;
  devices++;
  return 0;
}
