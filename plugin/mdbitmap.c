/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* nbdkit's callbacks.  The only file, with options.c, that knows nbdkit; of
 * the library it sees array.h alone.
 *
 * What runs where:
 *
 *   config, config_complete, get_ready    the main thread, before any fork.
 *     get_ready opens the array, which reads and decides: everything that
 *     can be wrong with the legs is said here, where it can still be seen.
 *     No thread, no io_context.  Nothing is written, except that create=
 *     makes legs that are not there yet.
 *   after_fork                            the main thread of the process that
 *     serves.  Threads start here, and the array becomes writable.
 *   open and the requests                 nbdkit's threads, in parallel.
 *   cleanup, unload                       the main thread, after the last
 *     request.  They are a courtesy: SIGKILL is a normal end.
 *
 * `nbdkit -r` must not change a byte of a leg, but a plugin is told about it
 * only when a client connects.  So the command line is looked at (readonly.h).
 * With -r the array is opened for reading only, and any full copy will do.  In
 * doubt it is opened as if it were to be written, but activation waits for the
 * first client that may write: then it was not -r.
 *
 * The variables of this file are written before after_fork returns and only
 * read later; no lock is needed.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "array/array.h"
#include "base/log.h"

#include "options.h"
#include "readonly.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* qemu's server and others refuse more in one request. */
#define MAX_BLOCK_SIZE           (32u * 1024 * 1024)
#define MIN_PREFERRED_BLOCK_SIZE 4096u

/* -D mdbitmap.NAME=1 */
NBDKIT_DLL_PUBLIC int mdbitmap_debug_legs;
NBDKIT_DLL_PUBLIC int mdbitmap_debug_bitmap;
NBDKIT_DLL_PUBLIC int mdbitmap_debug_crowd;
NBDKIT_DLL_PUBLIC int mdbitmap_debug_resync;
NBDKIT_DLL_PUBLIC int mdbitmap_debug_io;
NBDKIT_DLL_PUBLIC int mdbitmap_debug_superblock;
NBDKIT_DLL_PUBLIC int mdbitmap_debug_stats;

static struct options options;
static struct array *array;

/* Connections differ in one thing, so all of them share these two handles:
 * there is nothing to free, and nothing leaks when nbdkit ends without
 * closing them, as it often does.
 */
static const struct connection {
  bool readonly;
} connections[] = { { .readonly = false }, { .readonly = true } };

/* ---- messages ---- */

/* nbdkit_error is the only channel that is always shown, in the foreground
 * and (as syslog) in the background, so notices go through it as well.
 */
static void
show_line (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  if (level == LOG_LEVEL_DEBUG)
    nbdkit_debug ("%s", line);
  else
    nbdkit_error ("%s", line);
}

static const struct log plugin_log = {
  .sink = show_line,
  .debug = {
    [LOG_LEGS] = &mdbitmap_debug_legs,
    [LOG_BITMAP] = &mdbitmap_debug_bitmap,
    [LOG_RESYNC] = &mdbitmap_debug_resync,
    [LOG_IO] = &mdbitmap_debug_io,
    [LOG_SUPERBLOCK] = &mdbitmap_debug_superblock,
  },
};

/* ---- what the server is and was told ---- */

/* New in nbdkit 1.34, and so is the repair of the trap below.  Weak, so that
 * the plugin loads into older servers as well.
 */
#pragma weak nbdkit_disconnect
extern void nbdkit_disconnect (int force);

static void
warn_of_server (void)
{
  if (&nbdkit_disconnect != NULL || options.serialize)
    return;
  nbdkit_error ("warning: this nbdkit is older than 1.34 and may abort when a "
                "client hangs up with requests in flight (nothing that was "
                "flushed is lost); use nbdkit 1.34 or later, or -t 1 with one "
                "client per server, or serialize=true");
}

/* ---- command line ---- */

static int
mdbitmap_config (const char *key, const char *value)
{
  return options_set (&options, key, value);
}

static int
mdbitmap_config_complete (void)
{
  return options_check (&options);
}

static int
mdbitmap_thread_model (void)
{
  return options.serialize ? NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS
                           : NBDKIT_THREAD_MODEL_PARALLEL;
}

static void
mdbitmap_dump_plugin (void)
{
  printf ("mdbitmap_libaio=yes\n");
  printf ("mdbitmap_superblocks=0.90,1.0,1.1,1.2\n");
  printf ("mdbitmap_bitmap=internal,none,file\n");
  printf ("mdbitmap_bitmap_io=direct,extent,pagecache\n");
  printf ("mdbitmap_max_legs=%d\n", ARRAY_MAX_LEGS);
  printf ("mdbitmap_features=create,degraded,force-source,full-resync,"
          "serialize\n");
}

/* ---- life ---- */

/* Legs to be made where nothing may be written: say so instead of letting
 * assembly complain about files that are empty or not there.
 */
static int
refuse_to_create (void)
{
  for (unsigned i = 0; i < options.array.nlegs; ++i) {
    const char *leg = options.array.legs[i];
    struct stat st;

    if (stat (leg, &st) == 0 && !(S_ISREG (st.st_mode) && st.st_size == 0))
      return 0; /* not all new: assembly knows best */
  }
  nbdkit_error ("create=: no leg exists, and nothing can be made with nbdkit "
                "-r: start once without -r");
  return -1;
}

static int
create_legs (void)
{
  struct array_create_options create = {
    .nlegs = options.array.nlegs,
    .size = options.create,
    .metadata = options.metadata,
    .bitmap = options.array.bitmap,
    .bitmap_file = options.array.bitmap_file,
    .bitmap_chunk = options.bitmap_chunk,
    .keep_existing = true,
    .leg_timeout = options.array.leg_timeout,
  };

  if (server_is_readonly () != READONLY_NO)
    return refuse_to_create ();
  for (unsigned i = 0; i < create.nlegs; ++i)
    create.legs[i] = options.array.legs[i];
  return array_create (&create, &plugin_log) == 0 ? 0 : -1;
}

static int
mdbitmap_get_ready (void)
{
  warn_of_server ();
  /* Where there is a doubt it stays an array that may become writable, so
   * that legs are chosen with all the care that this needs.
   */
  options.array.read_only = server_is_readonly () == READONLY_YES;
  if (mdbitmap_debug_crowd > 0)
    options.array.crowd = (unsigned)mdbitmap_debug_crowd;
  if (options.create && create_legs () == -1)
    return -1;
  return array_open (&options.array, &plugin_log, &array) == 0 ? 0 : -1;
}

static int
mdbitmap_after_fork (void)
{
  struct array_info info;
  int err;

  err = array_start (array);
  if (err < 0) {
    nbdkit_error ("cannot start: %s", strerror (-err));
    return -1;
  }
  array_get_info (array, &info);
  if (info.read_only)
    return 0;
  if (server_is_readonly () != READONLY_NO) {
    nbdkit_debug ("this may be nbdkit -r: nothing is written before a client "
                  "connects that may write");
    return 0;
  }
  /* Nobody would see a failure of the server here.  The reason is logged,
   * and clients are refused until it works.
   */
  (void)array_activate (array);
  return 0;
}

static void
mdbitmap_cleanup (void)
{
  struct array_counters n;

  array_stop (array);
  if (!mdbitmap_debug_stats)
    return;
  array_get_counters (array, &n);
  nbdkit_debug (
      "stats: reads=%" PRIu64 " writes=%" PRIu64 " zeroes=%" PRIu64
      " flushes=%" PRIu64 " bitmap_rounds=%" PRIu64 " bitmap_pages=%" PRIu64
      " metadata_updates=%" PRIu64 " clear_flushes=%" PRIu64
      " resync_chunks=%" PRIu64 " resync_bytes=%" PRIu64,
      n.reads, n.writes, n.zeroes, n.flushes, n.bitmap_rounds, n.bitmap_pages,
      n.metadata_updates, n.clear_flushes, n.resync_chunks, n.resync_bytes);
}

static void
mdbitmap_load (void)
{
  options_init (&options);
}

static void
mdbitmap_unload (void)
{
  array_close (array);
  array = NULL;
  options_free (&options);
}

/* ---- connections ---- */

static void *
mdbitmap_open (int readonly)
{
  struct array_info info;
  int err;

  array_get_info (array, &info);
  if (!readonly && !info.read_only) {
    err = array_activate (array);
    if (err < 0) {
      nbdkit_error ("the array cannot be made writable: %s", strerror (-err));
      return NULL;
    }
  }
  return (void *)&connections[readonly || info.read_only];
}

static const char *
mdbitmap_export_description (void *handle)
{
  struct array_info info;

  (void)handle;
  array_get_info (array, &info);
  return nbdkit_printf_intern ("RAID1 %s, %u of %u legs in sync", info.uuid,
                               info.in_sync, info.raid_disks);
}

static int64_t
mdbitmap_get_size (void *handle)
{
  struct array_info info;

  (void)handle;
  array_get_info (array, &info);
  return (int64_t)info.size;
}

/* Clients need not obey: every request is served, whatever its alignment.
 * An array that another tool made may end in half a block; the minimum
 * shrinks to what divides it, else nobody could read the end.
 */
static int
mdbitmap_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                     uint32_t *maximum)
{
  struct array_info info;

  (void)handle;
  array_get_info (array, &info);
  *minimum = info.logical_block;
  while (info.size % *minimum != 0)
    *minimum /= 2;
  *preferred =
      *minimum > MIN_PREFERRED_BLOCK_SIZE ? *minimum : MIN_PREFERRED_BLOCK_SIZE;
  *maximum = MAX_BLOCK_SIZE;
  return 0;
}

static int
mdbitmap_can_write (void *handle)
{
  const struct connection *connection = handle;

  return !connection->readonly;
}

/* The answers below hold for the whole life of a connection, degraded or
 * not: state lives in the array, never in a connection.
 */
static int
mdbitmap_can_flush (void *handle)
{
  (void)handle;
  return 1;
}

static int
mdbitmap_can_fua (void *handle)
{
  (void)handle;
  return NBDKIT_FUA_NATIVE;
}

static int
mdbitmap_can_multi_conn (void *handle)
{
  (void)handle;
  return 1;
}

static int
mdbitmap_can_trim (void *handle)
{
  (void)handle;
  return 1;
}

static int
mdbitmap_can_zero (void *handle)
{
  (void)handle;
  return 1;
}

static int
mdbitmap_can_fast_zero (void *handle)
{
  struct array_info info;

  (void)handle;
  array_get_info (array, &info);
  return info.fast_zero;
}

static int
mdbitmap_can_cache (void *handle)
{
  (void)handle;
  return NBDKIT_CACHE_NONE;
}

static int
mdbitmap_is_rotational (void *handle)
{
  struct array_info info;

  (void)handle;
  array_get_info (array, &info);
  return info.rotational;
}

/* ---- requests ---- */

/* The answer to a request.  Of the numbers that the server lets through only
 * three can come from the array, which has logged the reason.
 */
static int
answer (int err, const char *what, uint64_t count, uint64_t offset)
{
  if (err == 0)
    return 0;
  nbdkit_debug ("%s of %" PRIu64 " bytes at %" PRIu64 ": %s", what, count,
                offset, strerror (-err));
  switch (err) {
  case -ENOMEM:
    nbdkit_set_error (ENOMEM);
    break;
  case -EROFS:
    nbdkit_set_error (EPERM);
    break;
  default:
    nbdkit_set_error (EIO);
  }
  return -1;
}

/* Flags that this plugin was not written for may ask for anything. */
static int
check_flags (uint32_t flags, uint32_t known, const char *what)
{
  if ((flags & ~known) == 0)
    return 0;
  nbdkit_error ("%s: unknown flags 0x%" PRIx32, what, flags & ~known);
  nbdkit_set_error (EINVAL);
  return -1;
}

static int
mdbitmap_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
                uint32_t flags)
{
  (void)handle;
  if (check_flags (flags, 0, "read") == -1)
    return -1;
  return answer (array_read (array, buf, count, offset), "read", count, offset);
}

static int
mdbitmap_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
                 uint32_t flags)
{
  unsigned fua = flags & NBDKIT_FLAG_FUA ? ARRAY_FUA : 0;

  (void)handle;
  if (check_flags (flags, NBDKIT_FLAG_FUA, "write") == -1)
    return -1;
  return answer (array_write (array, buf, count, offset, fua), "write", count,
                 offset);
}

static int
mdbitmap_flush (void *handle, uint32_t flags)
{
  (void)handle;
  if (check_flags (flags, 0, "flush") == -1)
    return -1;
  return answer (array_flush (array), "flush", 0, 0);
}

/* Legs that give space back must still read as equal, so a trim is a zero
 * that may trim.
 */
static int
mdbitmap_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  unsigned fua = flags & NBDKIT_FLAG_FUA ? ARRAY_FUA : 0;

  (void)handle;
  if (check_flags (flags, NBDKIT_FLAG_FUA, "trim") == -1)
    return -1;
  return answer (array_zero (array, count, offset, fua | ARRAY_MAY_TRIM),
                 "trim", count, offset);
}

/* EOPNOTSUPP only for a client that asked for "fast or not at all", and only
 * before anything was touched: what servers before 1.46 do with it otherwise
 * loses zeroes.
 */
static int
mdbitmap_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  const uint32_t known =
      NBDKIT_FLAG_FUA | NBDKIT_FLAG_MAY_TRIM | NBDKIT_FLAG_FAST_ZERO;
  unsigned zero_flags = 0;

  (void)handle;
  if (check_flags (flags, known, "zero") == -1)
    return -1;
  if (flags & NBDKIT_FLAG_FUA)
    zero_flags |= ARRAY_FUA;
  if (flags & NBDKIT_FLAG_MAY_TRIM)
    zero_flags |= ARRAY_MAY_TRIM;
  if (flags & NBDKIT_FLAG_FAST_ZERO) {
    struct array_info info;

    array_get_info (array, &info);
    if (!info.fast_zero || !(flags & NBDKIT_FLAG_MAY_TRIM)) {
      nbdkit_set_error (EOPNOTSUPP);
      return -1;
    }
  }
  return answer (array_zero (array, count, offset, zero_flags), "zero", count,
                 offset);
}

static struct nbdkit_plugin plugin = {
  .name = "mdbitmap",
  .longname = "mirror with write-intent bitmap",
  .version = PACKAGE_VERSION,
  .description = "Export a RAID1 mirror whose legs carry the metadata of "
                 "Linux md, with a\n"
                 "write-intent bitmap: after a crash only chunks that may "
                 "differ are copied.",
  .load = mdbitmap_load,
  .unload = mdbitmap_unload,
  .config = mdbitmap_config,
  .config_complete = mdbitmap_config_complete,
  .config_help = options_help,
  .magic_config_key = OPTIONS_MAGIC_KEY,
  .thread_model = mdbitmap_thread_model,
  .dump_plugin = mdbitmap_dump_plugin,
  .get_ready = mdbitmap_get_ready,
  .after_fork = mdbitmap_after_fork,
  .cleanup = mdbitmap_cleanup,
  .open = mdbitmap_open,
  .export_description = mdbitmap_export_description,
  .get_size = mdbitmap_get_size,
  .block_size = mdbitmap_block_size,
  .can_write = mdbitmap_can_write,
  .can_flush = mdbitmap_can_flush,
  .can_fua = mdbitmap_can_fua,
  .can_multi_conn = mdbitmap_can_multi_conn,
  .can_trim = mdbitmap_can_trim,
  .can_zero = mdbitmap_can_zero,
  .can_fast_zero = mdbitmap_can_fast_zero,
  .can_cache = mdbitmap_can_cache,
  .is_rotational = mdbitmap_is_rotational,
  .pread = mdbitmap_pread,
  .pwrite = mdbitmap_pwrite,
  .flush = mdbitmap_flush,
  .trim = mdbitmap_trim,
  .zero = mdbitmap_zero,
};

/* The macro defines it without a prototype. */
extern struct nbdkit_plugin *plugin_init (void);

NBDKIT_REGISTER_PLUGIN (plugin)
