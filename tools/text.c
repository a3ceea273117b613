/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* How the mdbitmap command writes sizes, times, UUIDs and JSON: as text in
 * mdadm's way, so that the two can be compared line by line.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "tools.h"

/* Hundredths of the binary and of the decimal unit, rounded. */
const char *
tool_size_text (uint64_t bytes, char buf[TOOL_SIZE_TEXT])
{
  static const struct {
    uint64_t below;
    uint64_t binary, decimal;
    char letter;
  } units[] = {
    { (uint64_t)2 << 30, (uint64_t)1 << 20, 1000000, 'M' },
    { (uint64_t)2 << 40, (uint64_t)1 << 30, 1000000000, 'G' },
    { UINT64_MAX, (uint64_t)1 << 40, 1000000000000, 'T' },
  };
  unsigned i = 0;
  unsigned long long binary, decimal;

  buf[0] = '\0';
  if (bytes < 5000 * 1024)
    return buf;
  while (bytes >= units[i].below && units[i].below != UINT64_MAX)
    ++i;
  binary = bytes / units[i].binary * 100
           + (bytes % units[i].binary * 200 / units[i].binary + 1) / 2;
  decimal = (bytes / (units[i].decimal / 200) + 1) / 2;
  snprintf (buf, TOOL_SIZE_TEXT, " (%llu.%02llu %ciB %llu.%02llu %cB)",
            binary / 100, binary % 100, units[i].letter, decimal / 100,
            decimal % 100, units[i].letter);
  return buf;
}

const char *
tool_time_text (uint64_t packed, char text[TOOL_TIME_TEXT])
{
  time_t seconds = (time_t)superblock_seconds (packed);
  struct tm tm;

  strcpy (text, "?");
  if (localtime_r (&seconds, &tm))
    strftime (text, TOOL_TIME_TEXT, "%a %b %e %H:%M:%S %Y", &tm);
  return text;
}

/* ---- JSON ---- */

void
tool_json_integer (json_t *object, const char *key, uint64_t value)
{
  json_object_set_new (object, key, json_integer ((json_int_t)value));
}

void
tool_json_sectors (json_t *object, const char *key, uint64_t sectors)
{
  tool_json_integer (object, key, sectors * SECTOR_SIZE);
}

void
tool_json_string (json_t *object, const char *key, const char *text)
{
  json_t *string = text ? json_string (text) : json_null ();

  json_object_set_new (object, key,
                       string ? string : json_string ("(not UTF-8)"));
}

void
tool_json_refusal (json_t *object, const struct format_error *error)
{
  json_t *refusal = error ? json_object () : json_null ();

  if (error) {
    tool_json_string (refusal, "field", error->field);
    tool_json_string (refusal, "found", error->found);
    tool_json_string (refusal, "expected", error->expected);
    tool_json_string (refusal, "advice", error->advice);
  }
  json_object_set_new (object, "refused", refusal);
}

void
tool_json_print (json_t *json)
{
  json_dumpf (json, stdout, JSON_INDENT (2));
  putchar ('\n');
  json_decref (json);
}
