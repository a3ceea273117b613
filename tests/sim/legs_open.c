/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Opening the disks of a world, as device/aio.c opens what the user names.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "sim/legs_internal.h"

struct aio *
aio_new (const struct log *log)
{
  struct aio *aio = rt_calloc (1, sizeof *aio);

  if (aio)
    aio->log = log;
  return aio;
}

int
aio_start (struct aio *aio)
{
  aio->started = true;
  return 0;
}

/* As if the enders were joined.  The sleep is long enough for them to have
 * turns, whatever the policy.
 */
void
aio_free (struct aio *aio)
{
  const struct legs *legs = legs_of (world);

  while (aio && legs->ended.n + legs->telling > 0)
    fiber_sleep (UINT64_C (1000000));
  rt_free (aio);
}

bool
legs_in_use (const struct legs *legs, unsigned number, bool read_only)
{
  return legs->opened[number] < 0 || (legs->opened[number] > 0 && !read_only);
}

static struct leg_device *
new_device (struct aio *aio, const char *path, uint64_t timeout)
{
  struct leg_device *leg = rt_calloc (1, sizeof *leg);
  size_t n = strlen (path) + 1;

  if (!leg)
    return NULL;
  leg->aio = aio;
  leg->device.ops = &legs_device_ops;
  leg->device.timeout = timeout;
  leg->device.log = aio->log;
  leg->device.leg = -1;
  leg->device.name = rt_alloc (n);
  if (!leg->device.name) {
    rt_free (leg);
    return NULL;
  }
  memcpy (leg->device.name, path, n);
  return leg;
}

struct leg_device *
legs_open (struct aio *aio, const char *name, unsigned number, bool read_only,
           uint64_t timeout)
{
  struct legs *legs = legs_of (world);
  struct leg_device *leg = new_device (aio, name, timeout);

  if (!leg)
    return NULL;
  leg->legs = legs;
  leg->leg = number;
  leg->disk = legs->disks[number];
  leg->device.limits = (struct device_limits){
    .size = round_down (disk_size (leg->disk), leg->disk->limits.logical_block),
    .logical_block = leg->disk->limits.logical_block,
    .read_only = read_only,
    .fast_zero = true,
  };
  legs->opened[number] = read_only ? legs->opened[number] + 1 : -1;
  return leg;
}

/* The number of the leg, or -errno with a line. */
static int
find_leg (const struct aio *aio, const struct legs *legs, const char *path,
          bool read_only)
{
  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    if (strcmp (path, legs_path (i)) != 0 || !legs->disks[i])
      continue;
    if (legs_in_use (legs, i, read_only)) {
      log_error (aio->log, "leg %s: somebody else uses it", path);
      return -EBUSY;
    }
    return (int)i;
  }
  log_error (aio->log, "leg %s: there is no such file or device", path);
  return -ENOENT;
}

int
aio_open (struct aio *aio, const char *path, unsigned flags, uint64_t timeout,
          struct device **result, bool *created)
{
  bool read_only = flags & AIO_READ_ONLY;
  struct leg_device *leg;
  int n = find_leg (aio, legs_of (world), path, read_only);

  if (created)
    *created = false;
  if (n < 0)
    return n;
  leg = legs_open (aio, path, (unsigned)n, read_only, timeout);
  if (!leg)
    return -ENOMEM;
  *result = &leg->device;
  return 0;
}
