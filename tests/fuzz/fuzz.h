/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What the fuzz targets share: taking an input apart, ending with a reason,
 * where things lie on a leg, computed a second time, and mutations of fields.
 */

#ifndef MDBITMAP_FUZZ_H
#define MDBITMAP_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- libFuzzer's side ---- */

extern int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);
extern size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed);
extern size_t LLVMFuzzerMutate (uint8_t *data, size_t size, size_t max);

/* ---- findings ---- */

/* What was promised does not hold: say so and abort, which libFuzzer turns
 * into a finding with its input.
 */
#define REQUIRE(what, ...)                               \
  do {                                                   \
    if (!(what))                                         \
      fuzz_die (__FILE__, __LINE__, #what, __VA_ARGS__); \
  } while (0)

extern void
fuzz_die (const char *file, int line, const char *what, const char *fmt, ...)
    __attribute__ ((noreturn, format (printf, 4, 5)));

/* ---- inputs ---- */

/* What is left of it; past its end come zeroes. */
struct input {
  const uint8_t *p;
  size_t n;
};

extern uint8_t input_u8 (struct input *input);
extern uint16_t input_u16 (struct input *input);
extern uint32_t input_u32 (struct input *input);
extern uint64_t input_u64 (struct input *input);
/* n bytes, zeroes where it ends. */
extern void input_bytes (struct input *input, void *bytes, size_t n);

/* ---- fields on disk ---- */

/* Where a field is, by itself: the format's description a second time, so
 * that a wrong offset in lib/format is not used to check itself.  Wide ones
 * have several entries with the same name.
 */
struct field {
  uint16_t offset;
  uint8_t width; /* bytes */
  const char *name;
};

extern const struct field superblock_fields[];
extern const unsigned superblock_nfields;
extern const struct field superblock_090_fields[];
extern const unsigned superblock_090_nfields;
extern const struct field bitmap_fields[];
extern const unsigned bitmap_nfields;

/* Those that checks look at. */
enum {
  SB_MAJOR_VERSION = 4,
  SB_FEATURE_MAP = 8,
  SB_SET_UUID = 16,
  SB_SET_NAME = 32,
  SB_CTIME = 64,
  SB_LEVEL = 72,
  SB_SIZE = 80,
  SB_RAID_DISKS = 92,
  SB_BITMAP_OFFSET = 96,
  SB_DATA_OFFSET = 128,
  SB_DATA_SIZE = 136,
  SB_SUPER_OFFSET = 144,
  SB_RECOVERY_OFFSET = 152,
  SB_DEV_NUMBER = 160,
  SB_DEVICE_UUID = 168,
  SB_DEVFLAGS = 184,
  SB_BBLOG_SHIFT = 185,
  SB_BBLOG_SIZE = 186,
  SB_BBLOG_OFFSET = 188,
  SB_UTIME = 192,
  SB_EVENTS = 200,
  SB_RESYNC_OFFSET = 208,
  SB_CSUM = 216,
  SB_MAX_DEV = 220,
  SB_ROLES = 256,

  SB9_MINOR_VERSION = 8,
  SB9_UUID0 = 20,
  SB9_CTIME = 24,
  SB9_LEVEL = 28,
  SB9_SIZE = 32,
  SB9_NR_DISKS = 36,
  SB9_RAID_DISKS = 40,
  SB9_UUID1 = 52, /* to 3 */
  SB9_UTIME = 128,
  SB9_STATE = 132,
  SB9_ACTIVE_DISKS = 136,
  SB9_WORKING_DISKS = 140,
  SB9_CSUM = 152,
  SB9_EVENTS = 156,
  SB9_CP_EVENTS = 164,
  SB9_RECOVERY_CP = 172,
  SB9_DISKS = 512,
  SB9_THIS_DISK = 3968,
  /* of a descriptor */
  SB9_DISK_BYTES = 128,
  SB9_DISK_NUMBER = 0,
  SB9_DISK_MAJOR = 4,
  SB9_DISK_MINOR = 8,
  SB9_DISK_RAID_DISK = 12,
  SB9_DISK_STATE = 16,
  SB9_MAX_DEV = 27,

  BM_MAGIC = 0,
  BM_VERSION = 4,
  BM_UUID = 8,
  BM_EVENTS = 24,
  BM_EVENTS_CLEARED = 32,
  BM_SYNC_SIZE = 40,
  BM_STATE = 48,
  BM_CHUNKSIZE = 52,
  BM_DAEMON_SLEEP = 56,
  BM_SECTORS_RESERVED = 64,
};

/* A little-endian number of that many bytes, 1 to 8. */
extern uint64_t get_le (const uint8_t *p, unsigned width);
extern void put_le (uint8_t *p, unsigned width, uint64_t v);

/* What the checksum should be; of a version 1.x only if its max_dev can be. */
extern uint32_t checksum_1 (const uint8_t block[4096]);
extern uint32_t checksum_090 (const uint8_t block[4096]);

/* Make the checksum of a superblock right, if its max_dev can be. */
extern void fix_checksum (uint8_t block[4096]);
extern void fix_checksum_090 (uint8_t block[4096]);

/* ---- I16 ---- */

/* Sectors first <= s < end; wide enough that no sum overflows. */
struct place {
  const char *name;
  __int128 first, end;
};

/* Superblock, bitmap of that many bytes (0: none), bad-block log and data, as
 * the superblock's bytes say; returns how many there are.
 */
#define PLACES_MAX 4
extern unsigned places_of (const uint8_t block[4096], uint64_t bitmap_bytes,
                           struct place places[PLACES_MAX]);
/* The same of version 0.90, whose superblock is in that sector. */
extern unsigned
places_of_090 (const uint8_t block[4096], uint64_t sector,
               uint64_t bitmap_bytes, struct place places[PLACES_MAX]);

/* They are inside the leg and disjoint, or it is a finding. */
extern void
places_check (const struct place *places, unsigned n, uint64_t leg_sectors);

/* ---- mutate.c: mutations ---- */

/* Let libFuzzer change one field of the structure that begins at start. */
extern void
mutate_field (uint8_t *data, size_t size, size_t start,
              const struct field *fields, unsigned n, unsigned seed);

#endif /* MDBITMAP_FUZZ_H */
