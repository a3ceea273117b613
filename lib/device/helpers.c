/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A small pool of threads for system calls that block: fallocate,
 * BLKZEROOUT, and the watchdog's look at a disk.
 *
 * Nobody can interrupt such a call on a disk that does not answer.  So
 * nobody waits for a helper without a deadline of their own, and a stuck
 * helper costs its owner, one device, one of its HELPERS_PER_OWNER threads
 * and no other device anything.
 *
 * helpers->lock guards everything here, struct helper included, except
 * helper->thread, which is used by helpers_add and helpers_free alone.  Jobs
 * run without the lock.
 *
 * Invariants:
 *   1. A job in the queue whose owner has a turn free has an idle thread
 *      that was woken, or a thread that is starting, unless all HELPERS_MAX
 *      threads are busy.
 *   2. At most HELPERS_PER_OWNER helpers have the same owner.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>

#include "device/helpers.h"

/* How long helpers_free waits for jobs that are about to return. */
#define LAST_JOBS (2 * RT_SECOND)

struct helper {
  struct rt_thread thread;
  struct helpers *pool;
  struct helper *next;
  const void *owner; /* of the job it runs; NULL: none */
};

struct helpers {
  struct rt_mutex lock;
  struct rt_cond wake; /* something to do, or stopping */
  struct rt_cond idle; /* a helper has finished a job; only when stopping */
  struct helper *all;
  unsigned n;    /* threads */
  unsigned busy; /* of them, in a job */
  struct helper_job *first, **last;
  bool stopping;
};

struct helpers *
helpers_new (void)
{
  struct helpers *helpers = rt_calloc (1, sizeof *helpers);

  if (!helpers)
    return NULL;
  rt_mutex_init (&helpers->lock);
  rt_cond_init (&helpers->wake);
  rt_cond_init (&helpers->idle);
  helpers->last = &helpers->first;
  return helpers;
}

/* How many helpers work for the owner.  Lock. */
static unsigned
working_for (const struct helpers *helpers, const void *owner)
{
  unsigned n = 0;

  for (const struct helper *h = helpers->all; h; h = h->next)
    n += h->owner == owner;
  return n;
}

/* The oldest job whose owner has a turn free, taken off the queue, or NULL.
 * Lock.
 */
static struct helper_job *
take_job (struct helpers *helpers)
{
  struct helper_job **p, *job;

  for (p = &helpers->first; (job = *p) != NULL; p = &job->next) {
    if (working_for (helpers, job->owner) >= HELPERS_PER_OWNER)
      continue;
    *p = job->next;
    if (!job->next)
      helpers->last = p;
    return job;
  }
  return NULL;
}

static void
helper_main (void *opaque)
{
  struct helper *helper = opaque;
  struct helpers *helpers = helper->pool;
  struct helper_job *job;

  rt_mutex_lock (&helpers->lock);
  for (;;) {
    job = take_job (helpers);
    if (!job) {
      if (helpers->stopping)
        break;
      rt_cond_wait (&helpers->wake, &helpers->lock);
      continue;
    }
    helper->owner = job->owner;
    helpers->busy++;
    rt_mutex_unlock (&helpers->lock);

    job->run (job);

    rt_mutex_lock (&helpers->lock);
    helper->owner = NULL;
    helpers->busy--;
    if (helpers->stopping)
      rt_cond_broadcast (&helpers->idle);
  }
  rt_mutex_unlock (&helpers->lock);
}

/* Lock. */
static int
add_thread (struct helpers *helpers)
{
  struct helper *helper;
  int err;

  if (helpers->n == HELPERS_MAX)
    return -EAGAIN;
  helper = rt_calloc (1, sizeof *helper);
  if (!helper)
    return -ENOMEM;
  helper->pool = helpers;
  err = rt_thread_create (&helper->thread, "mdb-helper", helper_main, helper);
  if (err < 0) {
    rt_free (helper);
    return err;
  }
  helper->next = helpers->all;
  helpers->all = helper;
  helpers->n++;
  return 0;
}

/* How many of the queued jobs could run now if there were threads.  Lock. */
static unsigned
runnable (const struct helpers *helpers)
{
  unsigned n = 0, turns;

  for (const struct helper_job *job = helpers->first; job; job = job->next) {
    turns = working_for (helpers, job->owner);
    for (const struct helper_job *j = helpers->first; j != job; j = j->next)
      turns += j->owner == job->owner;
    n += turns < HELPERS_PER_OWNER;
  }
  return n;
}

int
helpers_add (struct helpers *helpers, struct helper_job *job)
{
  struct helper_job **tail;
  int err = 0;

  assert (job->owner != NULL);
  rt_mutex_lock (&helpers->lock);
  assert (!helpers->stopping);
  job->next = NULL;
  tail = helpers->last;
  *tail = job;
  helpers->last = &job->next;
  /* Idle threads that were woken for a job but have not come to it yet still
   * count as idle, and their jobs as queued.
   */
  if (runnable (helpers) > helpers->n - helpers->busy)
    err = add_thread (helpers);
  /* A thread that works for the same owner comes to the job when it is
   * through; those in the hands of other owners may never be.
   */
  if (err < 0 && working_for (helpers, job->owner) == 0) {
    *tail = NULL;
    helpers->last = tail;
  }
  else {
    err = 0;
    rt_cond_signal (&helpers->wake);
  }
  rt_mutex_unlock (&helpers->lock);
  return err;
}

bool
helpers_free (struct helpers *helpers)
{
  uint64_t deadline = rt_now () + LAST_JOBS;
  struct helper *helper;

  rt_mutex_lock (&helpers->lock);
  helpers->stopping = true;
  rt_cond_broadcast (&helpers->wake);
  while (helpers->busy > 0 || helpers->first)
    if (!rt_cond_wait_until (&helpers->idle, &helpers->lock, deadline)
        && rt_now () >= deadline)
      break;
  if (helpers->busy > 0 || helpers->first) {
    rt_mutex_unlock (&helpers->lock);
    return false;
  }
  rt_mutex_unlock (&helpers->lock);

  while ((helper = helpers->all) != NULL) {
    helpers->all = helper->next;
    rt_thread_join (&helper->thread);
    rt_free (helper);
  }
  assert (helpers->first == NULL);
  rt_cond_destroy (&helpers->idle);
  rt_cond_destroy (&helpers->wake);
  rt_mutex_destroy (&helpers->lock);
  rt_free (helpers);
  return true;
}
