/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The codec of superblocks 1.0, 1.1 and 1.2, against blocks that md wrote. */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "format/superblock_1.h"

#include "fields.h"
#include "golden.h"

#define CSUM    216
#define MAX_DEV 220
#define EDGES   33 /* of test_edges */

static void
seal (uint8_t *block)
{
  put_le32 (block + CSUM, superblock_1_checksum (block, 128));
}

static int
decode_as (enum superblock_version version, const uint8_t *block,
           struct superblock *s, bool *intact, struct format_error *error)
{
  memset (s, 0xa5, sizeof *s);
  memset (error, 0, sizeof *error);
  return superblock_decode (version, block, GOLDEN_LEG_SECTORS, s, intact,
                            error);
}

static int
decode (const uint8_t *block, struct superblock *s, bool *intact,
        struct format_error *error)
{
  return decode_as (SUPERBLOCK_1_2, block, s, intact, error);
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
    NULL,
    1,
    51,
    RESYNC_CLEAN,
    "golden:dirty",
    2,
    0,
    { 0, 0xffff, 1, 1, 0xffff },
    0 },
  { "replacing-2",
    NULL,
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
    NULL,
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
  struct superblock s;
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
    ck_assert_uint_eq (superblock_role (&s, i), k->roles[i]);
  ck_assert_uint_eq (superblock_role (&s, 127), ROLE_SPARE);
  ck_assert_uint_eq (superblock_role (&s, 128), ROLE_SPARE);
  ck_assert_uint_eq (superblock_role (&s, UINT32_MAX), ROLE_SPARE);

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
  ck_assert_uint_eq (superblock_length (&s), 512);
  ck_assert_uint_gt (s.ctime, 1700000000);
  ck_assert_uint_ge (s.utime, s.ctime);
}
END_TEST

START_TEST (test_same_bytes)
{
  struct golden golden;
  struct superblock s;
  struct format_error error;
  uint8_t block[SUPERBLOCK_BYTES];
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
  memset (golden.superblock + 512, 0x5a, SUPERBLOCK_BYTES - 512);
  seal (golden.superblock);
  decode (golden.superblock, &s, &intact, &error);
  ck_assert (intact);
  memset (block, 0xee, sizeof block);
  superblock_encode (&s, block);
  ck_assert_mem_eq (block, golden.superblock, sizeof block);
  /* In place, too. */
  superblock_encode (&s, s.block);
  ck_assert_mem_eq (s.block, golden.superblock, sizeof block);
}
END_TEST

/* ---- what md wrote, in versions 1.0 and 1.1 ---- */

static const struct version_known {
  enum superblock_version version;
  const char *name;
  const char *roles; /* of the first dev_numbers: digits; - spare, X faulty */
} version_known[] = {
  { SUPERBLOCK_1_0, "1.0-clean-0", "01-" },
  { SUPERBLOCK_1_0, "1.0-dirty-0", "01-" },
  { SUPERBLOCK_1_0, "1.0-before-0", "01-" },
  { SUPERBLOCK_1_0, "1.0-faulty-0", "0X-" },
  { SUPERBLOCK_1_0, "1.0-removed-0", "0--" },
  { SUPERBLOCK_1_0, "1.0-spare-0", "01-" },
  { SUPERBLOCK_1_0, "1.0-spare-2", "01-" },
  { SUPERBLOCK_1_0, "1.0-recovering-2", "0X1" },
  { SUPERBLOCK_1_0, "1.0-write-mostly-0", "0-2" },
  { SUPERBLOCK_1_0, "1.0-write-mostly-2", "0-2" },
  { SUPERBLOCK_1_0, "1.0-checkpoint-0", "01-" },
  { SUPERBLOCK_1_0, "1.0-no-bitmap-0", "01-" },
  { SUPERBLOCK_1_0, "1.0-bad-blocks-0", "01-" },
  { SUPERBLOCK_1_1, "1.1-clean-0", "01-" },
  { SUPERBLOCK_1_1, "1.1-dirty-0", "01-" },
  { SUPERBLOCK_1_1, "1.1-before-0", "01-" },
  { SUPERBLOCK_1_1, "1.1-faulty-0", "0X-" },
  { SUPERBLOCK_1_1, "1.1-removed-0", "0--" },
  { SUPERBLOCK_1_1, "1.1-spare-0", "01-" },
  { SUPERBLOCK_1_1, "1.1-spare-2", "01-" },
  { SUPERBLOCK_1_1, "1.1-recovering-2", "0X1" },
  { SUPERBLOCK_1_1, "1.1-write-mostly-0", "0-2" },
  { SUPERBLOCK_1_1, "1.1-write-mostly-2", "0-2" },
  { SUPERBLOCK_1_1, "1.1-checkpoint-0", "01-" },
  { SUPERBLOCK_1_1, "1.1-no-bitmap-0", "01-" },
  { SUPERBLOCK_1_1, "1.1-bad-blocks-0", "01-" },
  { SUPERBLOCK_1_2, "1.2-checkpoint-0", "01-" },
  { SUPERBLOCK_1_2, "1.2-faulty-0", "0X-" },
  { SUPERBLOCK_1_2, "1.2-bad-blocks-0", "01-" },
};

#define VERSION_KNOWN (sizeof version_known / sizeof version_known[0])

/* What mdadm says in a line, or what it would say if that line is missing. */
static void __attribute__ ((format (printf, 3, 4)))
mdadm_says (const char *name, const char *label, const char *format, ...)
{
  const char *line = golden_says (name, "examine", label);
  char text[128];
  va_list args;

  ck_assert_msg (line != NULL, "%s: mdadm does not say %s", name, label);
  va_start (args, format);
  vsnprintf (text, sizeof text, format, args);
  va_end (args);
  ck_assert_msg (strncmp (line, text, strlen (text)) == 0,
                 "%s: %s: mdadm says %s, we say %s", name, label, line, text);
}

static void
mdadm_says_time (const char *name, const char *label, uint64_t packed)
{
  const time_t seconds = (time_t)(packed & 0xffffffffff);
  char text[64];

  strftime (text, sizeof text, "%a %b %e %H:%M:%S %Y", gmtime (&seconds));
  mdadm_says (name, label, "%s", text);
}

static void
mdadm_agrees (const struct superblock *s, const char *name)
{
  char uuid[FORMAT_UUID_TEXT];
  unsigned role = superblock_role (s, s->dev_number);

  mdadm_says (name, "Version", "%s", superblock_version_string (s->version));
  mdadm_says (name, "Feature Map", "0x%" PRIx32, s->feature_map);
  mdadm_says (name, "Array UUID", "%s", format_uuid (s->set_uuid, uuid));
  mdadm_says (name, "Device UUID", "%s", format_uuid (s->device_uuid, uuid));
  mdadm_says (name, "Name", "%s", s->set_name);
  mdadm_says_time (name, "Creation Time", s->ctime);
  mdadm_says_time (name, "Update Time", s->utime);
  mdadm_says (name, "Raid Level", "raid%" PRId32, s->level);
  mdadm_says (name, "Raid Devices", "%" PRIu32, s->raid_disks);
  mdadm_says (name, "Avail Dev Size", "%" PRIu64 " sectors", s->data_size);
  if (s->data_size != s->size)
    mdadm_says (name, "Used Dev Size", "%" PRIu64 " sectors", s->size);
  if (s->data_offset != 0)
    mdadm_says (name, "Data Offset", "%" PRIu64 " sectors", s->data_offset);
  mdadm_says (name, "Super Offset", "%" PRIu64 " sectors", s->super_offset);
  if (s->feature_map & FEATURE_BITMAP_OFFSET)
    mdadm_says (name, "Internal Bitmap", "%" PRId32 " sectors",
                s->bitmap_offset);
  else
    ck_assert_ptr_null (golden_says (name, "examine", "Internal Bitmap"));
  if (s->feature_map & FEATURE_RECOVERY_OFFSET)
    mdadm_says (name, "Recovery Offset", "%" PRIu64 " sectors",
                s->recovery_offset);
  mdadm_says (name, "Bad Block Log", "%u entries available at offset %" PRId32,
              s->bblog_size * 64, s->bblog_offset);
  mdadm_says (name, "State", "%s",
              s->resync_offset == RESYNC_CLEAN ? "clean" : "active");
  mdadm_says (name, "Checksum", "%" PRIx32 " - correct",
              superblock_checksum (s));
  mdadm_says (name, "Events", "%" PRIu64, s->events);
  if (role == ROLE_SPARE)
    mdadm_says (name, "Device Role", "spare");
  else
    mdadm_says (name, "Device Role", "Active device %u", role);
  ck_assert (!golden_says (name, "examine", "Flags") == !s->devflags);
}

START_TEST (test_versions)
{
  const struct version_known *k = &version_known[_i];
  static const uint64_t super_offset[] = { 0, 131056, 0, 8 };
  static struct superblock s;
  struct golden golden;
  struct format_error error;
  uint8_t block[SUPERBLOCK_BYTES];
  bool intact;

  golden_load (k->name, &golden);
  ck_assert_msg (
      decode_as (k->version, golden.superblock, &s, &intact, &error) == 0,
      "%s: %s: %s", k->name, error.field, error.found);
  ck_assert (intact);
  ck_assert_int_eq (s.version, k->version);
  ck_assert_uint_eq (s.super_offset, super_offset[k->version]);
  mdadm_agrees (&s, k->name);
  for (unsigned i = 0; k->roles[i]; ++i)
    ck_assert_uint_eq (superblock_role (&s, i), k->roles[i] == '-' ? ROLE_SPARE
                                                : k->roles[i] == 'X'
                                                    ? ROLE_FAULTY
                                                    : k->roles[i] - '0');
  superblock_encode (&s, block);
  ck_assert_mem_eq (block, golden.superblock, sizeof block);

  /* Of no other version. */
  for (unsigned v = SUPERBLOCK_1_0; v < SUPERBLOCK_VERSIONS; ++v)
    if (v != k->version) {
      ck_assert_int_eq (decode_as (v, golden.superblock, &s, &intact, &error),
                        -EINVAL);
      ck_assert_str_eq (error.field, "super_offset");
    }
  ck_assert_int_eq (
      decode_as (SUPERBLOCK_0_90, golden.superblock, &s, &intact, &error),
      -EINVAL);
  ck_assert_str_eq (error.field, "major_version");
  ck_assert (!intact);
}
END_TEST

/* What we write when a leg fails, and when the array becomes clean or dirty,
 * is what the kernel wrote.
 */
START_TEST (test_as_kernel)
{
  static const struct {
    const char *before, *after;
    uint16_t role; /* of dev_number 1 */
  } cases[] = {
    { "dirty-0", "before-0", 1 },
    { "before-0", "dirty-0", 1 },
    { "before-0", "faulty-0", ROLE_FAULTY },
    { "before-0", "removed-0", ROLE_SPARE },
  };
  static const enum superblock_version versions[] = {
    SUPERBLOCK_1_0,
    SUPERBLOCK_1_1,
    SUPERBLOCK_1_2,
  };
  const enum superblock_version version = versions[_i];
  const char *v = superblock_version_string (version);

  for (size_t i = version == SUPERBLOCK_1_2 ? 2 : 0;
       i < sizeof cases / sizeof cases[0]; ++i) {
    static struct superblock s, t;
    struct golden before, after;
    struct format_error error;
    uint8_t block[SUPERBLOCK_BYTES];
    char name[64];
    bool intact;

    snprintf (name, sizeof name, "%s-%s", v, cases[i].before);
    golden_load (name, &before);
    snprintf (name, sizeof name, "%s-%s", v, cases[i].after);
    golden_load (name, &after);
    ck_assert_int_eq (
        decode_as (version, before.superblock, &s, &intact, &error), 0);
    ck_assert_int_eq (
        decode_as (version, after.superblock, &t, &intact, &error), 0);
    s.events = t.events;
    s.utime = t.utime;
    s.resync_offset = t.resync_offset;
    s.dev_roles[1] = cases[i].role;
    superblock_encode (&s, block);
    ck_assert_mem_eq (block, after.superblock, sizeof block);
  }
}
END_TEST

/* ---- every field, every class of wrong value ---- */

/* The block at hand, for the judges. */
static struct superblock base;

static const char *
any (uint64_t v, unsigned e)
{
  (void)v, (void)e;
  return FIELD_OK;
}

static const char *
judge_magic (uint64_t v, unsigned e)
{
  (void)e;
  return v == SUPERBLOCK_MAGIC ? FIELD_OK : field_no_magic;
}

static const char *
judge_major (uint64_t v, unsigned e)
{
  (void)e;
  return v == 1 ? FIELD_OK : "major_version";
}

static const char *
judge_features (uint64_t v, unsigned e)
{
  (void)e;
  /* Bitmap, recovery offset, bad blocks, replacement, recovery by bitmap. */
  if (v & ~UINT64_C (0x9b) || ((v & 0x80) && (v & 3) != 3))
    return "feature_map";
  if ((v & 1) && base.bitmap_offset == 0)
    return "bitmap_offset";
  return FIELD_OK;
}

static const char *
judge_pad0 (uint64_t v, unsigned e)
{
  (void)e;
  return v == 0 ? FIELD_OK : "pad0";
}

static const char *
judge_level (uint64_t v, unsigned e)
{
  (void)e;
  return v == 1 ? FIELD_OK : "level";
}

static const char *
judge_layout (uint64_t v, unsigned e)
{
  (void)e;
  return v == 0 ? FIELD_OK : "layout";
}

static const char *
judge_size (uint64_t v, unsigned e)
{
  (void)e;
  if (v < 1 || v > base.data_size)
    return "size";
  if (base.resync_offset != RESYNC_CLEAN && base.resync_offset > v)
    return "resync_offset";
  return FIELD_OK;
}

static const char *
judge_chunksize (uint64_t v, unsigned e)
{
  (void)e;
  return v == 0 ? FIELD_OK : "chunksize";
}

/* Slots 0 and 1 are in use. */
static const char *
judge_raid_disks (uint64_t v, unsigned e)
{
  (void)e;
  return v < 1 || v > base.max_dev ? "raid_disks"
         : v < 2                   ? "dev_roles"
                                   : FIELD_OK;
}

/* Where it is is for layout_check to say. */
static const char *
judge_bitmap_offset (uint64_t v, unsigned e)
{
  (void)e;
  return v == 0 && (base.feature_map & 1) ? "bitmap_offset" : FIELD_OK;
}

static const char *
judge_data (uint64_t offset, uint64_t size)
{
  const uint64_t leg = GOLDEN_LEG_SECTORS, super = base.super_offset;

  if (size < 10 || size > leg)
    return "data_size";
  if (offset > leg || offset + size > leg)
    return "data_offset";
  if (offset < super + 8 && offset + size > super)
    return base.version == SUPERBLOCK_1_0 && offset < super ? "data_size"
                                                            : "data_offset";
  return size < base.size ? "size" : FIELD_OK;
}

static const char *
judge_data_offset (uint64_t v, unsigned e)
{
  (void)e;
  return judge_data (v, base.data_size);
}

static const char *
judge_data_size (uint64_t v, unsigned e)
{
  (void)e;
  return judge_data (base.data_offset, v);
}

static const char *
judge_super_offset (uint64_t v, unsigned e)
{
  (void)e;
  return v == base.super_offset ? FIELD_OK : "super_offset";
}

static const char *
judge_recovery_offset (uint64_t v, unsigned e)
{
  (void)e;
  return (base.feature_map & 2) && v > base.size ? "recovery_offset" : FIELD_OK;
}

static const char *
judge_dev_number (uint64_t v, unsigned e)
{
  (void)e;
  return v < base.max_dev ? FIELD_OK : "dev_number";
}

static const char *
judge_devflags (uint64_t v, unsigned e)
{
  (void)e;
  return v > 3 ? "devflags" : FIELD_OK;
}

/* While nothing is in the log md does not look at its shift and place. */
static const char *
judge_bblog_shift (uint64_t v, unsigned e)
{
  (void)e;
  return (base.feature_map & 8) && v > 9 ? "bblog_shift" : FIELD_OK;
}

static const char *
judge_bblog_size (uint64_t v, unsigned e)
{
  (void)e;
  return v > 8 || ((base.feature_map & 8) && v == 0) ? "bblog_size" : FIELD_OK;
}

static const char *
judge_bblog_offset (uint64_t v, unsigned e)
{
  (void)e;
  return (base.feature_map & 8) && v == 0 ? "bblog_offset" : FIELD_OK;
}

static const char *
judge_events (uint64_t v, unsigned e)
{
  (void)e;
  return v >> 63 ? "events" : FIELD_OK;
}

static const char *
judge_resync_offset (uint64_t v, unsigned e)
{
  (void)e;
  return v > base.size && v != UINT64_MAX ? "resync_offset" : FIELD_OK;
}

static const char *
judge_csum (uint64_t v, unsigned e)
{
  (void)e;
  return v == superblock_checksum (&base) ? FIELD_OK : "sb_csum";
}

static const char *
judge_max_dev (uint64_t v, unsigned e)
{
  (void)e;
  return v > 1920 ? "max_dev" : v < 2 ? "raid_disks" : FIELD_OK;
}

static const char *
judge_logical_block (uint64_t v, unsigned e)
{
  (void)e;
  return v == 0 || v == 512 || v == 1024 || v == 2048 || v == 4096
             ? FIELD_OK
             : "logical_block_size";
}

static const char *
judge_pad3 (uint64_t v, unsigned e)
{
  (void)e;
  return v == 0 ? FIELD_OK : "pad3";
}

/* A slot, faulty or spare.  Each slot appears once in the block; twice is
 * allowed, and three times has its own test.
 */
static const char *
judge_role (uint64_t v, unsigned e)
{
  (void)e;
  return v < base.raid_disks || v >= 0xfffe ? FIELD_OK : "dev_roles";
}

#define BEHIND (256 + 2 * 128)

/* any: md ignores it, or takes whatever it is. */
static const struct field fields[] = {
  { "magic", 0, 4, 1, 0, judge_magic },
  { "major_version", 4, 4, 1, 0, judge_major },
  { "feature_map", 8, 4, 1, 0, judge_features },
  { "pad0", 12, 4, 1, 0, judge_pad0 },
  { "set_uuid", 16, 8, 2, 8, any },
  { "set_name", 32, 8, 4, 8, any },
  { "ctime", 64, 8, 1, 0, any },
  { "level", 72, 4, 1, 0, judge_level },
  { "layout", 76, 4, 1, 0, judge_layout },
  { "size", 80, 8, 1, 0, judge_size },
  { "chunksize", 88, 4, 1, 0, judge_chunksize },
  { "raid_disks", 92, 4, 1, 0, judge_raid_disks },
  { "bitmap_offset", 96, 4, 1, 0, judge_bitmap_offset },
  { "new_level", 100, 4, 1, 0, any }, /* of reshapes, which are refused */
  { "reshape_position", 104, 8, 1, 0, any },
  { "delta_disks", 112, 4, 1, 0, any },
  { "new_layout", 116, 4, 1, 0, any },
  { "new_chunk", 120, 4, 1, 0, any },
  { "new_offset", 124, 4, 1, 0, any },
  { "data_offset", 128, 8, 1, 0, judge_data_offset },
  { "data_size", 136, 8, 1, 0, judge_data_size },
  { "super_offset", 144, 8, 1, 0, judge_super_offset },
  { "recovery_offset", 152, 8, 1, 0, judge_recovery_offset },
  { "dev_number", 160, 4, 1, 0, judge_dev_number },
  { "cnt_corrected_read", 164, 4, 1, 0, any },
  { "device_uuid", 168, 8, 2, 8, any },
  { "devflags", 184, 1, 1, 0, judge_devflags },
  { "bblog_shift", 185, 1, 1, 0, judge_bblog_shift },
  { "bblog_size", 186, 2, 1, 0, judge_bblog_size },
  { "bblog_offset", 188, 4, 1, 0, judge_bblog_offset },
  { "utime", 192, 8, 1, 0, any },
  { "events", 200, 8, 1, 0, judge_events },
  { "resync_offset", 208, 8, 1, 0, judge_resync_offset },
  { "sb_csum", CSUM, 4, 1, 0, judge_csum },
  { "max_dev", MAX_DEV, 4, 1, 0, judge_max_dev },
  { "logical_block_size", 224, 4, 1, 0, judge_logical_block },
  { "pad3", 228, 4, 7, 4, judge_pad3 },
  { "dev_roles", 256, 2, 128, 2, judge_role },
  { "behind the table", BEHIND, 8, (SUPERBLOCK_BYTES - BEHIND) / 8, 8, any },
};

#define FIELDS (sizeof fields / sizeof fields[0])

START_TEST (test_all_covered)
{
  fields_cover (fields, FIELDS, SUPERBLOCK_BYTES);
}
END_TEST

static void
try_field (uint8_t *block, const struct field *field, const char *refused)
{
  const bool damaged =
      refused
      && (strcmp (refused, "major_version") == 0
          || strcmp (refused, "max_dev") == 0
          || strcmp (refused, "sb_csum") == 0 || refused == field_no_magic);
  const uint32_t max_dev = get_le32 (block + MAX_DEV);
  static struct superblock s;
  struct format_error error;
  uint8_t again[SUPERBLOCK_BYTES];
  bool intact;
  int r;

  if (field->offset != CSUM && max_dev <= SUPERBLOCK_MAX_DEV)
    put_le32 (block + CSUM, superblock_1_checksum (block, max_dev));
  r = decode_as (base.version, block, &s, &intact, &error);
  ck_assert_msg (intact == !damaged, "%s: intact %d", field->name, intact);
  if (intact) {
    superblock_encode (&s, again);
    ck_assert_mem_eq (again, block, sizeof again);
  }
  if (!refused)
    ck_assert_msg (r == 0, "%s: %s: %s", field->name, error.field, error.found);
  else if (refused == field_no_magic)
    ck_assert_int_eq (r, -ENOENT);
  else {
    char text[300];

    ck_assert_msg (r == -EINVAL, "%s: %d", field->name, r);
    ck_assert_msg (strcmp (error.field, refused) == 0,
                   "%s: refused for %s, not for %s", field->name, error.field,
                   refused);
    ck_assert (error.found[0] && error.expected[0]);
    ck_assert_ptr_nonnull (error.advice);
    format_error_string (&error, text, sizeof text);
    ck_assert_ptr_nonnull (strstr (text, refused));
    ck_assert_ptr_nonnull (strstr (text, error.found));
    ck_assert_ptr_nonnull (strstr (text, error.expected));
    ck_assert_ptr_nonnull (strstr (text, error.advice));
  }
}

static const struct {
  enum superblock_version version;
  const char *name;
  uint32_t features; /* or 0: those of the block */
} bases[] = {
  { SUPERBLOCK_1_0, "1.0-dirty-0", 0 },
  { SUPERBLOCK_1_1, "1.1-dirty-0", 0 },
  { SUPERBLOCK_1_2, "dirty-0", 0 },
  { SUPERBLOCK_1_0, "1.0-checkpoint-0", 0 }, /* no bitmap */
  { SUPERBLOCK_1_2, "1.2-bad-blocks-0", 0 },
  { SUPERBLOCK_1_2, "re-adding-1", 0x93 },
};

#define BASES (sizeof bases / sizeof bases[0])

START_TEST (test_field)
{
  for (size_t i = 0; i < BASES; ++i) {
    struct golden golden;
    struct format_error error;
    bool intact;

    golden_load (bases[i].name, &golden);
    /* So that spares are behind the table as well. */
    memset (golden.superblock + BEHIND, 0xff, SUPERBLOCK_BYTES - BEHIND);
    if (bases[i].features)
      put_le32 (golden.superblock + 8, bases[i].features);
    seal (golden.superblock);
    ck_assert_int_eq (
        decode_as (bases[i].version, golden.superblock, &base, &intact, &error),
        0);
    field_try (&fields[_i], golden.superblock, SUPERBLOCK_BYTES, try_field);
  }
}
END_TEST

/* Edges that no class of the above happens to hit. */
START_TEST (test_edges)
{
  static const struct edge {
    unsigned offset, bytes;
    uint64_t value;
  } edges[] = {
    { 80, 8, 129025 },      { 92, 4, 128 },        { 92, 4, 129 },
    { 128, 8, 15 },         { 128, 8, 16 },        { 128, 8, 2049 },
    { 136, 8, 9 },          { 136, 8, 10 },        { 136, 8, 131072 },
    { 136, 8, 131073 },     { 152, 8, 129024 },    { 152, 8, 129025 },
    { 160, 4, 127 },        { 160, 4, 128 },       { 185, 1, 9 },
    { 185, 1, 10 },         { 186, 2, 8 },         { 186, 2, 9 },
    { 200, 8, INT64_MAX },  { 208, 8, 129024 },    { 208, 8, 129025 },
    { 220, 4, 1920 },       { 220, 4, 1921 },      { 220, 4, 65535 },
    { 224, 4, 8192 },       { 224, 4, 520 },       { 256, 2, 0xfeff },
    { 256, 2, 0xff00 },     { 256, 2, 0xfffd },    { 72, 4, 10 },
    { 128, 8, -129024ull }, { 96, 4, 0xfffffff0 }, { 188, 4, 0x80000000 },
  };
  const struct edge *edge = &edges[_i % (sizeof edges / sizeof edges[0])];

  for (size_t i = 0; i < BASES; ++i)
    for (size_t f = 0; f < FIELDS; ++f)
      if (fields[f].offset == edge->offset) {
        struct golden golden;
        struct format_error error;
        bool intact;

        golden_load (bases[i].name, &golden);
        memset (golden.superblock + BEHIND, 0xff, SUPERBLOCK_BYTES - BEHIND);
        if (bases[i].features)
          put_le32 (golden.superblock + 8, bases[i].features);
        seal (golden.superblock);
        ck_assert_int_eq (decode_as (bases[i].version, golden.superblock, &base,
                                     &intact, &error),
                          0);
        ck_assert_uint_eq (edge->bytes, fields[f].bytes);
        field_put (golden.superblock + edge->offset, edge->bytes, edge->value);
        try_field (golden.superblock, &fields[f],
                   fields[f].judge (edge->value, 0));
      }
  ck_assert_uint_eq (sizeof edges / sizeof edges[0], EDGES);
}
END_TEST

/* Twice while a leg is being replaced, never three times. */
START_TEST (test_slot_thrice)
{
  struct golden golden;
  static struct superblock s;
  struct format_error error;
  bool intact;

  golden_load ("dirty-0", &golden);
  put_le16 (golden.superblock + 256 + 2 * 127, 1);
  seal (golden.superblock);
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), 0);
  put_le16 (golden.superblock + 256 + 2 * 2, 1);
  seal (golden.superblock);
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), -EINVAL);
  ck_assert_str_eq (error.field, "dev_roles");
  ck_assert_ptr_nonnull (strstr (error.found, "slot 1 three times"));
}
END_TEST

/* Refused by name. */
START_TEST (test_journal)
{
  struct golden golden;
  static struct superblock s;
  struct format_error error;
  bool intact;

  golden_load ("dirty-0", &golden);
  put_le16 (golden.superblock + 256 + 2 * 5, ROLE_JOURNAL);
  seal (golden.superblock);
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), -EINVAL);
  ck_assert_str_eq (error.field, "dev_roles");
  ck_assert_ptr_nonnull (strstr (error.advice, "journal"));
}
END_TEST

START_TEST (test_features)
{
  const uint32_t bit = (uint32_t)1 << _i;
  struct golden golden;
  struct superblock s;
  struct format_error error;
  bool intact;
  int r;

  golden_load ("dirty-0", &golden);
  put_le32 (golden.superblock + 8, 1 | bit);
  seal (golden.superblock);
  r = decode (golden.superblock, &s, &intact, &error);
  ck_assert (intact);
  if (bit
      & (FEATURE_BITMAP_OFFSET | FEATURE_RECOVERY_OFFSET | FEATURE_BAD_BLOCKS
         | FEATURE_REPLACEMENT)) {
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
  struct superblock s;
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
  uint8_t block[SUPERBLOCK_BYTES] = { 0 };
  struct golden golden;
  struct superblock s;
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
  struct superblock s;
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
    { 2, NULL },
    { 3, NULL },
    { 127, NULL },
    { 129, NULL },
    { 383, NULL },
    { 384, NULL },
    { 1919, NULL },
    { 1920, NULL },
    { 1921, "max_dev" },
    { 65535, "max_dev" },
    { UINT32_MAX, "max_dev" },
  };
  struct golden golden;
  struct superblock s;
  struct format_error error;
  uint8_t block[SUPERBLOCK_BYTES];
  bool intact;

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const uint32_t max_dev = cases[i].max_dev;
    int r;

    golden_load ("clean-0", &golden);
    memset (golden.superblock + 512, 0xff, SUPERBLOCK_BYTES - 512);
    put_le32 (golden.superblock + MAX_DEV, max_dev);
    if (max_dev <= SUPERBLOCK_MAX_DEV)
      put_le32 (golden.superblock + CSUM,
                superblock_1_checksum (golden.superblock, max_dev));
    r = decode (golden.superblock, &s, &intact, &error);
    if (cases[i].refused) {
      ck_assert_int_eq (r, -EINVAL);
      if (max_dev > 0)
        ck_assert_str_eq (error.field, cases[i].refused);
      ck_assert (intact == (max_dev <= SUPERBLOCK_MAX_DEV));
      continue;
    }
    ck_assert_msg (r == 0, "max_dev %u: %s", max_dev, error.field);
    ck_assert_uint_eq (s.max_dev, max_dev);
    ck_assert_uint_eq (superblock_length (&s), 256 + 2 * max_dev);
    superblock_encode (&s, block);
    ck_assert_mem_eq (block, golden.superblock, sizeof block);
  }
}
END_TEST

/* Low and high half are added once; an odd table ends with half a word. */
START_TEST (test_checksum)
{
  uint8_t block[SUPERBLOCK_BYTES];

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

/* On a leg that is too short, and on one that has grown. */
START_TEST (test_place)
{
  static const struct {
    enum superblock_version version;
    const char *name;
    uint64_t leg_sectors;
    const char *refused;
  } cases[] = {
    { SUPERBLOCK_1_2, "clean-0", GOLDEN_LEG_SECTORS + 1, NULL },
    { SUPERBLOCK_1_2, "clean-0", GOLDEN_LEG_SECTORS - 1, "data_offset" },
    { SUPERBLOCK_1_2, "clean-0", 16, "data_size" },
    { SUPERBLOCK_1_2, "clean-0", 15, "super_offset" },
    { SUPERBLOCK_1_2, "clean-0", 0, "super_offset" },
    { SUPERBLOCK_1_1, "1.1-clean-0", GOLDEN_LEG_SECTORS + 1, NULL },
    { SUPERBLOCK_1_1, "1.1-clean-0", GOLDEN_LEG_SECTORS - 1, "data_offset" },
    { SUPERBLOCK_1_1, "1.1-clean-0", 8, "data_size" },
    { SUPERBLOCK_1_1, "1.1-clean-0", 7, "super_offset" },
    { SUPERBLOCK_1_0, "1.0-clean-0", GOLDEN_LEG_SECTORS + 7, NULL },
    { SUPERBLOCK_1_0, "1.0-clean-0", GOLDEN_LEG_SECTORS + 8, "super_offset" },
    { SUPERBLOCK_1_0, "1.0-clean-0", GOLDEN_LEG_SECTORS - 1, "super_offset" },
    { SUPERBLOCK_1_0, "1.0-clean-0", 15, "super_offset" },
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    struct golden golden;
    static struct superblock s;
    struct format_error error;
    bool intact;
    int r;

    golden_load (cases[i].name, &golden);
    r = superblock_decode (cases[i].version, golden.superblock,
                           cases[i].leg_sectors, &s, &intact, &error);
    ck_assert (intact);
    if (cases[i].refused) {
      ck_assert_int_eq (r, -EINVAL);
      ck_assert_str_eq (error.field, cases[i].refused);
    }
    else
      ck_assert_int_eq (r, 0);
  }
}
END_TEST

/* A superblock that says that it is where nothing can be. */
START_TEST (test_no_place)
{
  struct golden golden;
  static struct superblock s;
  struct format_error error;
  bool intact;

  golden_load ("clean-0", &golden);
  put_le64 (golden.superblock + 144, UINT64_MAX);
  seal (golden.superblock);
  ck_assert_int_eq (superblock_decode (SUPERBLOCK_1_2, golden.superblock, 15,
                                       &s, &intact, &error),
                    -EINVAL);
  ck_assert_str_eq (error.field, "super_offset");
}
END_TEST

START_TEST (test_sector)
{
  static const struct {
    uint64_t leg, at[SUPERBLOCK_VERSIONS];
  } cases[] = {
    { 0, { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX } },
    { 7, { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX } },
    { 8, { UINT64_MAX, UINT64_MAX, 0, UINT64_MAX } },
    { 15, { UINT64_MAX, UINT64_MAX, 0, UINT64_MAX } },
    { 16, { UINT64_MAX, 0, 0, 8 } },
    { 127, { UINT64_MAX, 104, 0, 8 } },
    { 128, { 0, 112, 0, 8 } },
    { 255, { 0, 232, 0, 8 } },
    { 256, { 128, 240, 0, 8 } },
    /* As md placed them. */
    { 32768, { 32640, 32752, 0, 8 } },
    { 131072, { 130944, 131056, 0, 8 } },
    { 18874368, { 18874240, 18874352, 0, 8 } },
    { 6442450944, { 6442450816, 6442450928, 0, 8 } },
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i)
    for (unsigned v = 0; v < SUPERBLOCK_VERSIONS; ++v)
      ck_assert_msg (superblock_sector (v, cases[i].leg) == cases[i].at[v],
                     "%s, %llu sectors", superblock_version_string (v),
                     (unsigned long long)cases[i].leg);
}
END_TEST

START_TEST (test_version_names)
{
  enum superblock_version version;

  for (unsigned v = 0; v < SUPERBLOCK_VERSIONS; ++v) {
    ck_assert (
        superblock_version_parse (superblock_version_string (v), &version));
    ck_assert_uint_eq (version, v);
  }
  ck_assert (superblock_version_parse ("0.90", &version)
             && version == SUPERBLOCK_0_90);
  ck_assert (superblock_version_parse ("1.2", &version)
             && version == SUPERBLOCK_1_2);
  ck_assert (!superblock_version_parse ("1", &version));
  ck_assert (!superblock_version_parse ("1.3", &version));
  ck_assert (!superblock_version_parse ("", &version));
}
END_TEST

START_TEST (test_adopt_roles)
{
  struct golden golden;
  static struct superblock s, t;
  struct format_error error;
  bool intact;

  golden_load ("degraded-1", &golden);
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), 0);
  golden_load ("degraded-0", &golden);
  ck_assert_int_eq (decode (golden.superblock, &t, &intact, &error), 0);
  t.max_dev = 130;
  superblock_adopt_roles (&s, &t);
  ck_assert_uint_eq (s.max_dev, 130);
  ck_assert_mem_eq (s.dev_roles, t.dev_roles, sizeof s.dev_roles);
  ck_assert_uint_eq (superblock_role (&s, 1), ROLE_FAULTY);
  ck_assert_uint_eq (s.events, 2);
}
END_TEST

/* ---- encoding ---- */

/* Each field of the struct ends up in its own bytes and nowhere else. */
#define FIELD(field, offset, bytes, value)                 \
  do {                                                     \
    struct superblock t = s;                               \
    uint8_t want[SUPERBLOCK_BYTES], got[SUPERBLOCK_BYTES]; \
                                                           \
    t.field = (value);                                     \
    memcpy (want, s.block, sizeof want);                   \
    field_put (want + (offset), (bytes), (value));         \
    seal (want);                                           \
    superblock_encode (&t, got);                           \
    ck_assert_mem_eq (got, want, sizeof got);              \
  } while (0)

START_TEST (test_fields)
{
  struct golden golden;
  static struct superblock s;
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
  static struct superblock s;
  static const char longest[] = "0123456789abcdefghijklmnopqrstuv";
  uint8_t block[SUPERBLOCK_BYTES];
  struct golden golden;
  struct format_error error;
  bool intact;

  golden_load ("clean-0", &golden);
  decode (golden.superblock, &s, &intact, &error);
  strcpy (s.set_name, longest);
  superblock_encode (&s, block);
  ck_assert_mem_eq (block + 32, longest, 32);
  ck_assert_int_eq (decode (block, &s, &intact, &error), 0);
  ck_assert_str_eq (s.set_name, longest);
  strcpy (s.set_name, "ab");
  superblock_encode (&s, block);
  ck_assert_mem_eq (block + 32,
                    "ab\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                    32);
  s.set_name[0] = '\0';
  superblock_encode (&s, block);
  ck_assert (block[32] == 0 && block[33] == 0);
}
END_TEST

START_TEST (test_time)
{
  ck_assert_uint_eq (superblock_time (0), 0);
  ck_assert_uint_eq (superblock_time (1795244724), 1795244724);
  ck_assert_uint_eq (superblock_time (INT64_C (1) << 40), 0);
  ck_assert_uint_eq (superblock_time (-1), (UINT64_C (1) << 40) - 1);
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
  tcase_add_loop_test (tc, test_versions, 0, VERSION_KNOWN);
  tcase_add_loop_test (tc, test_as_kernel, 0, 3);
  tcase_add_loop_test (tc, test_field, 0, FIELDS);
  tcase_add_loop_test (tc, test_edges, 0, EDGES);
  tcase_add_test (tc, test_slot_thrice);
  tcase_add_test (tc, test_journal);
  tcase_add_test (tc, test_all_covered);
  tcase_add_loop_test (tc, test_features, 0, 32);
  tcase_add_test (tc, test_recovery_bitmap);
  tcase_add_test (tc, test_no_magic);
  tcase_add_test (tc, test_bit_flips);
  tcase_add_test (tc, test_max_dev);
  tcase_add_test (tc, test_checksum);
  tcase_add_test (tc, test_place);
  tcase_add_test (tc, test_no_place);
  tcase_add_test (tc, test_sector);
  tcase_add_test (tc, test_version_names);
  tcase_add_test (tc, test_adopt_roles);
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
