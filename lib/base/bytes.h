/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Little-endian integers at any address, and rounding.
 *
 * On-disk integers are touched through these helpers only, so that alignment
 * and the byte order of the machine never matter.
 */

#ifndef MDBITMAP_BYTES_H
#define MDBITMAP_BYTES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR_SIZE 512
#define KiB         ((uint64_t)1024)
#define MiB         (1024 * KiB)
#define GiB         (1024 * MiB)
#define TiB         (1024 * GiB)

static inline uint16_t
get_le16 (const void *p)
{
  const uint8_t *b = p;
  return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t
get_le32 (const void *p)
{
  const uint8_t *b = p;
  return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16
         | (uint32_t)b[3] << 24;
}

static inline uint64_t
get_le64 (const void *p)
{
  const uint8_t *b = p;
  return (uint64_t)get_le32 (b) | (uint64_t)get_le32 (b + 4) << 32;
}

static inline void
put_le16 (void *p, uint16_t v)
{
  uint8_t *b = p;
  b[0] = (uint8_t)v;
  b[1] = (uint8_t)(v >> 8);
}

static inline void
put_le32 (void *p, uint32_t v)
{
  uint8_t *b = p;
  put_le16 (b, (uint16_t)v);
  put_le16 (b + 2, (uint16_t)(v >> 16));
}

static inline void
put_le64 (void *p, uint64_t v)
{
  uint8_t *b = p;
  put_le32 (b, (uint32_t)v);
  put_le32 (b + 4, (uint32_t)(v >> 32));
}

static inline bool
is_power_of_2 (uint64_t v)
{
  return v != 0 && (v & (v - 1)) == 0;
}

/* unit is a power of two. */
static inline uint64_t
round_down (uint64_t v, uint64_t unit)
{
  assert (is_power_of_2 (unit));
  return v & ~(unit - 1);
}

/* unit is a power of two; the caller has excluded overflow. */
static inline uint64_t
round_up (uint64_t v, uint64_t unit)
{
  assert (is_power_of_2 (unit));
  assert (v <= UINT64_MAX - (unit - 1));
  return (v + unit - 1) & ~(unit - 1);
}

static inline uint64_t
div_up (uint64_t v, uint64_t unit)
{
  return v / unit + (v % unit != 0);
}

static inline uint64_t
min_u64 (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

static inline uint64_t
max_u64 (uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

/* True if all n bytes are zero: the first 16 by hand, the rest against
 * themselves shifted, which memcmp does at memory speed.
 */
extern bool bytes_are_zero (const void *data, size_t n);

#endif /* MDBITMAP_BYTES_H */
