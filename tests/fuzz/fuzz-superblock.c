/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Fuzzing: the superblock, versions 1.x.
 *
 * The input is a leg as its superblock sees it: one byte that says where the
 * block was read, eight with the leg's sectors, then the block, continued
 * with zeroes.  What must hold:
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
#include "format/superblock_1.h"
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
check_same_bytes (const struct superblock_1 *s, const uint8_t *block)
{
  uint8_t *again = malloc (SUPERBLOCK_1_BYTES);

  REQUIRE (again != NULL, "out of memory");
  superblock_1_encode (s, again);
  for (unsigned i = 0; i < SUPERBLOCK_1_BYTES; ++i)
    REQUIRE (again[i] == block[i], "byte %u: %02x became %02x", i, block[i],
             again[i]);
  free (again);
}

/* Change what a metadata update changes, and see it come back. */
static void
check_changed (const struct superblock_1 *before, uint64_t sector,
               uint64_t leg_sectors)
{
  static struct superblock_1 s, t;
  static uint8_t block[SUPERBLOCK_1_BYTES];
  struct format_error error;
  bool intact;

  s = *before;
  s.events += 2;
  s.utime = superblock_1_time (1700000000);
  s.resync_offset = s.resync_offset == RESYNC_CLEAN ? 0 : RESYNC_CLEAN;
  if (s.max_dev > 0)
    s.dev_roles[s.events % s.max_dev] = ROLE_FAULTY;
  superblock_1_encode (&s, block);
  memset (&t, 0, sizeof t);
  (void)superblock_1_decode (block, sector, leg_sectors, &t, &intact, &error);
  REQUIRE (intact, "what was encoded is damaged");
  memcpy (s.block, t.block, sizeof s.block);
  REQUIRE (memcmp (&s, &t, sizeof s) == 0, "a field has changed");
}

static void
check_accepted (const struct superblock_1 *s, const uint8_t *block,
                uint64_t sector, uint64_t leg_sectors)
{
  struct place places[PLACES_MAX];
  uint64_t page = s->feature_map & FEATURE_BITMAP_OFFSET ? 4096 : 0;
  unsigned n;

  REQUIRE (get_le (block + SB_SUPER_OFFSET, 8) == sector, "not found there");
  n = places_of (block, page, places);
  places_check (places, n, leg_sectors);
  REQUIRE (s->size >= 1 && s->size <= s->data_size, "size does not fit data");
  REQUIRE (s->max_dev <= SUPERBLOCK_1_MAX_DEV && s->raid_disks >= 1
               && s->raid_disks <= s->max_dev && s->dev_number < s->max_dev,
           "max_dev %u, raid_disks %u, dev_number %u", s->max_dev,
           s->raid_disks, s->dev_number);
  for (uint32_t i = 0; i < s->max_dev; ++i) {
    uint64_t role = get_le (block + SB_ROLES + 2 * i, 2);

    REQUIRE (role == s->dev_roles[i], "role of %u: %u", i, s->dev_roles[i]);
    REQUIRE (role < s->raid_disks || role >= ROLE_FAULTY, "role of %u: %u", i,
             s->dev_roles[i]);
  }
  REQUIRE (s->events <= INT64_MAX, "events may wrap");
  REQUIRE ((s->feature_map
            & ~(unsigned)(FEATURE_BITMAP_OFFSET | FEATURE_RECOVERY_OFFSET
                          | FEATURE_RECOVERY_BITMAP))
               == 0,
           "feature_map %#x is served", s->feature_map);
}

/* ---- the target ---- */

/* Where versions 1.2, 1.1 and 1.0 keep it, or where it says that it is. */
static uint64_t
choose_sector (uint8_t where, uint64_t leg_sectors, const uint8_t *block)
{
  switch (where % 4) {
  case 0:
    return SUPERBLOCK_1_2_SECTOR;
  case 1:
    return 0;
  case 2:
    return leg_sectors < 16 ? 0 : (leg_sectors - 16) & ~(uint64_t)7;
  default:
    return get_le (block + SB_SUPER_OFFSET, 8);
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input input = { data, size };
  uint8_t where = input_u8 (&input);
  uint64_t leg_sectors = input_u64 (&input) % (LEG_SECTORS_MAX + 1);
  uint8_t *block = malloc (SUPERBLOCK_1_BYTES);
  struct superblock_1 *s = calloc (1, sizeof *s);
  struct format_error error = { 0 };
  uint64_t sector;
  bool intact;
  int err;

  REQUIRE (block && s, "out of memory");
  input_bytes (&input, block, SUPERBLOCK_1_BYTES);
  sector = choose_sector (where, leg_sectors, block);
  /* It was read there, so it is inside the leg. */
  if (leg_sectors >= 8 && sector <= leg_sectors - 8) {
    err = superblock_1_decode (block, sector, leg_sectors, s, &intact, &error);
    REQUIRE (err == 0 || err == -EINVAL || err == -ENOENT, "returned %d", err);
    REQUIRE (err != 0 || intact, "accepted, though damaged");
    REQUIRE (err != -ENOENT || !intact, "intact without a magic");
    if (err == -EINVAL)
      check_error (&error);
    if (intact) {
      check_same_bytes (s, block);
      check_changed (s, sector, leg_sectors);
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

static size_t
mend_checksum (uint8_t *data, size_t size, size_t max)
{
  uint8_t block[SUPERBLOCK_1_BYTES] = { 0 };

  if (max < HEAD + SB_ROLES)
    return size;
  if (size < HEAD + SB_ROLES) {
    memset (data + size, 0, HEAD + SB_ROLES - size);
    size = HEAD + SB_ROLES;
  }
  memcpy (block, data + HEAD,
          size - HEAD < sizeof block ? size - HEAD : sizeof block);
  fix_checksum (block);
  memcpy (data + HEAD + SB_CSUM, block + SB_CSUM, 4);
  return size;
}

size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed)
{
  if (seed & 2)
    mutate_field (data, size, HEAD, superblock_fields, superblock_nfields,
                  seed >> 2);
  else
    size = LLVMFuzzerMutate (data, size, max);
  return seed & 1 ? mend_checksum (data, size, max) : size;
}
