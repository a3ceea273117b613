/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The md superblock of any version.  Bytes in, struct out, and back.
 *
 * One struct serves all versions: it says what version 1.x says, and 0.90 is
 * translated (superblock_090.h says how).  Fields that we do not own are kept
 * byte for byte: the struct carries the block that it was decoded from, and
 * encoding overlays the decoded fields.
 * Sources: linux/Documentation/admin-guide/md.rst, raid.wiki.kernel.org
 * "RAID superblock formats", and blocks written by mdadm and the kernel.
 */

#ifndef MDBITMAP_SUPERBLOCK_H
#define MDBITMAP_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"

#define SUPERBLOCK_MAGIC   0xa92b4efcu
#define SUPERBLOCK_BYTES   4096 /* of disk, read at once */
#define SUPERBLOCK_MAX_DEV 1920 /* entries of dev_roles that fit */

/* Which, and with it where on the leg. */
enum superblock_version {
  SUPERBLOCK_0_90, /* in the last 64 to 128 KiB */
  SUPERBLOCK_1_0,  /* 8 to 12 KiB before the end */
  SUPERBLOCK_1_1,  /* at the start */
  SUPERBLOCK_1_2,  /* 4 KiB after the start */
};
#define SUPERBLOCK_VERSIONS   4
#define SUPERBLOCK_1_2_SECTOR 8

enum superblock_feature {
  FEATURE_BITMAP_OFFSET = 1,
  FEATURE_RECOVERY_OFFSET = 2,
  FEATURE_RESHAPE_ACTIVE = 4,
  FEATURE_BAD_BLOCKS = 8,
  FEATURE_REPLACEMENT = 16,
  FEATURE_RESHAPE_BACKWARDS = 32,
  FEATURE_NEW_OFFSET = 64,
  FEATURE_RECOVERY_BITMAP = 128,
  FEATURE_BITMAP_VERSIONED = 256,
  FEATURE_JOURNAL = 512,
  FEATURE_PPL = 1024,
  FEATURE_MULTIPLE_PPLS = 2048,
  FEATURE_RAID0_LAYOUT = 4096,
};

#define DEV_FLAG_WRITE_MOSTLY 1
#define DEV_FLAG_FAILFAST     2

/* dev_roles: up to ROLE_LAST a slot. */
#define ROLE_LAST    0xfeff
#define ROLE_JOURNAL 0xfffd
#define ROLE_FAULTY  0xfffe
#define ROLE_SPARE   0xffff

#define RESYNC_CLEAN UINT64_MAX /* resync_offset of a clean array */

struct superblock {
  enum superblock_version version;
  uint32_t feature_map;
  uint8_t set_uuid[16];
  char set_name[33]; /* NUL-terminated here */
  uint64_t ctime;    /* low 40 bits seconds, high 24 microseconds */
  int32_t level;
  uint32_t layout;
  uint64_t size; /* sectors used of each leg */
  uint32_t chunksize;
  uint32_t raid_disks;
  int32_t bitmap_offset;    /* sectors from the superblock */
  uint64_t data_offset;     /* sectors from the start of the leg */
  uint64_t data_size;       /* sectors */
  uint64_t super_offset;    /* sectors */
  uint64_t recovery_offset; /* sectors from the start of data */
  uint32_t dev_number;
  uint32_t cnt_corrected_read;
  uint8_t device_uuid[16]; /* zeroes with 0.90 */
  uint8_t devflags;
  uint8_t bblog_shift;
  uint16_t bblog_size;  /* sectors */
  int32_t bblog_offset; /* sectors from the superblock */
  uint64_t utime;       /* packed as ctime */
  uint64_t events;
  uint64_t resync_offset; /* sectors, or RESYNC_CLEAN */
  uint32_t max_dev;
  uint16_t dev_roles[SUPERBLOCK_MAX_DEV];
  uint8_t block[SUPERBLOCK_BYTES]; /* as read, or zeroes */
};

/* "0.90", "1.0" and so on; and back: false if it is none. */
extern const char *superblock_version_string (enum superblock_version version);
extern bool
superblock_version_parse (const char *text, enum superblock_version *version);

/* The sector of a leg of that many sectors at which that version keeps its
 * superblock; UINT64_MAX if the leg is too small to have one.  It may not be
 * a multiple of the logical block only if the leg's size is not.
 */
extern uint64_t
superblock_sector (enum superblock_version version, uint64_t leg_sectors);

/* Decode and check everything that can be checked within one superblock, for
 * a RAID1 leg that may be served: block was read at superblock_sector.
 * -ENOENT: no magic there, *error is not set.  -EINVAL: *error says why.
 * *superblock is filled as far as it makes sense (for examine) whenever the
 * magic, the version and the checksum are right, in which case *intact is
 * true even on -EINVAL.
 */
extern int
superblock_decode (enum superblock_version version,
                   const uint8_t block[SUPERBLOCK_BYTES], uint64_t leg_sectors,
                   struct superblock *superblock, bool *intact,
                   struct format_error *error);

/* Overlay the fields on superblock->block, compute the checksum, and leave
 * the result in block.  What has not changed keeps its bytes.
 */
extern void superblock_encode (const struct superblock *superblock,
                               uint8_t block[SUPERBLOCK_BYTES]);

/* Take over the roles of all devices from the table of another leg of the same
 * array and version; with 0.90 that is all of their descriptors.
 */
extern void superblock_adopt_roles (struct superblock *superblock,
                                    const struct superblock *table);

/* Bytes that are written: those that the checksum covers. */
extern uint32_t superblock_length (const struct superblock *superblock);

/* The checksum that superblock->block should carry. */
extern uint32_t superblock_checksum (const struct superblock *superblock);

/* The role that this table gives to dev_number. */
extern unsigned
superblock_role (const struct superblock *superblock, uint32_t dev_number);

/* Pack seconds since 1970 as ctime and utime are; and the seconds of it. */
extern uint64_t superblock_time (int64_t seconds);
extern int64_t superblock_seconds (uint64_t packed);

/* The UUID of an array as mdadm prints it; returns text. */
extern const char *
superblock_uuid (enum superblock_version version, const uint8_t uuid[16],
                 char text[FORMAT_UUID_TEXT]);

/* Of the superblocks that a leg carries, by version, NULL for each that is
 * not there, is damaged, or was written for another place: which is the
 * leg's?  mdadm wipes only those that it finds, so it is that of the array
 * made last; but one that whoever uses the array has made inside of it is data,
 * whatever its age.  -ENOENT: there is none.  -EINVAL: it is *chosen or
 * *rival, and nothing tells which.
 */
extern int
superblock_choose (const struct superblock *const found[SUPERBLOCK_VERSIONS],
                   enum superblock_version *chosen,
                   enum superblock_version *rival);

#endif /* MDBITMAP_SUPERBLOCK_H */
