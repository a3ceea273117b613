/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The mirror: everything that the plugin and the tools may ask of it.
 *
 * Life: array_open reads and decides, and writes nothing.  array_start (after
 * the last fork) makes I/O asynchronous.  array_activate makes the array
 * writable: only from then on is anything written to a leg.  array_stop
 * leaves the legs clean if that is possible; it need not be called, since
 * SIGKILL is a normal end.
 *
 * Functions return 0 or -errno.  The reasons, one line each, go to the log.
 */

#ifndef MDBITMAP_ARRAY_H
#define MDBITMAP_ARRAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

#define ARRAY_MAX_LEGS 27 /* what a superblock 0.90 has room for */

struct array;

enum array_degraded {
  ARRAY_DEGRADED_AUTO, /* only if a superblock already records the loss */
  ARRAY_DEGRADED_ALLOW,
  ARRAY_DEGRADED_REFUSE,
};

/* Where the bitmap is. */
enum array_bitmap {
  ARRAY_BITMAP_AUTO, /* in options: what the legs say; refused if that is a
                      * file, which must be named */
  ARRAY_BITMAP_INTERNAL,
  ARRAY_BITMAP_NONE,
  ARRAY_BITMAP_FILE,
};

/* How a file is written: see device/file.h. */
enum array_bitmap_io {
  ARRAY_BITMAP_DIRECT,
  ARRAY_BITMAP_EXTENT,
  ARRAY_BITMAP_PAGECACHE,
};

extern const char *array_bitmap_io_string (enum array_bitmap_io io);

struct array_options {
  const char *legs[ARRAY_MAX_LEGS]; /* paths; the caller's */
  unsigned nlegs;
  enum array_degraded degraded;
  bool refuse_full_resync;
  bool read_only;           /* never write, whatever is asked: activate fails;
                             * a full copy is enough, stale or not */
  const char *force_source; /* one of legs: it wins a split brain, and those
                             * that disagree with it are not used; or NULL */
  uint64_t leg_timeout;     /* nanoseconds */
  enum array_bitmap bitmap;
  bool ignore_bitmap; /* an internal one that cannot be used is as none: for
                       * array_change_bitmap only */
  const char *bitmap_file; /* absolute path, with ARRAY_BITMAP_FILE */
  enum array_bitmap_io bitmap_io;
  bool stop_on_bitmap_error; /* if the file fails, writes fail from then on;
                              * else the array goes on without a bitmap */
  unsigned daemon_sleep;     /* seconds; 0: what the bitmap says */
  uint64_t sync_rate_min;    /* bytes per second and leg */
  uint64_t sync_rate_max; /* bytes per second and leg; UINT64_MAX: no limit */
  unsigned crowd; /* more writes under way than this, and one thread submits
                   * for many; 0: when it pays */
};

/* log must outlive the array. */
extern int array_open (const struct array_options *options,
                       const struct log *log, struct array **array);
extern int array_start (struct array *array);
/* May be called at any time and from any thread after array_start, again and
 * again: the first call that succeeds makes the array writable.
 */
extern int array_activate (struct array *array);
extern void array_stop (struct array *array);
/* NULL is allowed. */
extern void array_close (struct array *array);

enum array_write_flags {
  ARRAY_FUA = 1,
  ARRAY_MAY_TRIM = 2, /* array_zero */
};

/* Requests.  Any thread after array_start; offset and count in bytes, within
 * the array, of any alignment.  All writes need array_activate first
 * (-EROFS).  -EIO is the only other error except -ENOMEM.
 */
extern int
array_read (struct array *array, void *data, uint32_t count, uint64_t offset);
extern int array_write (struct array *array, const void *data, uint32_t count,
                        uint64_t offset, unsigned flags);
extern int array_zero (struct array *array, uint64_t count, uint64_t offset,
                       unsigned flags);
extern int array_flush (struct array *array);

struct array_info {
  uint64_t size;          /* bytes */
  uint32_t logical_block; /* bytes, the largest among the legs */
  bool rotational;        /* any leg */
  bool fast_zero;         /* all legs */
  bool read_only;         /* some leg could not be opened for writing */
  char uuid[37];
  char name[33];
  unsigned raid_disks;
  unsigned in_sync;         /* legs */
  enum array_bitmap bitmap; /* never AUTO; NONE: in memory only */
  const char *bitmap_file;  /* the array's; NULL: not in a file */
  bool bitmap_failed;       /* the file has been given up */
  const char *noted_file;   /* what a leg says that the bitmap is in, and it is
                             * not used; NULL: none does */
  uint32_t chunksize;       /* bytes */
  uint64_t chunks;          /* in all */
  uint64_t chunks_marked;   /* bits set now */
  uint64_t chunks_needed;   /* still to be resynced */
};

extern void array_get_info (struct array *array, struct array_info *info);

/* What assembly made of a leg. */
enum array_leg_fate {
  ARRAY_LEG_IN_SYNC,
  ARRAY_LEG_ABSENT, /* cannot be opened, or no superblock to be used */
  ARRAY_LEG_STALE,  /* its events are behind */
  ARRAY_LEG_FAULTY, /* on record as faulty */
  ARRAY_LEG_SPARE,
  ARRAY_LEG_JOURNAL,
  ARRAY_LEG_RECOVERING,  /* its recovery had not finished */
  ARRAY_LEG_REPLACEMENT, /* it was to replace another leg */
  ARRAY_LEG_SPLIT,       /* it disagrees with the forced source, or with one
                          * that has long gone on without it */
};

/* How much would be resynced to it. */
enum array_leg_resync {
  ARRAY_RESYNC_NONE,   /* it is the source, or all is clean, or not used */
  ARRAY_RESYNC_BITMAP, /* the chunks that the bitmap marks */
  ARRAY_RESYNC_FULL,
};

struct array_leg_info {
  const char *name; /* the array's */
  enum array_leg_fate fate;
  int slot; /* -1: none */
  bool write_mostly;
  bool has_superblock;
  uint64_t events;              /* if it has one */
  enum array_leg_resync resync; /* as of array_open */
  uint64_t resync_bytes;        /* at most */
  const char *resync_source;    /* a leg's name; NULL: none */
  uint64_t bad_sectors;         /* in its bad-block log now */
  char why[160];                /* fate and resync, for people */
};

extern const char *array_leg_fate_string (enum array_leg_fate fate);
/* The leg with that number, in the order given. */
extern void array_get_leg_info (struct array *array, unsigned number,
                                struct array_leg_info *info);

/* Put on record what was decided at array_open (legs that are lost, the loser
 * of a split brain), and nothing else; instead of array_activate.
 */
extern int array_record (struct array *array);

/* ---- another bitmap ---- */

/* Give the array, which nobody else serves, another bitmap in place of the one
 * that it has: after array_open and array_start, instead of array_activate.
 * bitmap: not AUTO; file: absolute path, with FILE; chunk: bytes, 0: as before,
 * or the default.  The new one is complete before one metadata update switches
 * to it: there is a valid one at any time.
 */
extern int array_change_bitmap (struct array *array, enum array_bitmap bitmap,
                                const char *file, uint32_t chunk);

/* What happened since array_open, for tests and measurements. */
struct array_counters {
  uint64_t reads, writes, zeroes, flushes; /* requests */
  uint64_t bitmap_rounds;                  /* group commits that wrote pages */
  uint64_t bitmap_pages;                   /* pages written, per copy */
  uint64_t metadata_updates;               /* superblock generations */
  uint64_t clear_flushes; /* flushes of all legs by the lazy clear */
  uint64_t resync_chunks; /* chunks that resync finished */
  uint64_t resync_bytes;  /* bytes that resync wrote */
};

extern void
array_get_counters (struct array *array, struct array_counters *counters);

/* ---- making arrays ---- */

struct array_create_options {
  const char *legs[ARRAY_MAX_LEGS]; /* NULL: the slot stays empty */
  bool write_mostly[ARRAY_MAX_LEGS];
  unsigned nlegs;
  uint64_t size;            /* bytes; 0: as large as the smallest leg allows */
  const char *metadata;     /* "1.2", "1.1", "1.0" or "0.90"; NULL: 1.2 */
  enum array_bitmap bitmap; /* AUTO: internal */
  const char *bitmap_file;  /* absolute path, with ARRAY_BITMAP_FILE */
  uint32_t bitmap_chunk;    /* bytes; 0: the default */
  const char *name;         /* NULL: none */
  bool force;               /* overwrite known signatures */
  bool assume_clean;
  /* For create=SIZE: legs that already carry an array are left alone, and a
   * half-made array (made, never started, legs missing) is finished.
   */
  bool keep_existing;
  /* nanoseconds */
  uint64_t leg_timeout;
};

/* Make an array, with an internal bitmap unless said otherwise.  Files that do
 * not exist or are empty are created and preallocated (size is needed then); if
 * all legs are new files the array starts clean.  Superblocks are written
 * last, after everything else is durable.  Nothing is written if anything is
 * refused.
 */
extern int array_create (const struct array_create_options *options,
                         const struct log *log);

#endif /* MDBITMAP_ARRAY_H */
