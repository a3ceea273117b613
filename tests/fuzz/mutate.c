/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Mutations of fields, for targets that libFuzzer drives: see fuzz.h. */

#include <config.h>

#include "fuzz/fuzz.h"

void
mutate_field (uint8_t *data, size_t size, size_t start,
              const struct field *fields, unsigned n, unsigned seed)
{
  const struct field *field = &fields[seed % n];
  size_t at = start + field->offset;

  if (at + field->width <= size)
    (void)LLVMFuzzerMutate (data + at, field->width, field->width);
}
