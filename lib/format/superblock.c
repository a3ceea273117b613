/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What is common to all versions of the md superblock, and which code knows
 * the rest.  Pure: no I/O, no allocation, no state.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "format/superblock.h"
#include "format/superblock_090.h"
#include "format/superblock_1.h"

static const char *const names[SUPERBLOCK_VERSIONS] = {
  [SUPERBLOCK_0_90] = "0.90",
  [SUPERBLOCK_1_0] = "1.0",
  [SUPERBLOCK_1_1] = "1.1",
  [SUPERBLOCK_1_2] = "1.2",
};

const char *
superblock_version_string (enum superblock_version version)
{
  return names[version];
}

bool
superblock_version_parse (const char *text, enum superblock_version *version)
{
  for (unsigned i = 0; i < SUPERBLOCK_VERSIONS; ++i)
    if (strcmp (text, names[i]) == 0) {
      *version = (enum superblock_version)i;
      return true;
    }
  return false;
}

uint64_t
superblock_sector (enum superblock_version version, uint64_t leg_sectors)
{
  const uint64_t sectors = SUPERBLOCK_BYTES / SECTOR_SIZE;

  switch (version) {
  case SUPERBLOCK_0_90:
    return leg_sectors < SUPERBLOCK_090_RESERVED
               ? UINT64_MAX
               : round_down (leg_sectors, SUPERBLOCK_090_RESERVED)
                     - SUPERBLOCK_090_RESERVED;
  case SUPERBLOCK_1_0:
    return leg_sectors < 2 * sectors
               ? UINT64_MAX
               : round_down (leg_sectors - 2 * sectors, sectors);
  case SUPERBLOCK_1_1:
    return leg_sectors < sectors ? UINT64_MAX : 0;
  case SUPERBLOCK_1_2:
    return leg_sectors < 2 * sectors ? UINT64_MAX : sectors;
  }
  return UINT64_MAX;
}

int
superblock_decode (enum superblock_version version,
                   const uint8_t block[SUPERBLOCK_BYTES], uint64_t leg_sectors,
                   struct superblock *superblock, bool *intact,
                   struct format_error *error)
{
  if (version == SUPERBLOCK_0_90)
    return superblock_090_decode (block, leg_sectors, superblock, intact,
                                  error);
  return superblock_1_decode (version, block, leg_sectors, superblock, intact,
                              error);
}

void
superblock_encode (const struct superblock *superblock,
                   uint8_t block[SUPERBLOCK_BYTES])
{
  if (superblock->version == SUPERBLOCK_0_90)
    superblock_090_encode (superblock, block);
  else
    superblock_1_encode (superblock, block);
}

void
superblock_adopt_roles (struct superblock *superblock,
                        const struct superblock *table)
{
  assert (superblock->version == table->version);
  superblock->max_dev = table->max_dev;
  memcpy (superblock->dev_roles, table->dev_roles,
          sizeof superblock->dev_roles);
  if (superblock->version == SUPERBLOCK_0_90)
    superblock_090_adopt_roles (superblock, table);
}

uint32_t
superblock_length (const struct superblock *superblock)
{
  return superblock->version == SUPERBLOCK_0_90 ? SUPERBLOCK_BYTES
                                                : 256 + 2 * superblock->max_dev;
}

uint32_t
superblock_checksum (const struct superblock *superblock)
{
  return superblock->version == SUPERBLOCK_0_90
             ? superblock_090_checksum (superblock->block)
             : superblock_1_checksum (superblock->block, superblock->max_dev);
}

unsigned
superblock_role (const struct superblock *superblock, uint32_t dev_number)
{
  return dev_number < superblock->max_dev ? superblock->dev_roles[dev_number]
                                          : ROLE_SPARE;
}

/* ---- ctime and utime ---- */

#define SECONDS_MASK (((uint64_t)1 << 40) - 1) /* above are microseconds */

uint64_t
superblock_time (int64_t seconds)
{
  return (uint64_t)seconds & SECONDS_MASK;
}

int64_t
superblock_seconds (uint64_t packed)
{
  return (int64_t)(packed & SECONDS_MASK);
}

/* ---- the UUID ---- */

/* 0.90 has four numbers, in the order of the machine. */
const char *
superblock_uuid (enum superblock_version version, const uint8_t uuid[16],
                 char text[FORMAT_UUID_TEXT])
{
  uint8_t swapped[16];

  if (version != SUPERBLOCK_0_90)
    return format_uuid (uuid, text);
  for (unsigned i = 0; i < sizeof swapped; ++i)
    swapped[i] = uuid[i ^ 3];
  return format_uuid (swapped, text);
}

/* ---- several superblocks on one leg ---- */

/* It lies where the other one says that its array's data is. */
static bool
lies_in_data (const struct superblock *s, const struct superblock *of)
{
  return s->super_offset >= of->data_offset
         && s->super_offset - of->data_offset < of->size;
}

/* Only who took the other one's array for a disk can have made it: then it lies
 * in its data, and claims no more than there is of that.  One made on the
 * whole leg, before or after the other, claims nearly all of the leg, which is
 * more, unless the other one begins at the start of the leg as well.
 */
static bool
is_data_of (const struct superblock *s, const struct superblock *of)
{
  uint64_t claimed = s->data_offset + s->data_size;

  if (s->version == SUPERBLOCK_0_90)
    claimed = s->size;
  return lies_in_data (s, of) && claimed < of->size
         && (s->version != SUPERBLOCK_0_90 || of->data_offset > 0);
}

/* Either may be the other one's data, for all that can be seen. */
static bool
cannot_tell (const struct superblock *a, const struct superblock *b)
{
  return superblock_seconds (a->ctime) == superblock_seconds (b->ctime)
         || (a->version == SUPERBLOCK_0_90 && b->version == SUPERBLOCK_1_0
             && lies_in_data (a, b));
}

int
superblock_choose (const struct superblock *const found[SUPERBLOCK_VERSIONS],
                   enum superblock_version *chosen,
                   enum superblock_version *rival)
{
  const struct superblock *best = NULL;

  for (unsigned i = SUPERBLOCK_VERSIONS; i-- > 0;) {
    bool is_data = false;

    for (unsigned j = 0; j < SUPERBLOCK_VERSIONS && found[i]; ++j)
      is_data |= found[j] && j != i && is_data_of (found[i], found[j]);
    if (!found[i] || is_data)
      continue;
    if (best && cannot_tell (found[i], best)) {
      *chosen = best->version;
      *rival = found[i]->version;
      return -EINVAL;
    }
    if (!best
        || superblock_seconds (found[i]->ctime)
               > superblock_seconds (best->ctime))
      best = found[i];
  }
  if (!best)
    return -ENOENT;
  *chosen = best->version;
  return 0;
}
