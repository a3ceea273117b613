/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Blocks written by mdadm and the kernel: see tests/golden/README. */

#ifndef MDBITMAP_TEST_GOLDEN_H
#define MDBITMAP_TEST_GOLDEN_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/bitmap_superblock.h"
#include "format/superblock.h"

#define GOLDEN_LEG_SECTORS 131072 /* 64 MiB */
#define GOLDEN_PART        512    /* bytes of a part in the file */

struct golden {
  uint8_t superblock[SUPERBLOCK_BYTES];
  uint8_t bitmap[GOLDEN_PART]; /* header and the first bits */
};

static inline FILE *
golden_open (const char *name, const char *suffix)
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
      snprintf (path, sizeof path, "%s/%s/%s.%s", root, folders[f], name,
                suffix);
      fp = fopen (path, "rb");
      if (fp)
        return fp;
    }
  ck_abort_msg ("no golden file %s.%s: set srcdir to the source tree", name,
                suffix);
  return NULL;
}

/* The superblock may be cut at GOLDEN_PART. */
static inline void
golden_load (const char *name, struct golden *golden)
{
  FILE *fp = golden_open (name, "bin");
  uint8_t data[SUPERBLOCK_BYTES + GOLDEN_PART + 1];
  size_t bytes = fread (data, 1, sizeof data, fp);

  fclose (fp);
  ck_assert_msg (
      bytes == 2 * GOLDEN_PART || bytes == SUPERBLOCK_BYTES + GOLDEN_PART,
      "%s: %zu bytes", name, bytes);
  memset (golden, 0, sizeof *golden);
  bytes -= GOLDEN_PART;
  memcpy (golden->superblock, data, bytes);
  memcpy (golden->bitmap, data + bytes, GOLDEN_PART);
}

/* What mdadm said in the line "LABEL : ..."; NULL if there is no such line.
 * Good until the next call.
 */
static inline const char *
golden_says (const char *name, const char *suffix, const char *label)
{
  static char line[256];
  FILE *fp = golden_open (name, suffix);
  char *value = NULL;

  while (!value && fgets (line, sizeof line, fp)) {
    char *start = line + strspn (line, " ");
    size_t length = strlen (label);

    line[strcspn (line, "\n")] = '\0';
    if (strncmp (start, label, length) == 0
        && strncmp (start + length, " : ", 3) == 0)
      value = start + length + 3;
  }
  fclose (fp);
  return value;
}

#endif /* MDBITMAP_TEST_GOLDEN_H */
