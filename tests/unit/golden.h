/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Blocks written by mdadm and the kernel: see tests/golden/README. */

#ifndef MDBITMAP_TEST_GOLDEN_H
#define MDBITMAP_TEST_GOLDEN_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/bitmap_superblock.h"
#include "format/superblock_1.h"

#define GOLDEN_LEG_SECTORS 131072 /* 64 MiB */
#define GOLDEN_PART        512    /* bytes of each block in the file */

struct golden {
  uint8_t superblock[SUPERBLOCK_1_BYTES];
  uint8_t bitmap[GOLDEN_PART]; /* header and the first bits */
};

static inline FILE *
golden_open (const char *name)
{
  static const char *const folders[] = { "tests/golden", "golden",
                                         "../golden" };
  static const char *const roots[] = { "abs_top_srcdir", "srcdir" };
  char path[4096];
  FILE *fp;

  for (size_t r = 0; r <= sizeof roots / sizeof roots[0]; ++r)
    for (size_t f = 0; f < sizeof folders / sizeof folders[0]; ++f) {
      const char *root =
          r < sizeof roots / sizeof roots[0] ? getenv (roots[r]) : ".";

      if (!root)
        continue;
      snprintf (path, sizeof path, "%s/%s/%s.bin", root, folders[f], name);
      fp = fopen (path, "rb");
      if (fp)
        return fp;
    }
  ck_abort_msg ("no golden block %s: set srcdir to the source tree", name);
  return NULL;
}

static inline void
golden_load (const char *name, struct golden *golden)
{
  FILE *fp = golden_open (name);

  memset (golden, 0, sizeof *golden);
  ck_assert_uint_eq (fread (golden->superblock, 1, GOLDEN_PART, fp),
                     GOLDEN_PART);
  ck_assert_uint_eq (fread (golden->bitmap, 1, GOLDEN_PART, fp), GOLDEN_PART);
  ck_assert_int_eq (fgetc (fp), EOF);
  fclose (fp);
}

#endif /* MDBITMAP_TEST_GOLDEN_H */
