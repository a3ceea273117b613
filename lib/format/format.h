/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* How decoders say what is wrong: the field, what was found, what was
 * expected and what to do.  Whoever knows the leg puts its name in front.
 */

#ifndef MDBITMAP_FORMAT_H
#define MDBITMAP_FORMAT_H

#include <stddef.h>
#include <stdint.h>

struct format_error {
  const char *field;  /* name as in the format's description; static */
  char found[64];     /* printable */
  char expected[96];  /* printable */
  const char *advice; /* what to do; static, may be NULL */
};

/* Fill *error; found is a format for what follows it.  Always -EINVAL. */
extern int
format_refuse (struct format_error *error, const char *field,
               const char *advice, const char *expected, const char *found, ...)
    __attribute__ ((format (printf, 5, 6)));

/* "field FIELD: found FOUND, expected EXPECTED; ADVICE", cut at size. */
extern void
format_error_string (const struct format_error *error, char *buf, size_t size);

/* A UUID as mdadm prints it, in four groups; returns text. */
#define FORMAT_UUID_TEXT 36
extern const char *
format_uuid (const uint8_t uuid[16], char text[FORMAT_UUID_TEXT]);

#endif /* MDBITMAP_FORMAT_H */
