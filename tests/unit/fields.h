/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Each field of a block is given each class of wrong value: 0, 1, the largest,
 * the sign bit alone, one more and one less than what was there, and what was
 * there with any one bit turned over.  A judge, written for the test from the
 * description of the format, says which of them must be refused.
 */

#ifndef MDBITMAP_TEST_FIELDS_H
#define MDBITMAP_TEST_FIELDS_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Judges return the name of the field that a refusal must give, or one of
 * these.
 */
#define FIELD_OK NULL
static const char field_no_magic[] = "(no magic)";

struct field {
  const char *name;
  unsigned offset;
  unsigned bytes; /* of an element, up to 8 */
  unsigned count; /* of elements */
  unsigned stride;
  const char *(*judge) (uint64_t value, unsigned element);
};

static inline uint64_t
field_get (const uint8_t *p, unsigned bytes)
{
  uint64_t value = 0;

  while (bytes-- > 0)
    value = value << 8 | p[bytes];
  return value;
}

static inline void
field_put (uint8_t *p, unsigned bytes, uint64_t value)
{
  while (bytes-- > 0) {
    *p++ = (uint8_t)value;
    value >>= 8;
  }
}

#define FIELD_VALUES 71

static inline unsigned
field_values (uint64_t was, unsigned bytes, uint64_t values[FIELD_VALUES])
{
  const uint64_t max = UINT64_MAX >> (64 - 8 * bytes);
  unsigned n = 0;

  values[n++] = 0;
  values[n++] = 1;
  values[n++] = max;
  values[n++] = max - 1;
  values[n++] = max / 2 + 1;
  values[n++] = (was + 1) & max;
  values[n++] = (was - 1) & max;
  for (unsigned bit = 0; bit < 8 * bytes && n < FIELD_VALUES; ++bit)
    values[n++] = was ^ (uint64_t)1 << bit;
  return n;
}

/* Each byte of the block belongs to exactly one field. */
static inline void
fields_cover (const struct field *fields, size_t nfields, unsigned block_bytes)
{
  const char **owner = calloc (block_bytes, sizeof owner[0]);

  ck_assert_ptr_nonnull (owner);
  for (size_t i = 0; i < nfields; ++i)
    for (unsigned e = 0; e < fields[i].count; ++e)
      for (unsigned b = 0; b < fields[i].bytes; ++b) {
        unsigned at = fields[i].offset + e * fields[i].stride + b;

        if (at >= block_bytes || owner[at])
          ck_abort_msg ("byte %u: %s and %s", at, fields[i].name,
                        at >= block_bytes ? "nobody" : owner[at]);
        owner[at] = fields[i].name;
      }
  for (unsigned at = 0; at < block_bytes; ++at)
    if (!owner[at])
      ck_abort_msg ("byte %u is nobody's", at);
  free (owner);
}

/* Try all values of a field in a copy of the block; try_it decodes it, and
 * compares what comes out with what the judge says.
 */
static inline void
field_try (const struct field *field, const uint8_t *block,
           unsigned block_bytes,
           void (*try_it) (uint8_t *block, const struct field *field,
                           const char *refused))
{
  uint8_t *copy = malloc (block_bytes);

  ck_assert_ptr_nonnull (copy);
  for (unsigned e = 0; e < field->count; ++e) {
    const unsigned at = field->offset + e * field->stride;
    uint64_t values[FIELD_VALUES];
    unsigned n = field_values (field_get (block + at, field->bytes),
                               field->bytes, values);

    for (unsigned i = 0; i < n; ++i) {
      const char *refused = field->judge (values[i], e);

      memcpy (copy, block, block_bytes);
      field_put (copy + at, field->bytes, values[i]);
      try_it (copy, field, refused);
    }
  }
  free (copy);
}

#endif /* MDBITMAP_TEST_FIELDS_H */
