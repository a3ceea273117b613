/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The codec of superblock 1.x, against blocks that md wrote. */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "format/superblock_1.h"

#include "golden.h"

#define CSUM    216
#define MAX_DEV 220

static void
seal (uint8_t *block)
{
  put_le32 (block + CSUM, superblock_1_checksum (block, 128));
}

static int
decode (const uint8_t *block, struct superblock_1 *s, bool *intact,
        struct format_error *error)
{
  memset (s, 0xa5, sizeof *s);
  memset (error, 0, sizeof *error);
  return superblock_1_decode (block, SUPERBLOCK_1_2_SECTOR, GOLDEN_LEG_SECTORS,
                              s, intact, error);
}

/* ---- what md wrote ---- */

static const struct known {
  const char *name;
  const char *refused; /* field */
  uint32_t feature_map;
  uint64_t events;
  uint64_t resync_offset;
  const char *set_name;
  uint32_t raid_disks;
  uint32_t dev_number;
  uint16_t roles[5];
  uint8_t devflags;
} known[] = {
  { "created-0",
    NULL,
    1,
    0,
    0,
    "golden:created",
    2,
    0,
    { 0, 1, 0xffff, 0xffff, 0xffff },
    0 },
  { "clean-0",
    NULL,
    1,
    0,
    RESYNC_CLEAN,
    "golden:clean",
    2,
    0,
    { 0, 1, 0xffff, 0xffff, 0xffff },
    0 },
  { "dirty-0",
    NULL,
    1,
    1,
    0,
    "golden:dirty",
    2,
    0,
    { 0, 1, 0xffff, 0xffff, 0xffff },
    0 },
  { "chunk-64k-0",
    NULL,
    1,
    2,
    RESYNC_CLEAN,
    "golden:dirty",
    2,
    0,
    { 0, 1, 0xffff, 0xffff, 0xffff },
    0 },
  { "degraded-0",
    NULL,
    1,
    6,
    RESYNC_CLEAN,
    "golden:dirty",
    2,
    0,
    { 0, 0xfffe, 0xffff, 0xffff, 0xffff },
    0 },
  { "degraded-1",
    NULL,
    1,
    2,
    RESYNC_CLEAN,
    "golden:dirty",
    2,
    1,
    { 0, 1, 0xffff, 0xffff, 0xffff },
    0 },
  { "re-adding-0",
    NULL,
    1,
    11,
    RESYNC_CLEAN,
    "golden:dirty",
    2,
    0,
    { 0, 1, 0xffff, 0xffff, 0xffff },
    0 },
  { "re-adding-1",
    NULL,
    0x83,
    11,
    RESYNC_CLEAN,
    "golden:dirty",
    2,
    1,
    { 0, 1, 0xffff, 0xffff, 0xffff },
    0 },
  { "added-1",
    NULL,
    1,
    49,
    RESYNC_CLEAN,
    "golden:dirty",
    2,
    2,
    { 0, 0xffff, 1, 0xffff, 0xffff },
    0 },
  { "replacing-0",
    "dev_roles",
    1,
    51,
    RESYNC_CLEAN,
    "golden:dirty",
    2,
    0,
    { 0, 0xffff, 1, 1, 0xffff },
    0 },
  { "replacing-2",
    "feature_map",
    0x13,
    51,
    RESYNC_CLEAN,
    "golden:dirty",
    2,
    3,
    { 0, 0xffff, 1, 1, 0xffff },
    0 },
  { "write-mostly-0",
    NULL,
    1,
    0,
    RESYNC_CLEAN,
    "host:write-mostly",
    3,
    0,
    { 0, 0xffff, 2, 0xffff, 0xffff },
    0 },
  { "write-mostly-2",
    NULL,
    1,
    0,
    RESYNC_CLEAN,
    "host:write-mostly",
    3,
    2,
    { 0, 0xffff, 2, 0xffff, 0xffff },
    DEV_FLAG_WRITE_MOSTLY | DEV_FLAG_FAILFAST },
  { "bad-blocks-0",
    "feature_map",
    9,
    2,
    RESYNC_CLEAN,
    "golden:bad-blocks",
    2,
    0,
    { 0, 1, 0xffff, 0xffff, 0xffff },
    0 },
  { "no-bitmap-0",
    NULL,
    0,
    17,
    RESYNC_CLEAN,
    "golden:no-bitmap",
    2,
    0,
    { 0, 1, 0xffff, 0xffff, 0xffff },
    0 },
};

#define KNOWN (sizeof known / sizeof known[0])

START_TEST (test_known)
{
  const struct known *k = &known[_i];
  struct golden golden;
  struct superblock_1 s;
  struct format_error error;
  bool intact;
  int r;

  golden_load (k->name, &golden);
  r = decode (golden.superblock, &s, &intact, &error);
  ck_assert_msg (intact, "%s", k->name);
  if (k->refused) {
    ck_assert_int_eq (r, -EINVAL);
    ck_assert_str_eq (error.field, k->refused);
    ck_assert_ptr_nonnull (error.advice);
  }
  else
    ck_assert_msg (r == 0, "%s: %s: %s", k->name, error.field, error.found);

  ck_assert_uint_eq (s.feature_map, k->feature_map);
  ck_assert_uint_eq (s.events, k->events);
  ck_assert_uint_eq (s.resync_offset, k->resync_offset);
  ck_assert_str_eq (s.set_name, k->set_name);
  ck_assert_uint_eq (s.raid_disks, k->raid_disks);
  ck_assert_uint_eq (s.dev_number, k->dev_number);
  ck_assert_uint_eq (s.devflags, k->devflags);
  for (unsigned i = 0; i < 5; ++i)
    ck_assert_uint_eq (superblock_1_role (&s, i), k->roles[i]);
  ck_assert_uint_eq (superblock_1_role (&s, 127), ROLE_SPARE);
  ck_assert_uint_eq (superblock_1_role (&s, 128), ROLE_SPARE);
  ck_assert_uint_eq (superblock_1_role (&s, UINT32_MAX), ROLE_SPARE);

  ck_assert_int_eq (s.level, 1);
  ck_assert_uint_eq (s.layout, 0);
  ck_assert_uint_eq (s.size, 129024);
  ck_assert_uint_eq (s.chunksize, 0);
  ck_assert_int_eq (s.bitmap_offset, k->feature_map & 1 ? 8 : 0);
  ck_assert_uint_eq (s.data_offset, 2048);
  ck_assert_uint_eq (s.data_size, 129024);
  ck_assert_uint_eq (s.super_offset, 8);
  ck_assert_uint_eq (s.recovery_offset, 0);
  ck_assert_uint_eq (s.cnt_corrected_read, 0);
  ck_assert_uint_eq (s.bblog_shift, 0);
  ck_assert_uint_eq (s.bblog_size, 8);
  ck_assert_int_eq (s.bblog_offset, 16);
  ck_assert_uint_eq (s.max_dev, 128);
  ck_assert_uint_eq (superblock_1_length (&s), 512);
  ck_assert_uint_gt (s.ctime, 1700000000);
  ck_assert_uint_ge (s.utime, s.ctime);
}
END_TEST

START_TEST (test_same_bytes)
{
  struct golden golden;
  struct superblock_1 s;
  struct format_error error;
  uint8_t block[SUPERBLOCK_1_BYTES];
  bool intact;

  golden_load (known[_i].name, &golden);
  /* Bytes that are nobody's: behind the name, in fields of reshapes, and
   * behind the table.
   */
  memcpy (golden.superblock + 60, "abcd", 4);
  put_le32 (golden.superblock + 100, 5);
  put_le64 (golden.superblock + 104, 0x123456789abcdef0);
  put_le32 (golden.superblock + 112, 1);
  put_le32 (golden.superblock + 116, 2);
  put_le32 (golden.superblock + 120, 3);
  put_le32 (golden.superblock + 124, 4);
  put_le32 (golden.superblock + 224, 4096);
  memset (golden.superblock + 512, 0x5a, SUPERBLOCK_1_BYTES - 512);
  seal (golden.superblock);
  decode (golden.superblock, &s, &intact, &error);
  ck_assert (intact);
  memset (block, 0xee, sizeof block);
  superblock_1_encode (&s, block);
  ck_assert_mem_eq (block, golden.superblock, sizeof block);
  /* In place, too. */
  superblock_1_encode (&s, s.block);
  ck_assert_mem_eq (s.block, golden.superblock, sizeof block);
}
END_TEST

/* ---- every field, every class of wrong value ---- */

#define OK NULL

static const struct change {
  unsigned offset;
  unsigned bytes;
  uint64_t value;
  const char *refused; /* field; OK: md does not care, or it is legal */
  uint32_t features;   /* or 0: those of the golden block */
} changes[] = {
  { 4, 4, 0, "major_version", 0 },
  { 4, 4, 2, "major_version", 0 },
  { 8, 4, 0, OK, 0 },
  { 12, 4, 1, "pad0", 0 },
  { 12, 4, 0x80000000, "pad0", 0 },
  { 16, 8, 0, OK, 0 }, /* set_uuid: any */
  { 24, 8, 0, OK, 0 },
  { 32, 8, 0, OK, 0 }, /* set_name: any */
  { 32, 8, UINT64_MAX, OK, 0 },
  { 40, 8, UINT64_MAX, OK, 0 },
  { 48, 8, UINT64_MAX, OK, 0 },
  { 56, 8, UINT64_MAX, OK, 0 },
  { 64, 8, 0, OK, 0 }, /* ctime: any */
  { 64, 8, UINT64_MAX, OK, 0 },
  { 72, 4, 0, "level", 0 },
  { 72, 4, 10, "level", 0 },
  { 72, 4, UINT32_MAX, "level", 0 }, /* linear */
  { 76, 4, 1, "layout", 0 },
  { 80, 8, 0, "size", 0 },
  { 80, 8, 1, OK, 0 },
  { 80, 8, 129025, "size", 0 },
  { 80, 8, UINT64_MAX, "size", 0 },
  { 88, 4, 1, "chunksize", 0 },
  { 88, 4, 128, "chunksize", 0 },
  { 92, 4, 0, "raid_disks", 0 },
  { 92, 4, 1, "dev_roles", 0 }, /* dev 1 has slot 1 */
  { 92, 4, 128, OK, 0 },
  { 92, 4, 129, "raid_disks", 0 },
  { 92, 4, UINT32_MAX, "raid_disks", 0 },
  { 96, 4, 0, "bitmap_offset", 0 },
  { 96, 4, 0xfffffff0, OK, 0 }, /* where it is: layout_check */
  { 100, 4, 5, OK, 0 },         /* new_level to new_offset: not reshaping */
  { 104, 8, UINT64_MAX, OK, 0 },
  { 112, 4, 1, OK, 0 },
  { 116, 4, 1, OK, 0 },
  { 120, 4, 1, OK, 0 },
  { 124, 4, 1, OK, 0 },
  { 128, 8, 0, "data_offset", 0 }, /* over the superblock */
  { 128, 8, 15, "data_offset", 0 },
  { 128, 8, 16, OK, 0 }, /* over the bitmap: layout_check */
  { 128, 8, 2049, "data_offset", 0 },
  { 128, 8, UINT64_MAX, "data_offset", 0 },
  { 128, 8, (uint64_t)-129024, "data_offset", 0 },
  { 136, 8, 0, "data_size", 0 },
  { 136, 8, 9, "data_size", 0 },
  { 136, 8, 129023, "size", 0 },
  { 136, 8, 129025, "data_offset", 0 },
  { 136, 8, 131073, "data_size", 0 },
  { 136, 8, UINT64_MAX, "data_size", 0 },
  { 144, 8, 0, "super_offset", 0 },
  { 144, 8, 16, "super_offset", 0 },
  { 144, 8, UINT64_MAX, "super_offset", 0 },
  { 152, 8, UINT64_MAX, OK, 0 }, /* recovery_offset without its feature */
  { 152, 8, 129024, OK, 3 },
  { 152, 8, 129025, "recovery_offset", 3 },
  { 152, 8, UINT64_MAX, "recovery_offset", 0x83 },
  { 160, 4, 127, OK, 0 }, /* dev_number: a spare */
  { 160, 4, 128, "dev_number", 0 },
  { 160, 4, UINT32_MAX, "dev_number", 0 },
  { 164, 4, UINT32_MAX, OK, 0 }, /* cnt_corrected_read: any */
  { 168, 8, 0, OK, 0 },          /* device_uuid: any */
  { 176, 8, UINT64_MAX, OK, 0 },
  { 184, 1, 3, OK, 0 },
  { 184, 1, 4, "devflags", 0 },
  { 184, 1, 0x80, "devflags", 0 },
  { 185, 1, 9, OK, 0 }, /* bblog_shift: the log is empty */
  { 186, 2, 0, OK, 0 }, /* no log */
  { 186, 2, 9, "bblog_size", 0 },
  { 186, 2, 0xffff, "bblog_size", 0 },
  { 188, 4, 0, OK, 0 },          /* no log */
  { 188, 4, 0x80000000, OK, 0 }, /* where it is: layout_check */
  { 192, 8, 0, OK, 0 },          /* utime: any */
  { 192, 8, UINT64_MAX, OK, 0 },
  { 200, 8, 0, OK, 0 },
  { 200, 8, INT64_MAX, OK, 0 },
  { 200, 8, (uint64_t)INT64_MAX + 1, "events", 0 },
  { 200, 8, UINT64_MAX, "events", 0 },
  { 208, 8, 0, OK, 0 },
  { 208, 8, 129024, OK, 0 },
  { 208, 8, 129025, "resync_offset", 0 },
  { 208, 8, UINT64_MAX - 1, "resync_offset", 0 },
  { 224, 4, 512, OK, 0 },
  { 224, 4, 4096, OK, 0 },
  { 224, 4, 1, "logical_block_size", 0 },
  { 224, 4, 256, "logical_block_size", 0 },
  { 224, 4, 8192, "logical_block_size", 0 },
  { 224, 4, 520, "logical_block_size", 0 },
  { 228, 4, 1, "pad3", 0 },
  { 232, 8, 1, "pad3", 0 },
  { 240, 8, 1, "pad3", 0 },
  { 248, 8, (uint64_t)1 << 63, "pad3", 0 },
  { 256, 2, 0xffff, OK, 0 },
  { 256, 2, 0xfffe, OK, 0 },
  { 256, 2, 0xfffd, "dev_roles", 0 }, /* journal */
  { 256, 2, 0xff00, "dev_roles", 0 },
  { 256, 2, 2, "dev_roles", 0 },
  { 256, 2, 1, "dev_roles", 0 }, /* twice */
  { 258, 2, 0xfeff, "dev_roles", 0 },
  { 510, 2, 0, "dev_roles", 0 }, /* twice */
  { 510, 2, 0xfffe, OK, 0 },
};

#define CHANGES (sizeof changes / sizeof changes[0])

static void
put (uint8_t *p, unsigned bytes, uint64_t value)
{
  while (bytes-- > 0) {
    *p++ = (uint8_t)value;
    value >>= 8;
  }
}

START_TEST (test_change)
{
  const struct change *c = &changes[_i];
  struct golden golden;
  struct superblock_1 s;
  struct format_error error;
  bool intact;
  char text[300];
  int r;

  golden_load ("dirty-0", &golden);
  if (c->features)
    put_le32 (golden.superblock + 8, c->features);
  put (golden.superblock + c->offset, c->bytes, c->value);
  seal (golden.superblock);
  r = decode (golden.superblock, &s, &intact, &error);
  if (!c->refused) {
    ck_assert_msg (r == 0, "byte %u: %s: %s", c->offset, error.field,
                   error.found);
    ck_assert (intact);
    return;
  }
  ck_assert_msg (r == -EINVAL, "byte %u: %d", c->offset, r);
  ck_assert_str_eq (error.field, c->refused);
  ck_assert_uint_gt (strlen (error.found), 0);
  ck_assert_uint_gt (strlen (error.expected), 0);
  ck_assert_ptr_nonnull (error.advice);
  ck_assert (intact == (c->offset != 4));
  format_error_string (&error, text, sizeof text);
  ck_assert_ptr_nonnull (strstr (text, c->refused));
  ck_assert_ptr_nonnull (strstr (text, error.found));
  ck_assert_ptr_nonnull (strstr (text, error.advice));
}
END_TEST

/* The table above has something to say about each byte, but for magic,
 * checksum and max_dev, which have their own tests.
 */
START_TEST (test_all_covered)
{
  bool covered[258] = { false };

  for (size_t i = 0; i < CHANGES; ++i)
    for (unsigned j = 0; j < changes[i].bytes; ++j)
      if (changes[i].offset + j < sizeof covered)
        covered[changes[i].offset + j] = true;
  for (unsigned i = 4; i < sizeof covered; ++i)
    if (i < CSUM || i >= MAX_DEV + 4)
      ck_assert_msg (covered[i], "byte %u", i);
}
END_TEST

START_TEST (test_features)
{
  const uint32_t bit = (uint32_t)1 << _i;
  struct golden golden;
  struct superblock_1 s;
  struct format_error error;
  bool intact;
  int r;

  golden_load ("dirty-0", &golden);
  put_le32 (golden.superblock + 8, 1 | bit);
  seal (golden.superblock);
  r = decode (golden.superblock, &s, &intact, &error);
  ck_assert (intact);
  if (bit <= 2) {
    ck_assert_int_eq (r, 0);
    return;
  }
  ck_assert_int_eq (r, -EINVAL);
  ck_assert_str_eq (error.field, "feature_map");
  ck_assert_ptr_nonnull (error.advice);
  if (bit > FEATURE_RAID0_LAYOUT)
    ck_assert_ptr_nonnull (strstr (error.found, "unknown"));
  else {
    ck_assert_ptr_null (strstr (error.found, "unknown"));
    if (bit != FEATURE_RECOVERY_BITMAP)
      ck_assert_ptr_nonnull (strstr (error.found, "("));
  }
}
END_TEST

START_TEST (test_recovery_bitmap)
{
  struct golden golden;
  struct superblock_1 s;
  struct format_error error;
  bool intact;

  golden_load ("re-adding-1", &golden);
  for (uint32_t low = 0; low < 4; ++low) {
    put_le32 (golden.superblock + 8, FEATURE_RECOVERY_BITMAP | low);
    seal (golden.superblock);
    ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error),
                      low == 3 ? 0 : -EINVAL);
  }
}
END_TEST

/* ---- magic, checksum, max_dev ---- */

START_TEST (test_no_magic)
{
  uint8_t block[SUPERBLOCK_1_BYTES] = { 0 };
  struct golden golden;
  struct superblock_1 s;
  struct format_error error;
  bool intact = true;

  ck_assert_int_eq (decode (block, &s, &intact, &error), -ENOENT);
  ck_assert (!intact);
  golden_load ("clean-0", &golden);
  for (unsigned bit = 0; bit < 32; ++bit) {
    golden.superblock[bit / 8] ^= (uint8_t)(1 << bit % 8);
    ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), -ENOENT);
    golden.superblock[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), 0);
}
END_TEST

/* Any one bit of the covered bytes that turns over is noticed, and bytes
 * behind them are nobody's.
 */
START_TEST (test_bit_flips)
{
  struct golden golden;
  struct superblock_1 s;
  struct format_error error;
  bool intact;

  golden_load ("clean-0", &golden);
  for (unsigned bit = 32; bit < 512 * 8; ++bit) {
    golden.superblock[bit / 8] ^= (uint8_t)(1 << bit % 8);
    ck_assert_msg (decode (golden.superblock, &s, &intact, &error) == -EINVAL,
                   "byte %u", bit / 8);
    ck_assert (!intact);
    if (bit / 8 >= 8 && (bit / 8 < MAX_DEV || bit / 8 >= MAX_DEV + 4))
      ck_assert_str_eq (error.field, "sb_csum");
    golden.superblock[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  golden.superblock[512] ^= 1;
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), 0);
}
END_TEST

START_TEST (test_max_dev)
{
  static const struct {
    uint32_t max_dev;
    const char *refused;
  } cases[] = {
    { 0, "dev_number" },
    { 1, "raid_disks" },
    { 2, OK },
    { 3, OK },
    { 127, OK },
    { 129, OK },
    { 383, OK },
    { 384, OK },
    { 1919, OK },
    { 1920, OK },
    { 1921, "max_dev" },
    { 65535, "max_dev" },
    { UINT32_MAX, "max_dev" },
  };
  struct golden golden;
  struct superblock_1 s;
  struct format_error error;
  uint8_t block[SUPERBLOCK_1_BYTES];
  bool intact;

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const uint32_t max_dev = cases[i].max_dev;
    int r;

    golden_load ("clean-0", &golden);
    memset (golden.superblock + 512, 0xff, SUPERBLOCK_1_BYTES - 512);
    put_le32 (golden.superblock + MAX_DEV, max_dev);
    if (max_dev <= SUPERBLOCK_1_MAX_DEV)
      put_le32 (golden.superblock + CSUM,
                superblock_1_checksum (golden.superblock, max_dev));
    r = decode (golden.superblock, &s, &intact, &error);
    if (cases[i].refused) {
      ck_assert_int_eq (r, -EINVAL);
      if (max_dev > 0)
        ck_assert_str_eq (error.field, cases[i].refused);
      ck_assert (intact == (max_dev <= SUPERBLOCK_1_MAX_DEV));
      continue;
    }
    ck_assert_msg (r == 0, "max_dev %u: %s", max_dev, error.field);
    ck_assert_uint_eq (s.max_dev, max_dev);
    ck_assert_uint_eq (superblock_1_length (&s), 256 + 2 * max_dev);
    superblock_1_encode (&s, block);
    ck_assert_mem_eq (block, golden.superblock, sizeof block);
  }
}
END_TEST

/* Low and high half are added once; an odd table ends with half a word. */
START_TEST (test_checksum)
{
  uint8_t block[SUPERBLOCK_1_BYTES];

  memset (block, 0, sizeof block);
  ck_assert_uint_eq (superblock_1_checksum (block, 128), 0);
  put_le32 (block + CSUM, 0x12345678); /* not counted */
  ck_assert_uint_eq (superblock_1_checksum (block, 128), 0);
  put_le32 (block + 0, UINT32_MAX);
  put_le32 (block + 4, 2);
  /* 0x1_0000_0001: 1 + 1 */
  ck_assert_uint_eq (superblock_1_checksum (block, 128), 2);
  put_le16 (block + 256, 0x1234);
  put_le16 (block + 258, 0x4321); /* behind an odd table of one */
  ck_assert_uint_eq (superblock_1_checksum (block, 1), 2 + 0x1234);
  ck_assert_uint_eq (superblock_1_checksum (block, 2), 2 + 0x43211234);
  ck_assert_uint_eq (superblock_1_checksum (block, 0), 2);
}
END_TEST

/* The right thing at the wrong place, and on a leg that is too short. */
START_TEST (test_place)
{
  struct golden golden;
  struct superblock_1 s;
  struct format_error error;
  bool intact;

  golden_load ("clean-0", &golden);
  ck_assert_int_eq (
      superblock_1_decode (golden.superblock, 0, GOLDEN_LEG_SECTORS, &s,
                           &intact, &error),
      -EINVAL);
  ck_assert_str_eq (error.field, "super_offset");
  ck_assert (intact);
  ck_assert_int_eq (
      superblock_1_decode (golden.superblock, 8, GOLDEN_LEG_SECTORS - 1, &s,
                           &intact, &error),
      -EINVAL);
  ck_assert_str_eq (error.field, "data_offset");
  ck_assert_int_eq (
      superblock_1_decode (golden.superblock, 8, 0, &s, &intact, &error),
      -EINVAL);
  ck_assert_str_eq (error.field, "data_size");
  ck_assert_int_eq (
      superblock_1_decode (golden.superblock, 8, GOLDEN_LEG_SECTORS + 1, &s,
                           &intact, &error),
      0);
}
END_TEST

/* ---- encoding ---- */

/* Each field of the struct ends up in its own bytes and nowhere else. */
#define FIELD(field, offset, bytes, value)                     \
  do {                                                         \
    struct superblock_1 t = s;                                 \
    uint8_t want[SUPERBLOCK_1_BYTES], got[SUPERBLOCK_1_BYTES]; \
                                                               \
    t.field = (value);                                         \
    memcpy (want, s.block, sizeof want);                       \
    put (want + (offset), (bytes), (value));                   \
    seal (want);                                               \
    superblock_1_encode (&t, got);                             \
    ck_assert_mem_eq (got, want, sizeof got);                  \
  } while (0)

START_TEST (test_fields)
{
  struct golden golden;
  static struct superblock_1 s;
  struct format_error error;
  bool intact;

  golden_load ("clean-0", &golden);
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), 0);
  FIELD (feature_map, 8, 4, 0x81234567);
  FIELD (ctime, 64, 8, 0x0123456789abcdef);
  FIELD (level, 72, 4, -4);
  FIELD (layout, 76, 4, 0x81234567);
  FIELD (size, 80, 8, 0x8123456789abcdef);
  FIELD (chunksize, 88, 4, 0x81234567);
  FIELD (raid_disks, 92, 4, 0x81234567);
  FIELD (bitmap_offset, 96, 4, -16);
  FIELD (data_offset, 128, 8, 0x8123456789abcdef);
  FIELD (data_size, 136, 8, 0x8123456789abcdef);
  FIELD (super_offset, 144, 8, 0x8123456789abcdef);
  FIELD (recovery_offset, 152, 8, 0x8123456789abcdef);
  FIELD (dev_number, 160, 4, 0x81234567);
  FIELD (cnt_corrected_read, 164, 4, 0x81234567);
  FIELD (set_uuid[0], 16, 1, 0xab);
  FIELD (set_uuid[15], 31, 1, 0xab);
  FIELD (device_uuid[0], 168, 1, 0xab);
  FIELD (device_uuid[15], 183, 1, 0xab);
  FIELD (devflags, 184, 1, 0xab);
  FIELD (bblog_shift, 185, 1, 0xab);
  FIELD (bblog_size, 186, 2, 0xabcd);
  FIELD (bblog_offset, 188, 4, -8);
  FIELD (utime, 192, 8, 0x8123456789abcdef);
  FIELD (events, 200, 8, 0x8123456789abcdef);
  FIELD (resync_offset, 208, 8, 0x8123456789abcdef);
  FIELD (dev_roles[0], 256, 2, 0xfffe);
  FIELD (dev_roles[127], 510, 2, 0xfffe);
}
END_TEST

START_TEST (test_name)
{
  static struct superblock_1 s;
  static const char longest[] = "0123456789abcdefghijklmnopqrstuv";
  uint8_t block[SUPERBLOCK_1_BYTES];
  struct golden golden;
  struct format_error error;
  bool intact;

  golden_load ("clean-0", &golden);
  decode (golden.superblock, &s, &intact, &error);
  strcpy (s.set_name, longest);
  superblock_1_encode (&s, block);
  ck_assert_mem_eq (block + 32, longest, 32);
  ck_assert_int_eq (decode (block, &s, &intact, &error), 0);
  ck_assert_str_eq (s.set_name, longest);
  strcpy (s.set_name, "ab");
  superblock_1_encode (&s, block);
  ck_assert_mem_eq (block + 32,
                    "ab\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                    32);
  s.set_name[0] = '\0';
  superblock_1_encode (&s, block);
  ck_assert (block[32] == 0 && block[33] == 0);
}
END_TEST

START_TEST (test_time)
{
  ck_assert_uint_eq (superblock_1_time (0), 0);
  ck_assert_uint_eq (superblock_1_time (1795244724), 1795244724);
  ck_assert_uint_eq (superblock_1_time (INT64_C (1) << 40), 0);
  ck_assert_uint_eq (superblock_1_time (-1), (UINT64_C (1) << 40) - 1);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("superblock-1");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_add_loop_test (tc, test_known, 0, KNOWN);
  tcase_add_loop_test (tc, test_same_bytes, 0, KNOWN);
  tcase_add_loop_test (tc, test_change, 0, CHANGES);
  tcase_add_test (tc, test_all_covered);
  tcase_add_loop_test (tc, test_features, 0, 32);
  tcase_add_test (tc, test_recovery_bitmap);
  tcase_add_test (tc, test_no_magic);
  tcase_add_test (tc, test_bit_flips);
  tcase_add_test (tc, test_max_dev);
  tcase_add_test (tc, test_checksum);
  tcase_add_test (tc, test_place);
  tcase_add_test (tc, test_fields);
  tcase_add_test (tc, test_name);
  tcase_add_test (tc, test_time);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
