/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Making arrays: which superblocks a leg carries.
 *
 * All four places are looked at, since a leg may carry an old one elsewhere
 * than where the new one goes: whatever has the magic is found, so that it can
 * be destroyed, else two would validate later.  Of several that are right and
 * say that they belong where they are, that of the array made last is the
 * leg's, as for assembly.
 *
 * No lock; nothing is written.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/create.h"
#include "base/bytes.h"

/* What was found in one place. */
struct found {
  struct superblock *superblock;
  int err; /* of decoding */
  bool counts;
  struct format_error error;
};

/* Reads block by block; most legs are looked at once in their life. */
static int
look (const struct creation *creation, const struct new_leg *leg,
      enum superblock_version version, struct buffer *block,
      struct found *found)
{
  const uint64_t sectors = leg->device->limits.size / SECTOR_SIZE;
  const uint64_t sector = superblock_sector (version, sectors);
  bool intact = false;
  int err;

  found->err = -ENOENT;
  if (sector == UINT64_MAX)
    return 0;
  err = device_run (leg->device, IO_READ, 0, sector * SECTOR_SIZE,
                    SUPERBLOCK_BYTES, block);
  if (err < 0) {
    log_error (creation->log, "leg %s: reading the superblock: %s", leg->path,
               strerror (-err));
    return err;
  }
  found->superblock = rt_alloc (sizeof *found->superblock);
  if (!found->superblock)
    return -ENOMEM;
  found->err = superblock_decode (version, block->data, sectors,
                                  found->superblock, &intact, &found->error);
  found->counts =
      found->err == 0 || (intact && found->superblock->super_offset == sector);
  return 0;
}

static int
refuse_both (const struct creation *creation, const struct new_leg *leg,
             enum superblock_version a, enum superblock_version b)
{
  log_error (creation->log,
             "leg %s: it has superblocks of versions %s and %s, and nothing "
             "tells which is true; remove the other one with mdadm "
             "--zero-superblock --metadata=VERSION",
             leg->path, superblock_version_string (a),
             superblock_version_string (b));
  return -EINVAL;
}

/* One that cannot be used. */
static int
refuse_superblock (const struct creation *creation, const struct new_leg *leg,
                   const struct format_error *error)
{
  if (creation->options->keep_existing)
    return create_refuse (creation, leg, error);
  log_error (creation->log,
             "leg %s: found a superblock (which cannot be used: %s: %s, "
             "expected %s), which would be overwritten; take another leg, "
             "or --force",
             leg->path, error->field, error->found, error->expected);
  return -EINVAL;
}

/* Which of them is the leg's; the rest goes. */
static int
choose (const struct creation *creation, struct new_leg *leg,
        struct found found[SUPERBLOCK_VERSIONS])
{
  const struct superblock *valid[SUPERBLOCK_VERSIONS] = { NULL };
  enum superblock_version chosen, rival;
  struct found *best = NULL, *bad = NULL;
  int err;

  for (unsigned v = SUPERBLOCK_VERSIONS; v-- > 0;) {
    if (found[v].err != -ENOENT && !found[v].counts && !bad)
      bad = &found[v];
    if (found[v].counts)
      valid[v] = found[v].superblock;
  }
  err = superblock_choose (valid, &chosen, &rival);
  if (err != -ENOENT)
    best = &found[chosen];
  if (!creation->options->force) {
    if (err == -EINVAL)
      return refuse_both (creation, leg, chosen, rival);
    if (best && best->err < 0)
      return refuse_superblock (creation, leg, &best->error);
    /* Beside a good one it may be of the array's data. */
    if (bad && !(best && creation->options->keep_existing))
      return refuse_superblock (creation, leg, &bad->error);
  }
  if (best && best->err == 0) {
    leg->superblock = best->superblock;
    best->superblock = NULL;
  }
  return 0;
}

int
create_probe (const struct creation *creation, struct new_leg *leg)
{
  struct found found[SUPERBLOCK_VERSIONS] = { 0 };
  struct buffer *block = buffer_new (SUPERBLOCK_BYTES);
  int err = block ? 0 : -ENOMEM;

  for (unsigned v = 0; v < SUPERBLOCK_VERSIONS && err == 0; ++v) {
    err = look (creation, leg, (enum superblock_version)v, block, &found[v]);
    leg->has_magic[v] = found[v].err != -ENOENT;
  }
  if (err == 0)
    err = choose (creation, leg, found);
  for (unsigned v = 0; v < SUPERBLOCK_VERSIONS; ++v)
    rt_free (found[v].superblock);
  buffer_unref (block);
  return err;
}
