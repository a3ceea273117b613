/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* For tests of the simulator's disks: sectors are filled with a number, and an
 * image is looked at as a list of these.
 */

#ifndef MDBITMAP_TEST_SIM_DISK_H
#define MDBITMAP_TEST_SIM_DISK_H

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sim/disk_io.h"

#define SECTORS 32
#define IMAGES  400 /* drawn for each kind of loss */

static inline void
setup (void)
{
  chance_seed (3);
}

static inline struct disk *
make_disk (void)
{
  static const struct disk_limits limits = { .logical_block = 512 };

  return disk_new (0, image_new (SECTORS * DISK_SECTOR), &limits);
}

/* ---- operations ---- */

static inline struct disk_op *
take (struct disk *disk, enum io_type type, unsigned flags, uint64_t sector,
      uint64_t n, uint64_t number)
{
  static struct device device = { .timeout = RT_SECOND };
  static uint64_t words[SECTORS * DISK_SECTOR / 8];
  uint64_t delay;
  struct io io = {
    .device = &device,
    .type = type,
    .flags = flags,
    .offset = sector * DISK_SECTOR,
    .length = n * DISK_SECTOR,
    .data = (uint8_t *)words,
  };

  for (unsigned i = 0; i < n * DISK_SECTOR / 8; ++i)
    words[i] = number;
  return disk_take (disk, &io, false, NULL, NULL, &delay);
}

static inline int
finish (struct disk_op *op, void *data)
{
  uint64_t delay;
  int result = 1;

  ck_assert (disk_end (op, data, &result, &delay));
  return result;
}

static inline int
write_now (struct disk *disk, uint64_t sector, uint64_t n, uint64_t number)
{
  return finish (take (disk, IO_WRITE, 0, sector, n, number), NULL);
}

static inline int
write_fua (struct disk *disk, uint64_t sector, uint64_t n, uint64_t number)
{
  return finish (take (disk, IO_WRITE, IO_FUA, sector, n, number), NULL);
}

static inline int
flush_now (struct disk *disk)
{
  return finish (take (disk, IO_FLUSH, 0, 0, 0, 0), NULL);
}

static inline int
read_now (struct disk *disk, uint64_t sector, uint64_t *number)
{
  uint64_t words[DISK_SECTOR / 8];
  int result = finish (take (disk, IO_READ, 0, sector, 1, 0), words);

  *number = words[7];
  return result;
}

static inline uint64_t
sector_of (const struct image *image, uint64_t sector)
{
  uint64_t words[DISK_SECTOR / 8];

  image_read (image, sector * DISK_SECTOR, words, sizeof words);
  /* It is never torn inside a sector. */
  if (memcmp (words, words + 1, sizeof words - sizeof words[0]) != 0)
    ck_abort_msg ("a sector is torn");
  return words[0];
}

/* ---- looking at many crashes ---- */

/* Bits that look sets for an image, over many crashes. */
static inline unsigned
look_at_loss (const struct disk *disk, enum disk_loss loss,
              unsigned (*look) (const struct image *image))
{
  unsigned seen = 0;

  for (unsigned i = 0; i < IMAGES; ++i) {
    struct disk *after = disk_after_crash (disk, loss);

    if (!image_equal (disk_durable (after), 0, disk_current (after), 0,
                      disk_size (after)))
      ck_abort_msg ("something is volatile after a crash");
    seen |= look (disk_durable (after));
    disk_free (after);
  }
  return seen;
}

static inline unsigned
look_at_all (const struct disk *disk,
             unsigned (*look) (const struct image *image))
{
  unsigned seen = 0;

  for (unsigned loss = 0; loss < DISK_LOSSES; ++loss)
    seen |= look_at_loss (disk, (enum disk_loss)loss, look);
  return seen;
}

/* A bit for each value of sector 0. */
static inline unsigned
look_first (const struct image *image)
{
  return 1u << sector_of (image, 0);
}

/* Sectors 0 and 8: bit 0: neither, 1: only 0, 2: only 8, 3: both. */
static inline unsigned
look_two (const struct image *image)
{
  unsigned first = sector_of (image, 0) != 0;
  unsigned second = sector_of (image, 8) != 0;

  return 1u << (first | second << 1);
}

/* Sectors 0 to 7: bit 0: all old, 1: all new, 2: a beginning is new, 3: an
 * end is, 4: something else.
 */
static inline unsigned
look_eight (const struct image *image)
{
  unsigned new = 0;

  for (unsigned i = 0; i < 8; ++i)
    new |= (unsigned)(sector_of (image, i) != 0) << i;
  if (new == 0 || new == 255)
    return new == 0 ? 1 : 2;
  if ((new &(new + 1)) == 0)
    return 4;
  return ((new ^ 255) & ((new ^ 255) + 1)) == 0 ? 8 : 16;
}

#endif /* MDBITMAP_TEST_SIM_DISK_H */
