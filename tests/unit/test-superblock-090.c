/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The codec of superblock 0.90, against blocks that md wrote. */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "format/superblock_090.h"

#include "fields.h"
#include "golden.h"

#define CSUM      152
#define SUPER     130944 /* of the golden legs, sectors */
#define DISKS     512
#define DISK(n)   (DISKS + 128 * (n))
#define THIS_DISK 3968

static void
seal (uint8_t *block)
{
  put_le32 (block + CSUM, superblock_090_checksum (block));
}

static int
decode (const uint8_t *block, struct superblock *s, bool *intact,
        struct format_error *error)
{
  memset (s, 0xa5, sizeof *s);
  memset (error, 0, sizeof *error);
  return superblock_decode (SUPERBLOCK_0_90, block, GOLDEN_LEG_SECTORS, s,
                            intact, error);
}

static void
load (const char *name, struct superblock *s)
{
  struct golden golden;
  struct format_error error;
  bool intact;

  golden_load (name, &golden);
  ck_assert_msg (decode (golden.superblock, s, &intact, &error) == 0,
                 "%s: %s: %s", name, error.field, error.found);
}

/* ---- what md wrote ---- */

static const char *const known[] = {
  "0.90-clean-0",         "0.90-dirty-0",        "0.90-before-0",
  "0.90-faulty-0",        "0.90-removed-0",      "0.90-removed-1",
  "0.90-spare-0",         "0.90-spare-2",        "0.90-recovering-0",
  "0.90-recovering-2",    "0.90-recovered-2",    "0.90-first-before-1",
  "0.90-first-removed-1", "0.90-write-mostly-0", "0.90-write-mostly-2",
  "0.90-checkpoint-0",    "0.90-no-bitmap-0",
};

#define KNOWN (sizeof known / sizeof known[0])

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
  const time_t seconds = (time_t)packed;
  char text[64];

  strftime (text, sizeof text, "%a %b %e %H:%M:%S %Y", gmtime (&seconds));
  mdadm_says (name, label, "%s", text);
}

/* mdadm's table of devices: number, major, minor, slot, state. */
static void
mdadm_lists (const struct superblock *s, const char *name)
{
  FILE *fp = golden_open (name, "examine");
  unsigned seen = 0, index, number, major, minor, slot;
  bool seen_this = false;
  char line[256];

  while (fgets (line, sizeof line, fp)) {
    const char *state;
    unsigned role;
    int at = 0;

    if (sscanf (line, "this %u %u %u %u %n", &number, &major, &minor, &slot,
                &at)
        == 4) {
      ck_assert_uint_eq (number, s->dev_number);
      state = line + at;
      ck_assert (!strstr (state, "write-mostly")
                 == !(s->devflags & DEV_FLAG_WRITE_MOSTLY));
      ck_assert (!strstr (state, "failfast")
                 == !(s->devflags & DEV_FLAG_FAILFAST));
      seen_this = true;
      continue;
    }
    if (sscanf (line, "%u %u %u %u %u %n", &index, &number, &major, &minor,
                &slot, &at)
        != 5)
      continue;
    state = line + at;
    role = strncmp (state, "active sync", 11) == 0 ? slot
           : strncmp (state, "spare", 5) == 0      ? ROLE_SPARE
                                                   : ROLE_FAULTY;
    ck_assert (role != ROLE_FAULTY || strstr (state, "faulty")
               || strstr (state, "removed"));
    ck_assert_msg (superblock_role (s, index) == role, "%s: %s", name, line);
    seen |= 1u << index;
  }
  fclose (fp);
  ck_assert (seen_this);
  /* It does not list what is attached but faulty. */
  for (unsigned i = 0; i < SUPERBLOCK_090_MAX_DEV; ++i)
    if (!(seen & 1u << i))
      ck_assert_uint_eq (
          superblock_role (s, i),
          bytes_are_zero (s->block + DISK (i), 128) ? ROLE_SPARE : ROLE_FAULTY);
}

START_TEST (test_known)
{
  const char *name = known[_i];
  static struct superblock s;
  uint8_t block[SUPERBLOCK_BYTES], raw[SUPERBLOCK_BYTES];
  struct golden golden;
  uint8_t *u = s.set_uuid;

  load (name, &s);
  ck_assert_int_eq (s.version, SUPERBLOCK_0_90);
  mdadm_says (name, "Magic", "%08x", SUPERBLOCK_MAGIC);
  mdadm_says (name, "Version", "%s.00", superblock_version_string (s.version));
  mdadm_says (name, "UUID", "%08x:%08x:%08x:%08x", get_le32 (u),
              get_le32 (u + 4), get_le32 (u + 8), get_le32 (u + 12));
  mdadm_says_time (name, "Creation Time", s.ctime);
  mdadm_says_time (name, "Update Time", s.utime);
  mdadm_says (name, "Raid Level", "raid%" PRId32, s.level);
  mdadm_says (name, "Used Dev Size", "%" PRIu64 " (", s.size / 2);
  mdadm_says (name, "Raid Devices", "%" PRIu32, s.raid_disks);
  mdadm_says (name, "State", "%s",
              s.resync_offset == RESYNC_CLEAN ? "clean" : "active");
  ck_assert (!golden_says (name, "examine", "Internal Bitmap")
             == !(s.feature_map & FEATURE_BITMAP_OFFSET));
  mdadm_says (name, "Checksum", "%" PRIx32 " - correct",
              superblock_checksum (&s));
  mdadm_says (name, "Events", "%" PRIu64, s.events);
  mdadm_lists (&s, name);

  ck_assert_int_eq (s.bitmap_offset, s.feature_map ? 8 : 0);
  ck_assert_uint_eq (s.data_offset, 0);
  ck_assert_uint_eq (s.data_size, SUPER);
  ck_assert_uint_eq (s.super_offset, SUPER);
  ck_assert_uint_eq (s.max_dev, SUPERBLOCK_090_MAX_DEV);
  ck_assert_uint_eq (superblock_length (&s), SUPERBLOCK_BYTES);
  ck_assert_uint_eq (superblock_role (&s, 27), ROLE_SPARE);
  ck_assert_str_eq (s.set_name, "");
  ck_assert (bytes_are_zero (s.device_uuid, sizeof s.device_uuid));
  ck_assert_uint_eq (s.bblog_size, 0);
  ck_assert_int_eq (s.bblog_offset, 0);
  ck_assert_uint_eq (s.recovery_offset, 0);
  ck_assert_uint_eq (s.layout, 0);
  ck_assert_uint_eq (s.chunksize, 0);

  golden_load (name, &golden);
  memset (block, 0xee, sizeof block);
  superblock_encode (&s, block);
  ck_assert_mem_eq (block, golden.superblock, sizeof block);
  memcpy (raw, s.block, sizeof raw);
  superblock_encode (&s, s.block);
  ck_assert_mem_eq (s.block, raw, sizeof raw);
  if (s.feature_map & FEATURE_BITMAP_OFFSET)
    ck_assert_mem_eq (golden.bitmap + 8, s.set_uuid, 16);
}
END_TEST

START_TEST (test_resync_offset)
{
  static struct superblock s;

  load ("0.90-clean-0", &s); /* cp_events 0, as mdadm leaves it */
  ck_assert_uint_eq (s.resync_offset, RESYNC_CLEAN);
  load ("0.90-dirty-0", &s);
  ck_assert_uint_eq (s.resync_offset, 0);
  load ("0.90-checkpoint-0", &s);
  ck_assert_uint_gt (s.resync_offset, 0);
  ck_assert_uint_lt (s.resync_offset, s.size);
  ck_assert_uint_eq (s.resync_offset, get_le32 (s.block + 172));
  /* Of other events: means nothing. */
  put_le32 (s.block + 164, get_le32 (s.block + 164) - 1);
  seal (s.block);
  {
    static struct superblock t;
    struct format_error error;
    bool intact;

    ck_assert_int_eq (decode (s.block, &t, &intact, &error), 0);
    ck_assert_uint_eq (t.resync_offset, 0);
  }
}
END_TEST

/* ---- what we write is what the kernel wrote ---- */

static void
becomes (struct superblock *s, const char *after)
{
  static struct superblock t;
  uint8_t block[SUPERBLOCK_BYTES];

  load (after, &t);
  s->events = t.events;
  s->utime = t.utime;
  s->resync_offset = t.resync_offset;
  superblock_encode (s, block);
  for (unsigned i = 0; i < SUPERBLOCK_BYTES; ++i)
    ck_assert_msg (block[i] == t.block[i], "%s: byte %u: %02x, not %02x", after,
                   i, block[i], t.block[i]);
}

START_TEST (test_clean_and_dirty)
{
  static struct superblock s;

  load ("0.90-dirty-0", &s);
  becomes (&s, "0.90-before-0");
  load ("0.90-before-0", &s);
  becomes (&s, "0.90-dirty-0");
}
END_TEST

START_TEST (test_leg_failed)
{
  static struct superblock s;

  load ("0.90-before-0", &s);
  s.dev_roles[1] = ROLE_FAULTY;
  becomes (&s, "0.90-removed-0");
  /* Attached and faulty still: for us it is gone. */
  load ("0.90-faulty-0", &s);
  ck_assert_uint_eq (superblock_role (&s, 1), ROLE_FAULTY);
  ck_assert_uint_eq (superblock_role (&s, 2), ROLE_FAULTY);
}
END_TEST

/* When the first slot is lost, md forgets to say that it is faulty and to
 * count it.  We do not.
 */
START_TEST (test_first_leg_failed)
{
  static struct superblock s, t;

  load ("0.90-first-removed-1", &t);
  ck_assert_uint_eq (get_le32 (t.block + DISK (0) + 16), 8);
  ck_assert_uint_eq (get_le32 (t.block + 144), 0);
  ck_assert_uint_eq (superblock_role (&t, 0), ROLE_FAULTY);
  load ("0.90-first-before-1", &s);
  s.dev_roles[0] = ROLE_FAULTY;
  s.events = t.events;
  s.utime = t.utime;
  superblock_encode (&s, s.block);
  put_le32 (t.block + DISK (0) + 16, 9);
  put_le32 (t.block + 144, 1);
  seal (t.block);
  ck_assert_mem_eq (s.block, t.block, SUPERBLOCK_BYTES);
}
END_TEST

/* A spare stays one, and is counted. */
START_TEST (test_leg_failed_with_spare)
{
  static struct superblock s;
  uint8_t block[SUPERBLOCK_BYTES];

  load ("0.90-spare-0", &s);
  s.dev_roles[1] = ROLE_FAULTY;
  s.events++;
  superblock_encode (&s, block);
  ck_assert_uint_eq (get_le32 (block + 36), 2);  /* nr_disks */
  ck_assert_uint_eq (get_le32 (block + 136), 1); /* active */
  ck_assert_uint_eq (get_le32 (block + 140), 2); /* working */
  ck_assert_uint_eq (get_le32 (block + 144), 1); /* failed */
  ck_assert_uint_eq (get_le32 (block + 148), 1); /* spare */
  ck_assert_mem_eq (block + DISK (2), s.block + DISK (2), 128);
  ck_assert_uint_eq (get_le32 (block + DISK (1)), 1);
  ck_assert_uint_eq (get_le32 (block + DISK (1) + 12), 1);
  ck_assert_uint_eq (get_le32 (block + DISK (1) + 16), 9);
  /* The spare fails: it stays where it is. */
  s.dev_roles[2] = ROLE_FAULTY;
  superblock_encode (&s, block);
  ck_assert_uint_eq (get_le32 (block + DISK (2)), 2);
  ck_assert_uint_eq (get_le32 (block + DISK (2) + 4),
                     get_le32 (s.block + DISK (2) + 4));
  ck_assert_uint_eq (get_le32 (block + DISK (2) + 16), 1);
  ck_assert_uint_eq (get_le32 (block + 36), 2);
  ck_assert_uint_eq (get_le32 (block + 140), 1);
  ck_assert_uint_eq (get_le32 (block + 148), 0);
}
END_TEST

/* Another leg's table, and one's own place in it. */
START_TEST (test_adopt_roles)
{
  static struct superblock s, t;
  uint8_t block[SUPERBLOCK_BYTES];

  load ("0.90-recovering-2", &s);
  load ("0.90-recovering-0", &t);
  superblock_adopt_roles (&s, &t);
  superblock_encode (&s, block);
  load ("0.90-recovering-2", &t);
  ck_assert_mem_eq (block, t.block, sizeof block);

  load ("0.90-dirty-0", &s);
  load ("0.90-spare-2", &t);
  superblock_adopt_roles (&s, &t);
  ck_assert_uint_eq (s.dev_number, 0);
  ck_assert_uint_eq (superblock_role (&s, 2), ROLE_SPARE);
  becomes (&s, "0.90-spare-0");

  /* One's own flags stay, whatever the table says of them. */
  load ("0.90-write-mostly-2", &s);
  load ("0.90-write-mostly-0", &t);
  put_le32 (t.block + DISK (2) + 16, 6);
  superblock_adopt_roles (&s, &t);
  superblock_encode (&s, block);
  load ("0.90-write-mostly-2", &t);
  ck_assert_mem_eq (block, t.block, sizeof block);

  /* this_disk follows. */
  load ("0.90-before-0", &s);
  load ("0.90-before-0", &t);
  put_le32 (t.block + DISK (0) + 8, 77);
  superblock_adopt_roles (&s, &t);
  superblock_encode (&s, block);
  ck_assert_uint_eq (get_le32 (block + THIS_DISK + 8), 77);
  ck_assert_mem_eq (block + THIS_DISK, block + DISK (0), 128);

  /* Roles that the table's block does not say yet. */
  load ("0.90-before-0", &s);
  load ("0.90-before-0", &t);
  t.dev_roles[1] = ROLE_FAULTY;
  superblock_adopt_roles (&s, &t);
  becomes (&s, "0.90-removed-0");
}
END_TEST

/* ---- creating ---- */

static void
make (struct superblock *s, uint32_t raid_disks)
{
  memset (s, 0, sizeof *s);
  s->version = SUPERBLOCK_0_90;
  s->feature_map = FEATURE_BITMAP_OFFSET;
  s->bitmap_offset = SUPERBLOCK_090_BITMAP_OFFSET;
  memcpy (s->set_uuid, "0123456789abcdef", 16);
  s->ctime = s->utime = 1795244724;
  s->level = 1;
  s->size = 130944;
  s->raid_disks = raid_disks;
  s->data_size = s->super_offset = SUPER;
  s->events = 1;
  s->resync_offset = RESYNC_CLEAN;
  s->max_dev = SUPERBLOCK_090_MAX_DEV;
  memset (s->dev_roles, 0xff, sizeof s->dev_roles);
}

START_TEST (test_create)
{
  static struct superblock s, t;
  struct format_error error;
  uint8_t block[SUPERBLOCK_BYTES];
  bool intact;

  make (&s, 3);
  s.dev_roles[0] = 0;
  s.dev_roles[2] = 2; /* 1 is missing, be it called a spare or faulty */
  s.dev_number = 2;
  s.devflags = DEV_FLAG_WRITE_MOSTLY;
  memset (block, 0xee, sizeof block);
  superblock_encode (&s, block);
  ck_assert_msg (decode (block, &t, &intact, &error) == 0, "%s: %s",
                 error.field, error.found);
  ck_assert_uint_eq (superblock_role (&t, 1), ROLE_FAULTY);
  s.dev_roles[1] = ROLE_FAULTY;
  memcpy (s.block, block, sizeof block);
  ck_assert_mem_eq (&s, &t, sizeof s);
  memset (s.block, 0, sizeof s.block);
  superblock_encode (&s, s.block);
  ck_assert_mem_eq (s.block, block, sizeof block);

  ck_assert_uint_eq (get_le32 (block + 8), 90);
  ck_assert_uint_eq (get_le32 (block + 36), 2);
  ck_assert_uint_eq (get_le32 (block + 136), 2);
  ck_assert_uint_eq (get_le32 (block + 140), 2);
  ck_assert_uint_eq (get_le32 (block + 144), 1);
  ck_assert_uint_eq (get_le32 (block + 148), 0);
  for (unsigned i = 0; i < 3; ++i) {
    /* 0:0 is no device. */
    ck_assert (!get_le64 (block + DISK (i) + 4) == (i == 1));
    ck_assert_uint_eq (get_le32 (block + DISK (i)), i);
    ck_assert_uint_eq (get_le32 (block + DISK (i) + 12), i);
  }
  ck_assert_uint_eq (get_le32 (block + DISK (0) + 16), 6);
  ck_assert_uint_eq (get_le32 (block + DISK (1) + 16), 9);
  ck_assert_uint_eq (get_le32 (block + DISK (2) + 16), 0x206);
  ck_assert_mem_eq (block + THIS_DISK, block + DISK (2), 128);
  ck_assert (bytes_are_zero (block + DISK (3), THIS_DISK - DISK (3)));
}
END_TEST

START_TEST (test_create_full)
{
  static struct superblock s, t;
  struct format_error error;
  uint8_t block[SUPERBLOCK_BYTES];
  bool intact;

  make (&s, SUPERBLOCK_090_MAX_DEV);
  for (unsigned i = 0; i < SUPERBLOCK_090_MAX_DEV; ++i)
    s.dev_roles[i] = (uint16_t)i;
  s.dev_number = 26;
  s.resync_offset = 0;
  superblock_encode (&s, block);
  ck_assert_int_eq (decode (block, &t, &intact, &error), 0);
  memcpy (s.block, block, sizeof block);
  ck_assert_mem_eq (&s, &t, sizeof s);
}
END_TEST

/* ---- fields of the struct ---- */

START_TEST (test_flags)
{
  static struct superblock s;
  uint8_t block[SUPERBLOCK_BYTES];

  load ("0.90-before-0", &s);
  for (unsigned flags = 0; flags < 4; ++flags) {
    uint32_t state = 6 | (flags & 1 ? 0x200 : 0) | (flags & 2 ? 0x400 : 0);
    uint8_t want[SUPERBLOCK_BYTES];

    s.devflags = (uint8_t)flags;
    memcpy (want, s.block, sizeof want);
    put_le32 (want + DISK (0) + 16, state);
    put_le32 (want + THIS_DISK + 16, state);
    seal (want);
    superblock_encode (&s, block);
    ck_assert_mem_eq (block, want, sizeof want);
  }
}
END_TEST

#define FIELD(field, offset, bytes, value, raw)            \
  do {                                                     \
    static struct superblock t;                            \
    uint8_t want[SUPERBLOCK_BYTES], got[SUPERBLOCK_BYTES]; \
                                                           \
    t = s;                                                 \
    t.field = (value);                                     \
    memcpy (want, s.block, sizeof want);                   \
    field_put (want + (offset), (bytes), (raw));           \
    seal (want);                                           \
    superblock_encode (&t, got);                           \
    ck_assert_mem_eq (got, want, sizeof got);              \
  } while (0)

START_TEST (test_fields)
{
  static struct superblock s;

  load ("0.90-dirty-0", &s);
  FIELD (feature_map, 132, 4, 0, 0);
  FIELD (set_uuid[0], 20, 1, 0xab, 0xab);
  FIELD (set_uuid[3], 23, 1, 0xab, 0xab);
  FIELD (set_uuid[4], 52, 1, 0xab, 0xab);
  FIELD (set_uuid[15], 63, 1, 0xab, 0xab);
  FIELD (ctime, 24, 4, 0x81234567, 0x81234567);
  FIELD (utime, 128, 4, 0x81234567, 0x81234567);
  FIELD (level, 28, 4, -4, -4);
  FIELD (size, 32, 4, 0x102468acc, 0x81234566);
  FIELD (raid_disks, 40, 4, 5, 5);
  FIELD (layout, 256, 4, 7, 7);
  FIELD (chunksize, 260, 4, 128, 65536);
  FIELD (events, 156, 8, 0x123456789, 0x123456789);
}
END_TEST

START_TEST (test_checkpoint)
{
  static struct superblock s, t;
  struct format_error error;
  uint8_t block[SUPERBLOCK_BYTES];
  bool intact;

  load ("0.90-dirty-0", &s);
  s.resync_offset = 4096;
  superblock_encode (&s, block);
  ck_assert_int_eq (decode (block, &t, &intact, &error), 0);
  ck_assert_uint_eq (t.resync_offset, 4096);
  s.events++;
  superblock_encode (&s, block);
  ck_assert_int_eq (decode (block, &t, &intact, &error), 0);
  ck_assert_uint_eq (t.resync_offset, 4096);
  /* 32 bits have no more: a resync from there is one from too early. */
  s.size = s.resync_offset = UINT64_C (0x100000010);
  superblock_encode (&s, block);
  ck_assert_uint_eq (get_le32 (block + 172), 0xfffffffe);
}
END_TEST

/* ---- every field, every class of wrong value ---- */

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
  return v == 0 ? FIELD_OK : "major_version";
}

static const char *
judge_minor (uint64_t v, unsigned e)
{
  (void)e;
  return v == 90 ? FIELD_OK : "minor_version";
}

static const char *
judge_level (uint64_t v, unsigned e)
{
  (void)e;
  return v == 1 ? FIELD_OK : "level";
}

/* KiB. */
static const char *
judge_size (uint64_t v, unsigned e)
{
  (void)e;
  if (v < 1 || v > SUPER / 2)
    return "size";
  if (base.resync_offset != RESYNC_CLEAN && base.resync_offset > 2 * v)
    return "recovery_cp";
  return FIELD_OK;
}

/* Slots 0 and 1 are in use. */
static const char *
judge_raid_disks (uint64_t v, unsigned e)
{
  (void)e;
  return v < 1 || v > 27 ? "raid_disks" : v < 2 ? "disks.raid_disk" : FIELD_OK;
}

static const char *
judge_not_persistent (uint64_t v, unsigned e)
{
  (void)e;
  return v == 0 ? FIELD_OK : "not_persistent";
}

/* What recovery_cp means when the other words are what they are. */
static const char *
judge_cp (bool clean, uint64_t events, uint64_t cp_events, uint64_t cp)
{
  return !clean && events == cp_events && cp > base.size ? "recovery_cp"
                                                         : FIELD_OK;
}

static const char *
judge_state (uint64_t v, unsigned e)
{
  (void)e;
  if (v & ~UINT64_C (0x103))
    return "state";
  return judge_cp (v & 1, base.events, get_le64 (base.block + 164),
                   get_le32 (base.block + 172));
}

static const char *
judge_csum (uint64_t v, unsigned e)
{
  /* md compares what is left when both halves have been added up. */
  uint64_t sum = superblock_checksum (&base);

  (void)e;
  while (v > 0xffff)
    v = (v & 0xffff) + (v >> 16);
  while (sum > 0xffff)
    sum = (sum & 0xffff) + (sum >> 16);
  return v == sum ? FIELD_OK : "sb_csum";
}

static const char *
judge_events (uint64_t v, unsigned e)
{
  (void)e;
  if (v >> 63)
    return "events";
  return judge_cp (base.resync_offset == RESYNC_CLEAN, v,
                   get_le64 (base.block + 164), get_le32 (base.block + 172));
}

static const char *
judge_cp_events (uint64_t v, unsigned e)
{
  (void)e;
  return judge_cp (base.resync_offset == RESYNC_CLEAN, base.events, v,
                   get_le32 (base.block + 172));
}

static const char *
judge_recovery_cp (uint64_t v, unsigned e)
{
  (void)e;
  return judge_cp (base.resync_offset == RESYNC_CLEAN, base.events,
                   get_le64 (base.block + 164), v);
}

static const char *
judge_layout (uint64_t v, unsigned e)
{
  (void)e;
  return v == 0 ? FIELD_OK : "layout";
}

static const char *
judge_chunk_size (uint64_t v, unsigned e)
{
  (void)e;
  return v == 0 ? FIELD_OK : "chunk_size";
}

static uint32_t
base_disk (unsigned number, unsigned offset)
{
  return get_le32 (base.block + DISK (number) + offset);
}

static bool
base_in_slot (unsigned number)
{
  return (base_disk (number, 16) & 0xf) == 6;
}

/* Of every leg: one table becomes that of all. */
static const char *
judge_disk_number (uint64_t v, unsigned e)
{
  return base_in_slot (e) && v != e ? "disks.number" : FIELD_OK;
}

static const char *
judge_disk_slot (uint64_t v, unsigned e)
{
  if (!base_in_slot (e))
    return FIELD_OK;
  if (v >= base.raid_disks)
    return "disks.raid_disk";
  for (unsigned i = 0; i < 27; ++i)
    if (i != e && base_in_slot (i) && base_disk (i, 12) == v)
      return "disks.raid_disk";
  if (e == base.dev_number && v != get_le32 (base.block + THIS_DISK + 12))
    return "this_disk.raid_disk";
  return FIELD_OK;
}

static const char *
judge_disk_state (uint64_t v, unsigned e)
{
  if (v & ~UINT64_C (0x60f))
    return "disks.state";
  if (v & 1 || !(v & 4))
    return FIELD_OK; /* faulty; or not in sync */
  if ((v & 0xf) != 6)
    return "disks.state";
  /* A slot's.  If it was none: whatever it had as number and slot counts. */
  if (base_in_slot (e))
    return FIELD_OK;
  if (base_disk (e, 12) >= base.raid_disks)
    return "disks.raid_disk";
  for (unsigned i = 0; i < 27; ++i)
    if (i != e && base_in_slot (i) && base_disk (i, 12) == base_disk (e, 12))
      return "disks.raid_disk";
  return FIELD_OK;
}

static const char *
judge_this_number (uint64_t v, unsigned e)
{
  (void)e;
  if (v >= 27)
    return "this_disk.number";
  if (base_in_slot ((unsigned)v)
      && base_disk ((unsigned)v, 12) != get_le32 (base.block + THIS_DISK + 12))
    return "this_disk.raid_disk";
  return FIELD_OK;
}

static const char *
judge_this_slot (uint64_t v, unsigned e)
{
  (void)e;
  return base_in_slot (base.dev_number) && v != base_disk (base.dev_number, 12)
             ? "this_disk.raid_disk"
             : FIELD_OK;
}

/* any: md ignores it, or takes whatever it is. */
static const struct field fields[] = {
  { "md_magic", 0, 4, 1, 0, judge_magic },
  { "major_version", 4, 4, 1, 0, judge_major },
  { "minor_version", 8, 4, 1, 0, judge_minor },
  { "patch_version", 12, 4, 1, 0, any },
  { "gvalid_words", 16, 4, 1, 0, any },
  { "set_uuid0", 20, 4, 1, 0, any },
  { "ctime", 24, 4, 1, 0, any },
  { "level", 28, 4, 1, 0, judge_level },
  { "size", 32, 4, 1, 0, judge_size },
  { "nr_disks", 36, 4, 1, 0, any },
  { "raid_disks", 40, 4, 1, 0, judge_raid_disks },
  { "md_minor", 44, 4, 1, 0, any },
  { "not_persistent", 48, 4, 1, 0, judge_not_persistent },
  { "set_uuid1..3", 52, 4, 3, 4, any },
  { "gstate_creserved", 64, 4, 16, 4, any },
  { "utime", 128, 4, 1, 0, any },
  { "state", 132, 4, 1, 0, judge_state },
  { "active, working, failed, spare disks", 136, 4, 4, 4, any },
  { "sb_csum", CSUM, 4, 1, 0, judge_csum },
  { "events", 156, 8, 1, 0, judge_events },
  { "cp_events", 164, 8, 1, 0, judge_cp_events },
  { "recovery_cp", 172, 4, 1, 0, judge_recovery_cp },
  { "reshape_position", 176, 8, 1, 0, any }, /* of minor version 91 */
  { "new_level, delta_disks, new_layout, new_chunk", 184, 4, 4, 4, any },
  { "gstate_sreserved", 200, 4, 14, 4, any },
  { "layout", 256, 4, 1, 0, judge_layout },
  { "chunk_size", 260, 4, 1, 0, judge_chunk_size },
  { "root_pv, root_block", 264, 4, 2, 4, any },
  { "pstate_reserved", 272, 4, 60, 4, any },
  { "disks.number", DISKS, 4, 27, 128, judge_disk_number },
  { "disks.major", DISKS + 4, 4, 27, 128, any },
  { "disks.minor", DISKS + 8, 4, 27, 128, any },
  { "disks.raid_disk", DISKS + 12, 4, 27, 128, judge_disk_slot },
  { "disks.state", DISKS + 16, 4, 27, 128, judge_disk_state },
  { "disks.reserved, 1", DISKS + 20, 4, 27, 128, any },
  { "disks.reserved, 2 to 9", DISKS + 24, 8, 27, 128, any },
  { "disks.reserved, 10 to 17", DISKS + 32, 8, 27, 128, any },
  { "disks.reserved", DISKS + 40, 8, 27, 128, any },
  { "disks.reserved", DISKS + 48, 8, 27, 128, any },
  { "disks.reserved", DISKS + 56, 8, 27, 128, any },
  { "disks.reserved", DISKS + 64, 8, 27, 128, any },
  { "disks.reserved", DISKS + 72, 8, 27, 128, any },
  { "disks.reserved", DISKS + 80, 8, 27, 128, any },
  { "disks.reserved", DISKS + 88, 8, 27, 128, any },
  { "disks.reserved", DISKS + 96, 8, 27, 128, any },
  { "disks.reserved", DISKS + 104, 8, 27, 128, any },
  { "disks.reserved", DISKS + 112, 8, 27, 128, any },
  { "disks.reserved", DISKS + 120, 8, 27, 128, any },
  { "this_disk.number", THIS_DISK, 4, 1, 0, judge_this_number },
  { "this_disk.major, minor", THIS_DISK + 4, 4, 2, 4, any },
  { "this_disk.raid_disk", THIS_DISK + 12, 4, 1, 0, judge_this_slot },
  { "this_disk.state", THIS_DISK + 16, 4, 1, 0, any },
  { "this_disk.reserved", THIS_DISK + 20, 4, 27, 4, any },
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
          || (strcmp (refused, "minor_version") == 0
              && get_le32 (block + 8) != 91)
          || strcmp (refused, "sb_csum") == 0 || refused == field_no_magic);
  static struct superblock s;
  struct format_error error;
  uint8_t again[SUPERBLOCK_BYTES];
  bool intact;
  int r;

  if (field->offset != CSUM)
    seal (block);
  r = decode (block, &s, &intact, &error);
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
    ck_assert_ptr_nonnull (strstr (text, error.advice));
  }
}

static const char *const bases[] = { "0.90-before-0", "0.90-dirty-0",
                                     "0.90-checkpoint-0", "0.90-recovering-2",
                                     "0.90-first-removed-1" };

START_TEST (test_field)
{
  for (size_t i = 0; i < sizeof bases / sizeof bases[0]; ++i) {
    struct golden golden;

    load (bases[i], &base);
    /* Slot 1 must be in use for what is judged. */
    if (fields[_i].offset == 40 && strcmp (bases[i], "0.90-recovering-2") == 0)
      continue;
    golden_load (bases[i], &golden);
    field_try (&fields[_i], golden.superblock, SUPERBLOCK_BYTES, try_field);
  }
}
END_TEST

/* ---- magic, version, checksum ---- */

START_TEST (test_big_endian)
{
  uint8_t block[SUPERBLOCK_BYTES] = { 0xa9, 0x2b, 0x4e, 0xfc };
  static struct superblock s;
  struct format_error error;
  bool intact = true;

  ck_assert_int_eq (decode (block, &s, &intact, &error), -EINVAL);
  ck_assert (!intact);
  ck_assert_str_eq (error.field, "magic");
  ck_assert_ptr_nonnull (strstr (error.found, "big-endian"));
  memset (block, 0, sizeof block);
  intact = true;
  ck_assert_int_eq (decode (block, &s, &intact, &error), -ENOENT);
  ck_assert (!intact);
}
END_TEST

START_TEST (test_reshape)
{
  struct golden golden;
  static struct superblock s;
  struct format_error error;
  bool intact;

  golden_load ("0.90-before-0", &golden);
  put_le32 (golden.superblock + 8, 91);
  seal (golden.superblock);
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), -EINVAL);
  ck_assert (intact);
  ck_assert_str_eq (error.field, "minor_version");
  ck_assert_ptr_nonnull (strstr (error.found, "reshape"));
}
END_TEST

START_TEST (test_bit_flips)
{
  struct golden golden;
  static struct superblock s;
  struct format_error error;
  bool intact;

  golden_load ("0.90-before-0", &golden);
  for (unsigned bit = 12 * 8; bit < SUPERBLOCK_BYTES * 8; ++bit) {
    golden.superblock[bit / 8] ^= (uint8_t)(1 << bit % 8);
    ck_assert_msg (decode (golden.superblock, &s, &intact, &error) == -EINVAL,
                   "byte %u", bit / 8);
    ck_assert (!intact);
    ck_assert_str_eq (error.field, "sb_csum");
    golden.superblock[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
}
END_TEST

START_TEST (test_checksum)
{
  uint8_t block[SUPERBLOCK_BYTES] = { 0 };

  ck_assert_uint_eq (superblock_090_checksum (block), 0);
  put_le32 (block + CSUM, 0x12345678); /* not counted */
  ck_assert_uint_eq (superblock_090_checksum (block), 0);
  put_le32 (block, UINT32_MAX);
  put_le32 (block + 4, 2);
  ck_assert_uint_eq (superblock_090_checksum (block), 2);
  put_le32 (block + 4092, 0x80000000);
  ck_assert_uint_eq (superblock_090_checksum (block), 0x80000002);
}
END_TEST

/* A sum that only folds to the same as ours: accepted, kept as long as nothing
 * changes, and then written in full.
 */
START_TEST (test_folded_checksum)
{
  struct golden golden;
  static struct superblock s;
  struct format_error error;
  uint8_t block[SUPERBLOCK_BYTES];
  uint32_t sum;
  bool intact;

  golden_load ("0.90-before-0", &golden);
  sum = get_le32 (golden.superblock + CSUM);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  ck_assert_uint_ne (sum, get_le32 (golden.superblock + CSUM));
  put_le32 (golden.superblock + CSUM, sum);
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), 0);
  superblock_encode (&s, block);
  ck_assert_mem_eq (block, golden.superblock, sizeof block);
  s.utime++;
  superblock_encode (&s, block);
  ck_assert_uint_eq (get_le32 (block + CSUM), superblock_090_checksum (block));
  put_le32 (golden.superblock + CSUM, sum + 1);
  ck_assert_int_eq (decode (golden.superblock, &s, &intact, &error), -EINVAL);
  ck_assert_str_eq (error.field, "sb_csum");
}
END_TEST

/* Nothing tells where it was read, but data must end before it. */
START_TEST (test_place)
{
  struct golden golden;
  static struct superblock s;
  struct format_error error;
  bool intact;

  golden_load ("0.90-before-0", &golden);
  ck_assert_int_eq (superblock_decode (SUPERBLOCK_0_90, golden.superblock,
                                       131071, &s, &intact, &error),
                    -EINVAL);
  ck_assert (intact);
  ck_assert_str_eq (error.field, "size");
  ck_assert_int_eq (superblock_decode (SUPERBLOCK_0_90, golden.superblock,
                                       131199, &s, &intact, &error),
                    0);
  ck_assert_uint_eq (s.super_offset, SUPER);
  ck_assert_int_eq (superblock_decode (SUPERBLOCK_0_90, golden.superblock,
                                       131200, &s, &intact, &error),
                    0);
  ck_assert_uint_eq (s.super_offset, SUPER + 128);
  ck_assert_int_eq (superblock_decode (SUPERBLOCK_0_90, golden.superblock, 127,
                                       &s, &intact, &error),
                    -EINVAL);
  ck_assert_str_eq (error.field, "size");
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("superblock-0.90");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_add_loop_test (tc, test_known, 0, KNOWN);
  tcase_add_test (tc, test_resync_offset);
  tcase_add_test (tc, test_clean_and_dirty);
  tcase_add_test (tc, test_leg_failed);
  tcase_add_test (tc, test_first_leg_failed);
  tcase_add_test (tc, test_leg_failed_with_spare);
  tcase_add_test (tc, test_adopt_roles);
  tcase_add_test (tc, test_create);
  tcase_add_test (tc, test_create_full);
  tcase_add_test (tc, test_flags);
  tcase_add_test (tc, test_fields);
  tcase_add_test (tc, test_checkpoint);
  tcase_add_test (tc, test_all_covered);
  tcase_add_loop_test (tc, test_field, 0, FIELDS);
  tcase_add_test (tc, test_big_endian);
  tcase_add_test (tc, test_reshape);
  tcase_add_test (tc, test_bit_flips);
  tcase_add_test (tc, test_checksum);
  tcase_add_test (tc, test_folded_checksum);
  tcase_add_test (tc, test_place);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
