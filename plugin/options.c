/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The command line, key by key.
 *
 * Each key has one function that takes its value.  Whatever is wrong is said
 * in exactly one line that begins with KEY=VALUE: this is why sizes and
 * booleans are parsed here and not by nbdkit_parse_size and its sisters,
 * which print a line of their own that does not name the key.
 *
 * A key that is given twice takes the last value, except leg, which is a
 * list.  Everything runs in the main thread before the server starts; there
 * is no lock.
 */

#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "options.h"

#define NSEC_PER_MSEC UINT64_C (1000000)
#define NSEC_PER_SEC  UINT64_C (1000000000)

/* The chunk is a power of two of that many bytes, as md wants it. */
#define MIN_BITMAP_CHUNK UINT64_C (4096)
#define MAX_BITMAP_CHUNK (UINT64_C (1) << 31)

#define MIN_LEG_TIMEOUT (10 * NSEC_PER_MSEC)
#define MAX_LEG_TIMEOUT (24 * 3600 * NSEC_PER_SEC)

/* The bitmap stores it in seconds; a day is more than anybody means. */
#define MAX_DAEMON_SLEEP 86400

#define SECTOR 512

const char options_help[] =
    "leg=<LEG>                      (required) Path of a leg; once for each.\n"
    "create=<SIZE>                  Make the array on these legs if they "
    "carry none.\n"
    "metadata=1.2|1.1|1.0|0.90      With create: version of the superblock\n"
    "                               (default 1.2).\n"
    "bitmap-chunk=<SIZE>            With create: bytes for one bit "
    "(default 64M).\n"
    "bitmap=auto|internal|none|PATH Where the bitmap is; PATH: in that file\n"
    "                               (default auto: where the superblock says;\n"
    "                               with create: internal).\n"
    "bitmap-io=direct|extent|pagecache\n"
    "                               How a bitmap file is written\n"
    "                               (default direct).\n"
    "on-bitmap-error=continue|stop  When a bitmap file fails\n"
    "                               (default continue).\n"
    "degraded=auto|allow|refuse     Start although legs are missing\n"
    "                               (default auto: if that is recorded).\n"
    "full-resync=auto|refuse        Start what would copy the whole array\n"
    "                               (default auto).\n"
    "force-source=<LEG>             Settle a split brain: this leg wins, and\n"
    "                               the loser is recorded as faulty.\n"
    "leg-timeout=<SECONDS>          A leg that takes longer has failed "
    "(default 30).\n"
    "daemon-sleep=<SECONDS>         Between passes that clear bits\n"
    "                               (default: what the bitmap says).\n"
    "sync-rate-min=<SIZE>           Bytes per second and leg (default 1M).\n"
    "sync-rate-max=<SIZE>|unlimited Bytes per second and leg\n"
    "                               (default unlimited).\n"
    "serialize=<BOOL>               One request at a time per connection\n"
    "                               (default false).";

void
options_init (struct options *options)
{
  memset (options, 0, sizeof *options);
  options->array.degraded = ARRAY_DEGRADED_AUTO;
  options->array.leg_timeout = 30 * NSEC_PER_SEC;
  options->array.sync_rate_min = 1024 * 1024;
  options->array.sync_rate_max = UINT64_MAX;
}

void
options_free (struct options *options)
{
  for (unsigned i = 0; i < options->array.nlegs; ++i)
    free (options->paths[i]);
  free (options->bitmap_file);
  options->bitmap_file = NULL;
  options->array.bitmap_file = NULL;
  free (options->force_source);
  options->force_source = NULL;
  options->array.force_source = NULL;
  options->array.nlegs = 0;
}

/* ---- values ---- */

/* "wrong", in one line; always -1. */
static int
bad (const char *key, const char *value, const char *expected)
{
  nbdkit_error ("%s=%s: %s", key, value, expected);
  return -1;
}

/* Decimal digits at *value, which moves past them.  False: there are none,
 * or the number does not fit.
 */
static bool
parse_digits (const char **value, uint64_t *n)
{
  const char *p = *value;

  if (*p < '0' || *p > '9')
    return false;
  for (*n = 0; *p >= '0' && *p <= '9'; ++p)
    if (__builtin_mul_overflow (*n, 10, n)
        || __builtin_add_overflow (*n, (unsigned)(*p - '0'), n))
      return false;
  *value = p;
  return true;
}

/* A number with the suffixes that nbdkit takes for sizes. */
static bool
parse_size (const char *value, uint64_t *size)
{
  static const char suffixes[] = "bkmgtpe";
  uint64_t factor = 1;

  if (!parse_digits (&value, size))
    return false;
  if (*value != '\0') {
    char c = *value >= 'A' && *value <= 'Z' ? *value - 'A' + 'a' : *value;
    const char *found = strchr (suffixes, c);

    if (c == 's')
      factor = SECTOR;
    else if (found)
      factor <<= 10 * (found - suffixes);
    else
      return false;
    if (*++value != '\0')
      return false;
  }
  return !__builtin_mul_overflow (*size, factor, size);
}

/* Seconds, "2", "1.5" or "2s", or milliseconds, "500ms"; in nanoseconds. */
static bool
parse_duration (const char *value, uint64_t *ns)
{
  uint64_t whole, fraction = 0, unit = NSEC_PER_SEC, scale = 1;

  if (!parse_digits (&value, &whole))
    return false;
  if (*value == '.') {
    const char *start = ++value;

    if (!parse_digits (&value, &fraction) || value - start > 6)
      return false;
    for (; start < value; ++start)
      scale *= 10;
  }
  if (strcmp (value, "ms") == 0)
    unit = NSEC_PER_MSEC;
  else if (strcmp (value, "s") != 0 && *value != '\0')
    return false;
  return !__builtin_mul_overflow (whole, unit, ns)
         && !__builtin_add_overflow (*ns, fraction * unit / scale, ns);
}

/* The words that nbdkit takes for booleans. */
static bool
parse_bool (const char *value, bool *b)
{
  static const char *const yes[] = { "1", "true", "t", "yes", "y", "on" };
  static const char *const no[] = { "0", "false", "f", "no", "n", "off" };

  for (unsigned i = 0; i < sizeof yes / sizeof yes[0]; ++i) {
    *b = strcasecmp (value, yes[i]) == 0;
    if (*b || strcasecmp (value, no[i]) == 0)
      return true;
  }
  return false;
}

/* ---- keys ---- */

/* nbd:, nbds:, nbd+unix: and so on: what NBD URIs begin with. */
static bool
is_uri (const char *leg)
{
  size_t scheme = strcspn (leg, ":/");

  if (leg[scheme] != ':')
    return false;
  return (scheme == 3 && strncmp (leg, "nbd", 3) == 0)
         || (scheme == 4 && strncmp (leg, "nbds", 4) == 0)
         || strncmp (leg, "nbd+", 4) == 0 || strncmp (leg, "nbds+", 5) == 0;
}

static int
set_leg (struct options *options, const char *key, const char *value)
{
  unsigned n = options->array.nlegs;

  if (*value == '\0')
    return bad (key, value, "must be the path of a leg");
  if (is_uri (value))
    return bad (key, value,
                "remote legs are not supported yet, only files and block "
                "devices (a file of that name: write ./ before it)");
  if (n == ARRAY_MAX_LEGS) {
    nbdkit_error ("%s=%s: too many legs: at most %d are supported", key, value,
                  ARRAY_MAX_LEGS);
    return -1;
  }
  options->paths[n] = nbdkit_absolute_path (value);
  if (!options->paths[n])
    return -1;
  options->array.legs[n] = options->paths[n];
  options->array.nlegs = n + 1;
  return 0;
}

static int
set_create (struct options *options, const char *key, const char *value)
{
  uint64_t size;

  if (!parse_size (value, &size))
    return bad (key, value, "must be a size, for example 10G");
  if (size == 0 || size % SECTOR != 0 || size > INT64_MAX)
    return bad (key, value, "must be a multiple of 512 bytes, and not 0");
  options->create = size;
  return 0;
}

static int
set_metadata (struct options *options, const char *key, const char *value)
{
  static const char *const versions[] = { "1.2", "1.1", "1.0", "0.90" };

  for (unsigned i = 0; i < sizeof versions / sizeof versions[0]; ++i)
    if (strcmp (value, versions[i]) == 0) {
      options->metadata = versions[i];
      return 0;
    }
  return bad (key, value, "must be 1.2, 1.1, 1.0 or 0.90");
}

static int
set_bitmap_chunk (struct options *options, const char *key, const char *value)
{
  uint64_t size;

  if (!parse_size (value, &size))
    return bad (key, value, "must be a size, for example 64K");
  if (size < MIN_BITMAP_CHUNK || size > MAX_BITMAP_CHUNK
      || (size & (size - 1)) != 0)
    return bad (key, value, "must be a power of two from 4K to 2G");
  options->bitmap_chunk = (uint32_t)size;
  return 0;
}

static int
set_bitmap (struct options *options, const char *key, const char *value)
{
  struct array_options *array = &options->array;

  free (options->bitmap_file);
  options->bitmap_file = NULL;
  array->bitmap_file = NULL;
  if (strcmp (value, "auto") == 0)
    array->bitmap = ARRAY_BITMAP_AUTO;
  else if (strcmp (value, "internal") == 0)
    array->bitmap = ARRAY_BITMAP_INTERNAL;
  else if (strcmp (value, "none") == 0)
    array->bitmap = ARRAY_BITMAP_NONE;
  else if (*value == '\0')
    return bad (key, value, "must be auto, internal, none or a file's path");
  else {
    options->bitmap_file = nbdkit_absolute_path (value);
    if (!options->bitmap_file)
      return -1;
    array->bitmap = ARRAY_BITMAP_FILE;
    array->bitmap_file = options->bitmap_file;
  }
  return 0;
}

static int
set_bitmap_io (struct options *options, const char *key, const char *value)
{
  if (strcmp (value, "direct") == 0)
    options->array.bitmap_io = ARRAY_BITMAP_DIRECT;
  else if (strcmp (value, "extent") == 0)
    options->array.bitmap_io = ARRAY_BITMAP_EXTENT;
  else if (strcmp (value, "pagecache") == 0)
    options->array.bitmap_io = ARRAY_BITMAP_PAGECACHE;
  else
    return bad (key, value, "must be direct, extent or pagecache");
  options->bitmap_io = true;
  return 0;
}

static int
set_on_bitmap_error (struct options *options, const char *key,
                     const char *value)
{
  if (strcmp (value, "continue") != 0 && strcmp (value, "stop") != 0)
    return bad (key, value, "must be continue or stop");
  options->array.stop_on_bitmap_error = strcmp (value, "stop") == 0;
  options->bitmap_error = true;
  return 0;
}

static int
set_degraded (struct options *options, const char *key, const char *value)
{
  if (strcmp (value, "auto") == 0)
    options->array.degraded = ARRAY_DEGRADED_AUTO;
  else if (strcmp (value, "allow") == 0)
    options->array.degraded = ARRAY_DEGRADED_ALLOW;
  else if (strcmp (value, "refuse") == 0)
    options->array.degraded = ARRAY_DEGRADED_REFUSE;
  else
    return bad (key, value, "must be auto, allow or refuse");
  return 0;
}

static int
set_full_resync (struct options *options, const char *key, const char *value)
{
  if (strcmp (value, "auto") != 0 && strcmp (value, "refuse") != 0)
    return bad (key, value, "must be auto or refuse");
  options->array.refuse_full_resync = strcmp (value, "refuse") == 0;
  return 0;
}

/* It is compared with the legs when all of them are known. */
static int
set_force_source (struct options *options, const char *key, const char *value)
{
  char *path;

  if (*value == '\0')
    return bad (key, value, "must be the path of one of the legs");
  path = nbdkit_absolute_path (value);
  if (!path)
    return -1;
  free (options->force_source);
  options->force_source = path;
  return 0;
}

static int
set_leg_timeout (struct options *options, const char *key, const char *value)
{
  uint64_t ns;

  if (!parse_duration (value, &ns))
    return bad (key, value, "must be seconds or, for example, 500ms");
  if (ns < MIN_LEG_TIMEOUT || ns > MAX_LEG_TIMEOUT)
    return bad (key, value, "must be from 10ms to 86400 (a day)");
  options->array.leg_timeout = ns;
  return 0;
}

static int
set_daemon_sleep (struct options *options, const char *key, const char *value)
{
  uint64_t ns;

  if (!parse_duration (value, &ns) || ns % NSEC_PER_SEC != 0)
    return bad (key, value, "must be whole seconds");
  if (ns < NSEC_PER_SEC || ns > MAX_DAEMON_SLEEP * NSEC_PER_SEC)
    return bad (key, value, "must be from 1 to 86400 seconds (a day)");
  options->array.daemon_sleep = (unsigned)(ns / NSEC_PER_SEC);
  return 0;
}

static int
set_sync_rate_min (struct options *options, const char *key, const char *value)
{
  if (!parse_size (value, &options->array.sync_rate_min))
    return bad (key, value, "must be a size (per second), for example 1M");
  options->sync_rate_min = true;
  return 0;
}

static int
set_sync_rate_max (struct options *options, const char *key, const char *value)
{
  uint64_t rate;

  if (strcmp (value, "unlimited") == 0)
    rate = UINT64_MAX;
  else if (!parse_size (value, &rate) || rate == 0)
    return bad (key, value,
                "must be unlimited or a size (per second) that is not 0, for "
                "example 100M");
  options->array.sync_rate_max = rate;
  return 0;
}

static int
set_serialize (struct options *options, const char *key, const char *value)
{
  if (!parse_bool (value, &options->serialize))
    return bad (key, value, "must be true or false");
  return 0;
}

/* A name that is kept for something to come. */
static int
set_not_yet (struct options *options, const char *key, const char *value)
{
  (void)options;
  return bad (key, value, "this parameter is not supported yet");
}

static const struct {
  const char *key;
  int (*set) (struct options *options, const char *key, const char *value);
} keys[] = {
  { "leg", set_leg },
  { "create", set_create },
  { "metadata", set_metadata },
  { "bitmap-chunk", set_bitmap_chunk },
  { "bitmap", set_bitmap },
  { "bitmap-io", set_bitmap_io },
  { "on-bitmap-error", set_on_bitmap_error },
  { "degraded", set_degraded },
  { "full-resync", set_full_resync },
  { "force-source", set_force_source },
  { "leg-timeout", set_leg_timeout },
  { "daemon-sleep", set_daemon_sleep },
  { "sync-rate-min", set_sync_rate_min },
  { "sync-rate-max", set_sync_rate_max },
  { "serialize", set_serialize },
  { "auto-re-add", set_not_yet },
  { "connections", set_not_yet },
  { "control", set_not_yet },
  { "event-program", set_not_yet },
  { "no-leg-timeout", set_not_yet },
  { "unsafe-cache", set_not_yet },
  { "write-behind", set_not_yet },
  { "write-mostly", set_not_yet },
};

int
options_set (struct options *options, const char *key, const char *value)
{
  for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; ++i)
    if (strcmp (keys[i].key, key) == 0)
      return keys[i].set (options, key, value);

  nbdkit_error ("unknown parameter '%s' (write leg=PATH for a leg whose path "
                "contains '=')",
                key);
  return -1;
}

/* ---- all keys together ---- */

static bool
same_file (const char *a, const char *b)
{
  struct stat sa, sb;

  if (strcmp (a, b) == 0)
    return true;
  if (stat (a, &sa) == -1 || stat (b, &sb) == -1)
    return false;
  if (S_ISBLK (sa.st_mode) && S_ISBLK (sb.st_mode))
    return sa.st_rdev == sb.st_rdev;
  return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* One disk as two legs is no mirror.  Legs that do not exist yet can only be
 * told apart by their paths.
 */
static int
check_distinct (const struct options *options)
{
  for (unsigned i = 0; i < options->array.nlegs; ++i)
    for (unsigned j = 0; j < i; ++j)
      if (same_file (options->paths[i], options->paths[j])) {
        nbdkit_error ("leg=%s: given twice (the other one is %s): each leg "
                      "must be a disk or file of its own",
                      options->paths[i], options->paths[j]);
        return -1;
      }
  return 0;
}

/* The library knows the source by the name of its leg. */
static int
check_force_source (struct options *options)
{
  if (!options->force_source)
    return 0;
  for (unsigned i = 0; i < options->array.nlegs; ++i)
    if (same_file (options->force_source, options->paths[i])) {
      options->array.force_source = options->paths[i];
      return 0;
    }
  return bad ("force-source", options->force_source,
              "must be one of the legs given");
}

/* What says how a new array is made. */
static int
check_create (const struct options *options)
{
  if (options->create == 0 && (options->metadata || options->bitmap_chunk)) {
    nbdkit_error ("%s= needs create=SIZE: it says how a new array is made",
                  options->metadata ? "metadata" : "bitmap-chunk");
    return -1;
  }
  if (options->bitmap_chunk && options->array.bitmap == ARRAY_BITMAP_NONE) {
    nbdkit_error ("bitmap-chunk= contradicts bitmap=none: without a bitmap "
                  "there are no chunks");
    return -1;
  }
  return 0;
}

/* What says how a file is treated. */
static int
check_bitmap (const struct options *options)
{
  if (options->array.bitmap != ARRAY_BITMAP_FILE
      && (options->bitmap_io || options->bitmap_error)) {
    nbdkit_error ("%s= needs bitmap=PATH: it says how a bitmap file is treated",
                  options->bitmap_io ? "bitmap-io" : "on-bitmap-error");
    return -1;
  }
  for (unsigned i = 0; i < options->array.nlegs; ++i)
    if (options->bitmap_file
        && same_file (options->bitmap_file, options->paths[i])) {
      nbdkit_error ("bitmap=%s: it is a leg; the bitmap needs a file of its "
                    "own, or bitmap=internal",
                    options->bitmap_file);
      return -1;
    }
  return 0;
}

int
options_check (struct options *options)
{
  struct array_options *array = &options->array;

  /* The default minimum yields to a maximum that was asked for. */
  if (!options->sync_rate_min && array->sync_rate_min > array->sync_rate_max)
    array->sync_rate_min = array->sync_rate_max;

  if (array->nlegs == 0) {
    nbdkit_error ("no legs: give leg=PATH for each leg of the mirror");
    return -1;
  }
  if (check_create (options) == -1)
    return -1;
  if (array->sync_rate_min > array->sync_rate_max) {
    nbdkit_error ("sync-rate-max= is less than sync-rate-min=");
    return -1;
  }
  if (check_distinct (options) == -1 || check_bitmap (options) == -1)
    return -1;
  return check_force_source (options);
}
