/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Threads that wait longer than they should.
 *
 *   The alarm wakes threads whose operations are overdue: an io_getevents with
 *   a timeout costs a timer in the kernel, for each request, and hardly one
 *   in a million is needed.  So they wait without, and aio_poll looks once a
 *   second who has waited too long, and gives its io_context the events that
 *   it waits for.
 *   The watchdog finds devices that hold a thread inside io_submit, where it
 *   can not be woken.
 *
 * What threads say of themselves for both is atomic.  The rest is under
 * aio->lock.
 *
 * Invariant: a thread waits without a timeout only if it has said until when
 * before it saw that the alarm was on.  So whoever switches that off, and
 * looks afterwards, finds it.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "device/aio_context.h"

/* ---- the alarm ---- */

void
aio_set_alarm (struct aio_thread *thread, unsigned events, uint64_t deadline)
{
  rt_atomic_set (&thread->events, events);
  rt_atomic_set (&thread->asleep_in,
                 events > 0 ? (uintptr_t)thread->context->id : 0);
  rt_atomic_set (&thread->until, deadline);
}

/* A read of nothing, which has ended when io_submit returns: an event. */
static bool
add_event (const struct aio *aio, io_context_t id)
{
  struct iocb iocb, *iocbs[1] = { &iocb };

  io_prep_pread (&iocb, aio->null, NULL, 0, 0);
  iocb.data = NULL;
  return io_submit (id, 1, iocbs) == 1;
}

/* Events wake the thread, now or, if it has just woken up, from its next wait.
 * False: there was no room.  aio->lock, without which no io_context changes
 * hands, and until aio_free none is destroyed.
 */
static bool
wake (const struct aio *aio, struct aio_thread *thread)
{
  uint64_t id = rt_atomic_get (&thread->asleep_in);

  if (id == 0)
    return eventfd_write (thread->wake, AIO_ALARM_RINGS) == 0;
  for (uint64_t n = rt_atomic_get (&thread->events); n > 0; --n)
    if (!add_event (aio, (io_context_t)(uintptr_t)id))
      return false;
  return true;
}

bool
aio_ring_alarm (struct aio *aio, uint64_t now)
{
  bool all = true;
  uint64_t until;

  rt_mutex_lock (&aio->lock);
  for (struct aio_thread *t = aio->threads; t; t = t->next) {
    until = rt_atomic_get (&t->until);
    if (until != 0 && until <= now)
      all &= wake (aio, t);
  }
  rt_mutex_unlock (&aio->lock);
  return all;
}

void
aio_try_alarm (struct aio *aio, io_context_t id)
{
  struct timespec none = { 0 };
  struct io_event event;

  aio->null = open ("/dev/null", O_RDONLY | O_CLOEXEC);
  if (aio->null == -1)
    return;
  if (add_event (aio, id) && io_getevents (id, 1, 1, &event, &none) == 1
      && !event.data)
    return;
  close (aio->null);
  aio->null = -1;
}

void
aio_alarm (struct aio *aio, bool on)
{
  if (aio->null == -1)
    return;
  rt_atomic_set (&aio->alarm, on);
  while (!on && !aio_ring_alarm (aio, RT_NEVER))
    aio_nap ();
}

/* ---- the watchdog ---- */

/* The order matters: whoever reads since, then the devices, then the same
 * since again has read the devices of that call, which has not returned.
 */
void
aio_watch (struct aio_thread *thread, struct io *const *ios, unsigned n)
{
  uint64_t known[AIO_WATCHED], device;
  unsigned k = 0, j;

  for (unsigned i = 0; i < n; ++i) {
    device = (uintptr_t)ios[i]->device;
    for (j = 0; j < k && known[j] != device; ++j)
      ;
    if (j < k || k == AIO_WATCHED)
      continue;
    rt_atomic_set (&thread->watched[k], device);
    known[k++] = device;
  }
  if (k < AIO_WATCHED)
    rt_atomic_set (&thread->watched[k], 0);
  rt_atomic_set (&thread->since, rt_now ());
}

void
aio_unwatch (struct aio_thread *thread)
{
  rt_atomic_set (&thread->since, 0);
}

struct probe {
  struct helper_job job;
  struct aio_device *device;
  struct buffer *buffer;
};

/* In a helper.  What it read, or an error, does not matter: the disk has
 * answered.
 */
static void
probe_run (struct helper_job *job)
{
  struct probe *probe = (struct probe *)job;
  struct aio_device *device = probe->device;
  struct aio *aio = device->aio;
  ssize_t r;

  r = pread (device->fd, probe->buffer->data,
             device->device.limits.logical_block, 0);
  (void)r;
  buffer_unref (probe->buffer);
  rt_free (probe);

  rt_mutex_lock (&aio->lock);
  device->probe_since = 0;
  device->probe_good = rt_now ();
  /* Only now may the device be closed. */
  rt_atomic_sub (&device->device.abandoned, 1);
  rt_mutex_unlock (&aio->lock);
}

/* True if the device has not answered a look for longer than its timeout.
 * If it is not being looked at, that begins now.  aio->lock.
 */
static bool
probe_overdue (struct aio_device *device, uint64_t now)
{
  struct aio *aio = device->aio;
  uint64_t timeout = device->device.timeout;
  struct probe *probe;

  if (device->probe_since != 0)
    return now - device->probe_since > timeout;
  if (device->probe_good != 0 && now - device->probe_good <= timeout)
    return false;
  probe = rt_calloc (1, sizeof *probe);
  if (!probe)
    return false;
  probe->buffer = buffer_new (device->device.limits.logical_block);
  probe->device = device;
  probe->job.owner = device;
  probe->job.run = probe_run;
  /* A look that does not come back keeps the device from being closed and
   * from being taken back, as an abandoned operation does.
   */
  rt_atomic_add (&device->device.abandoned, 1);
  device->probe_since = now;
  if (!probe->buffer || helpers_add (aio->helpers, &probe->job) < 0) {
    rt_atomic_sub (&device->device.abandoned, 1);
    device->probe_since = 0;
    buffer_unref (probe->buffer);
    rt_free (probe);
  }
  return false;
}

/* The device that keeps this thread in the kernel, or NULL.  aio->lock, which
 * aio_close takes too: while the thread is seen to be inside a call, the
 * devices of that call exist.
 */
static struct device *
stuck_on (const struct aio_thread *thread, uint64_t now)
{
  struct aio_device *devices[AIO_WATCHED], *found = NULL;
  uint64_t since = rt_atomic_get (&thread->since);
  unsigned n;

  if (since == 0 || since > now)
    return NULL;
  for (n = 0; n < AIO_WATCHED; ++n) {
    devices[n] = (void *)(uintptr_t)rt_atomic_get (&thread->watched[n]);
    if (!devices[n])
      break;
  }
  if (rt_atomic_get (&thread->since) != since)
    return NULL;

  for (unsigned i = 0; i < n; ++i) {
    if (now - since <= devices[i]->device.timeout)
      continue;
    /* With several devices in one call, ask each of them something else. */
    if (n == 1 || probe_overdue (devices[i], now))
      found = devices[i];
  }
  return found ? &found->device : NULL;
}

struct device *
aio_stuck (struct aio *aio)
{
  struct device *device = NULL;
  uint64_t now = rt_now ();

  rt_mutex_lock (&aio->lock);
  for (struct aio_thread *t = aio->threads; t && !device; t = t->next)
    device = stuck_on (t, now);
  rt_mutex_unlock (&aio->lock);
  return device;
}
