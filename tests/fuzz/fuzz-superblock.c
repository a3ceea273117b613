/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Fuzzing: the superblock, all versions.
 *
 * The input is a leg as its superblock sees it: one byte that says which
 * version was looked for, eight with the leg's sectors, then the block,
 * continued with zeroes.  What must hold:
 *   1. nothing is read or written outside the block and the struct;
 *   2. whatever is intact: encoding what was decoded gives the same bytes;
 *   3. whatever is encoded is intact when it is decoded, with the same fields;
 *   4. whatever is accepted, here and by layout_check: all areas are inside
 *      the leg and disjoint (I16), and what md could not count up is out;
 *   5. whatever is refused has an error that names the field.
 * The mutator mends the checksum half of the time, or hardly any input would
 * get past it.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/layout.h"
#include "format/superblock.h"
#include "fuzz/fuzz.h"

#define HEAD 9 /* bytes before the block */

/* Bytes of a leg are counted in 64 bits. */
#define LEG_SECTORS_MAX (UINT64_MAX / 512)

/* ---- what must hold ---- */

/* The text is cut where the room for it ends. */
static void
check_error (const struct format_error *error)
{
  static const size_t sizes[] = { 1, 16, 512 };

  REQUIRE (error->field && error->field[0], "a refusal without a field");
  REQUIRE (error->found[0] && error->expected[0], "field %s: no reason",
           error->field);
  for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    char *text = malloc (sizes[i]); /* so that its end is watched */

    REQUIRE (text != NULL, "out of memory");
    format_error_string (error, text, sizes[i]);
    REQUIRE (strnlen (text, sizes[i]) < sizes[i], "not terminated");
    free (text);
  }
}

static void
check_same_bytes (const struct superblock *s, const uint8_t *block)
{
  uint8_t *again = malloc (SUPERBLOCK_BYTES);

  REQUIRE (again != NULL, "out of memory");
  superblock_encode (s, again);
  for (unsigned i = 0; i < SUPERBLOCK_BYTES; ++i)
    REQUIRE (again[i] == block[i], "byte %u: %02x became %02x", i, block[i],
             again[i]);
  free (again);
}

/* Change what a metadata update changes, and see it come back.  With 0.90 a
 * number of a slot is in use or missing, and a resync goes 32 bits far.
 */
static void
check_changed (const struct superblock *before, uint64_t leg_sectors)
{
  static struct superblock s, t;
  static uint8_t block[SUPERBLOCK_BYTES];
  struct format_error error;
  bool intact;

  s = *before;
  s.events += 2;
  s.utime = superblock_time (1700000000);
  s.resync_offset = s.resync_offset == RESYNC_CLEAN ? 0 : RESYNC_CLEAN;
  if (s.max_dev > 0)
    s.dev_roles[s.events % s.max_dev] = ROLE_FAULTY;
  superblock_encode (&s, block);
  memset (&t, 0, sizeof t);
  (void)superblock_decode (s.version, block, leg_sectors, &t, &intact, &error);
  REQUIRE (intact, "what was encoded is damaged");
  memcpy (s.block, t.block, sizeof s.block);
  /* The flags of a leg go with its descriptor. */
  if (s.version == SUPERBLOCK_0_90 && s.dev_number < s.max_dev
      && s.dev_roles[s.dev_number] == ROLE_FAULTY)
    s.devflags = t.devflags;
  REQUIRE (memcmp (&s, &t, sizeof s) == 0, "a field has changed");
}

/* The table of another leg is taken over as it is, but one's own flags. */
static void
check_adopted (const struct superblock *table, uint64_t leg_sectors)
{
  static struct superblock s, t;
  static uint8_t block[SUPERBLOCK_BYTES];
  struct format_error error;
  bool intact;

  memset (&s, 0, sizeof s);
  s = *table;
  s.dev_number = (s.dev_number + 1) % (s.max_dev ? s.max_dev : 1);
  memset (s.dev_roles, 0xff, sizeof s.dev_roles);
  superblock_adopt_roles (&s, table);
  superblock_encode (&s, block);
  memset (&t, 0, sizeof t);
  (void)superblock_decode (s.version, block, leg_sectors, &t, &intact, &error);
  REQUIRE (intact, "what was adopted is damaged");
  REQUIRE (memcmp (t.dev_roles, table->dev_roles, sizeof t.dev_roles) == 0,
           "a role has changed");
  REQUIRE (t.dev_number == s.dev_number && t.events == s.events,
           "the leg is another one");
}

static void
check_roles_1 (const struct superblock *s, const uint8_t *block)
{
  for (uint32_t i = 0; i < s->max_dev; ++i) {
    uint64_t role = get_le (block + SB_ROLES + 2 * i, 2);
    unsigned same = 0;

    REQUIRE (role == s->dev_roles[i], "role of %u: %u", i, s->dev_roles[i]);
    REQUIRE (role < s->raid_disks || role >= ROLE_FAULTY, "role of %u: %u", i,
             s->dev_roles[i]);
    for (uint32_t j = 0; j < s->max_dev && role < s->raid_disks; ++j)
      same += s->dev_roles[j] == role;
    REQUIRE (same <= 2, "slot %u: %u times", s->dev_roles[i], same);
  }
}

static void
check_roles_090 (const struct superblock *s, const uint8_t *block)
{
  uint32_t seen = 0;

  REQUIRE (s->max_dev == SB9_MAX_DEV, "max_dev %u", s->max_dev);
  for (uint32_t i = 0; i < SB9_MAX_DEV; ++i) {
    const uint8_t *disk = block + SB9_DISKS + SB9_DISK_BYTES * i;
    const uint64_t state = get_le (disk + SB9_DISK_STATE, 4);
    const uint64_t slot = get_le (disk + SB9_DISK_RAID_DISK, 4);
    const unsigned role = s->dev_roles[i];

    REQUIRE ((state & ~UINT64_C (0x60f)) == 0, "state of %u", i);
    /* In sync for md: for us too. */
    REQUIRE ((role <= ROLE_LAST) == ((state & 5) == 4), "role of %u: %u", i,
             role);
    if (role > ROLE_LAST)
      continue;
    REQUIRE (role == slot && role < s->raid_disks, "role of %u: %u", i, role);
    REQUIRE (!(seen & 1u << role), "slot %u twice", role);
    seen |= 1u << role;
  }
}

static void
check_accepted (const struct superblock *s, const uint8_t *block,
                uint64_t sector, uint64_t leg_sectors)
{
  struct place places[PLACES_MAX];
  uint64_t page = s->feature_map & FEATURE_BITMAP_OFFSET ? 4096 : 0;
  unsigned n;

  REQUIRE (s->super_offset == sector, "not found there");
  n = s->version == SUPERBLOCK_0_90
          ? places_of_090 (block, sector, page, places)
          : places_of (block, page, places);
  places_check (places, n, leg_sectors);
  REQUIRE (s->size >= 1 && s->size <= s->data_size, "size does not fit data");
  REQUIRE (s->max_dev <= SUPERBLOCK_MAX_DEV && s->raid_disks >= 1
               && s->raid_disks <= s->max_dev && s->dev_number < s->max_dev,
           "max_dev %u, raid_disks %u, dev_number %u", s->max_dev,
           s->raid_disks, s->dev_number);
  if (s->version == SUPERBLOCK_0_90)
    check_roles_090 (s, block);
  else
    check_roles_1 (s, block);
  REQUIRE (s->events <= INT64_MAX, "events may wrap");
  REQUIRE ((s->feature_map & ~0x9bu) == 0, "feature_map %#x is served",
           s->feature_map);
}

/* ---- the target ---- */

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static const enum superblock_version versions[SUPERBLOCK_VERSIONS] = {
    SUPERBLOCK_1_2,
    SUPERBLOCK_1_1,
    SUPERBLOCK_1_0,
    SUPERBLOCK_0_90,
  };
  struct input input = { data, size };
  enum superblock_version version =
      versions[input_u8 (&input) % SUPERBLOCK_VERSIONS];
  uint64_t leg_sectors = input_u64 (&input) % (LEG_SECTORS_MAX + 1);
  uint64_t sector = superblock_sector (version, leg_sectors);
  uint8_t *block = malloc (SUPERBLOCK_BYTES);
  struct superblock *s = calloc (1, sizeof *s);
  struct format_error error = { 0 };
  bool intact;
  int err;

  REQUIRE (block && s, "out of memory");
  input_bytes (&input, block, SUPERBLOCK_BYTES);
  /* It is read there, so it is inside the leg. */
  if (sector != UINT64_MAX) {
    REQUIRE (leg_sectors >= 8 && sector <= leg_sectors - 8, "outside");
    err = superblock_decode (version, block, leg_sectors, s, &intact, &error);
    REQUIRE (err == 0 || err == -EINVAL || err == -ENOENT, "returned %d", err);
    REQUIRE (err != 0 || intact, "accepted, though damaged");
    REQUIRE (err != -ENOENT || !intact, "intact without a magic");
    if (err == -EINVAL)
      check_error (&error);
    if (intact) {
      check_same_bytes (s, block);
      check_changed (s, leg_sectors);
      check_adopted (s, leg_sectors);
    }
    if (err == 0) {
      err = layout_check (s, NULL, leg_sectors, &error);
      if (err == 0)
        check_accepted (s, block, sector, leg_sectors);
      else
        check_error (&error);
    }
  }
  free (s);
  free (block);
  return 0;
}

/* ---- the mutator ---- */

static bool
is_090 (const uint8_t *data, size_t size)
{
  return size > 0 && data[0] % SUPERBLOCK_VERSIONS == 3;
}

static size_t
mend_checksum (uint8_t *data, size_t size, size_t max)
{
  const bool old = is_090 (data, size);
  const size_t need = HEAD + (old ? SB9_THIS_DISK : SB_ROLES);
  const unsigned at = old ? SB9_CSUM : SB_CSUM;
  uint8_t block[SUPERBLOCK_BYTES] = { 0 };

  if (max < need)
    return size;
  if (size < need) {
    memset (data + size, 0, need - size);
    size = need;
  }
  memcpy (block, data + HEAD,
          size - HEAD < sizeof block ? size - HEAD : sizeof block);
  if (old)
    fix_checksum_090 (block);
  else
    fix_checksum (block);
  memcpy (data + HEAD + at, block + at, 4);
  return size;
}

size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed)
{
  if (seed & 2 && is_090 (data, size))
    mutate_field (data, size, HEAD, superblock_090_fields,
                  superblock_090_nfields, seed >> 2);
  else if (seed & 2)
    mutate_field (data, size, HEAD, superblock_fields, superblock_nfields,
                  seed >> 2);
  else
    size = LLVMFuzzerMutate (data, size, max);
  return seed & 1 ? mend_checksum (data, size, max) : size;
}
