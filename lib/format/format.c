/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What decoders say when they refuse something.
 *
 * Pure: bytes and structs in, text out.  Nothing here allocates, so that a
 * refusal can be reported whatever state the program is in.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "format/format.h"

int
format_refuse (struct format_error *error, const char *field,
               const char *advice, const char *expected, const char *found, ...)
{
  va_list args;

  error->field = field;
  error->advice = advice;
  snprintf (error->expected, sizeof error->expected, "%s", expected);
  va_start (args, found);
  vsnprintf (error->found, sizeof error->found, found, args);
  va_end (args);
  return -EINVAL;
}

void
format_error_string (const struct format_error *error, char *buf, size_t size)
{
  snprintf (buf, size, "field %s: found %s, expected %s%s%s", error->field,
            error->found, error->expected, error->advice ? "; " : "",
            error->advice ? error->advice : "");
}

const char *
format_uuid (const uint8_t uuid[16], char text[FORMAT_UUID_TEXT])
{
  char *p = text;

  for (unsigned i = 0; i < 16; ++i)
    p += sprintf (p, "%s%02x", i > 0 && i % 4 == 0 ? ":" : "", uuid[i]);
  return text;
}
