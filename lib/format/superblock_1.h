/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The md superblock, versions 1.x.  Bytes in, struct out, and back.
 *
 * Fields that we do not own are kept byte for byte: the struct carries the
 * block that it was decoded from, and encoding overlays the decoded fields.
 * Sources: linux/Documentation/admin-guide/md.rst, raid.wiki.kernel.org
 * "RAID superblock formats", and blocks written by mdadm and the kernel.
 */

#ifndef MDBITMAP_SUPERBLOCK_1_H
#define MDBITMAP_SUPERBLOCK_1_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"

#define SUPERBLOCK_1_MAGIC    0xa92b4efcu
#define SUPERBLOCK_1_BYTES    4096 /* of disk, read at once */
#define SUPERBLOCK_1_MAX_DEV  1920 /* entries of dev_roles that fit */
#define SUPERBLOCK_1_2_SECTOR 8    /* where version 1.2 keeps it */

enum superblock_1_feature {
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

struct superblock_1 {
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
  uint8_t device_uuid[16];
  uint8_t devflags;
  uint8_t bblog_shift;
  uint16_t bblog_size;  /* sectors */
  int32_t bblog_offset; /* sectors from the superblock */
  uint64_t utime;       /* packed as ctime */
  uint64_t events;
  uint64_t resync_offset; /* sectors, or RESYNC_CLEAN */
  uint32_t max_dev;
  uint16_t dev_roles[SUPERBLOCK_1_MAX_DEV];
  uint8_t block[SUPERBLOCK_1_BYTES]; /* as read, or zeroes */
};

/* Decode and check everything that can be checked within one superblock, for
 * a RAID1 leg that may be served: found at that sector of a leg of that many
 * sectors.  -ENOENT: no magic there, *error is not set.  -EINVAL: *error
 * says why.  *superblock is filled as far as it makes sense (for examine)
 * whenever the magic, the version and the checksum are right, in which case
 * *intact is true even on -EINVAL.
 */
extern int
superblock_1_decode (const uint8_t block[SUPERBLOCK_1_BYTES], uint64_t sector,
                     uint64_t leg_sectors, struct superblock_1 *superblock,
                     bool *intact, struct format_error *error);

/* Overlay the fields on superblock->block, compute the checksum, and leave
 * the result in block.
 */
extern void superblock_1_encode (const struct superblock_1 *superblock,
                                 uint8_t block[SUPERBLOCK_1_BYTES]);

/* Bytes that the checksum covers: 256 + 2 max_dev. */
extern uint32_t superblock_1_length (const struct superblock_1 *superblock);

extern uint32_t superblock_1_checksum (const uint8_t *block, uint32_t max_dev);

/* The role that this table gives to dev_number. */
extern unsigned
superblock_1_role (const struct superblock_1 *superblock, uint32_t dev_number);

/* Pack seconds since 1970 as ctime and utime are. */
extern uint64_t superblock_1_time (int64_t seconds);

#endif /* MDBITMAP_SUPERBLOCK_1_H */
