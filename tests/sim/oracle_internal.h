/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Inside the oracle only: what it sees of metadata, and what it remembers of
 * operations.
 *
 * Disks have numbers, called leg here.  What tables say of a dev_number is
 * kept by the leg that has it.  An array numbers its legs in the order given;
 * struct oracle maps those to disks.
 */

#ifndef MDBITMAP_SIM_ORACLE_INTERNAL_H
#define MDBITMAP_SIM_ORACLE_INTERNAL_H

#include "array/internal.h"
#include "format/bitmap_note.h"
#include "format/bitmap_superblock.h"
#include "format/superblock.h"
#include "sim/oracle.h"
#include "sim/trace.h"

/* ---- metadata as it lies on an image: oracle_views.c ---- */

struct super_view {
  bool valid; /* decodes; nothing below means anything else */
  uint64_t events;
  uint64_t resync_offset;
  bool clean;
  bool write_mostly;
  bool recovering;
  bool has_bad;  /* its bad-block log has entries */
  unsigned leg;  /* whose it is */
  unsigned self; /* what its own table says of it */
  uint32_t raid_disks;
  uint8_t set_uuid[16];
  unsigned roles[SIM_LEGS]; /* by leg */
};

/* The first bytes of a superblock; those behind are zero. */
#define SUPER_BYTES   4096 /* of any */
#define SUPER_BYTES_1 1024 /* of versions 1.x */
extern void
super_view_of_raw (const struct oracle_geometry *geometry,
                   const uint8_t raw[SUPER_BYTES], struct super_view *view);
extern void
super_view_of_image (const struct oracle_geometry *geometry,
                     const struct image *image, struct super_view *view);
/* The same table, and the same state. */
extern bool
super_view_same (const struct super_view *a, const struct super_view *b);

struct header_view {
  bool valid;
  uint64_t events, events_cleared;
  uint32_t state;
  uint8_t uuid[16];
};

extern void
header_view_of_block (const uint8_t *block, struct header_view *view);
extern void
header_view_of_image (const struct oracle_geometry *geometry,
                      const struct image *image, struct header_view *view);
/* By md's rule all bits of such a bitmap count as set. */
extern bool
header_view_stale (const struct header_view *view, uint64_t array_events);

/* ---- bad blocks: oracle_bad.c ---- */

/* What a bad sector holds, in each byte, until it is written. */
#define ORACLE_POISON 0xbd

/* By the log of this image of the leg, is the sector at that byte of the array
 * bad?  view: its superblock.
 */
extern bool image_is_bad (const struct oracle_geometry *geometry, unsigned leg,
                          const struct image *image,
                          const struct super_view *view, uint64_t offset);
/* ... or any other sector of its block? */
extern bool image_block_is_bad (const struct oracle_geometry *geometry,
                                unsigned leg, const struct image *image,
                                const struct super_view *view, uint64_t offset);
extern bool image_is_poison (const struct oracle_geometry *geometry,
                             const struct image *image, uint64_t offset);
/* Do the legs hold the same there, on what is durable, but for what is in a
 * log that is durable?
 */
extern bool
disks_same (const struct oracle_geometry *geometry, const struct disk *a,
            const struct disk *b, uint64_t offset, uint64_t length);
/* The same for images. */
extern bool
images_same (const struct oracle_geometry *geometry, unsigned leg_a,
             const struct image *a, unsigned leg_b, const struct image *b,
             uint64_t offset, uint64_t length);

/* ---- the bitmap in a file: file_format.c ---- */

extern void
file_make_geometry (const struct plan *plan, struct oracle_geometry *geometry);
/* The disk, with that file in its pieces, and other people's bytes around. */
extern struct disk *
file_make_disk (const struct plan *plan, const struct oracle_geometry *geometry,
                const struct image *file);
/* Bytes of the file that are on this image of its disk. */
extern void
file_bytes (const struct oracle_geometry *geometry, const struct image *image,
            uint64_t offset, void *data, uint64_t length);
/* The byte of the file at that byte of its disk; false: it is none of it, or
 * not all of length is.
 */
extern bool file_find (const struct oracle_geometry *geometry, uint64_t at,
                       uint64_t length, uint64_t *offset);
extern bool file_bit (const struct oracle_geometry *geometry,
                      const struct image *image, uint64_t chunk);
extern void file_header (const struct oracle_geometry *geometry,
                         const struct image *image, struct header_view *view);
/* Can the bytes that are used be read? */
extern bool
file_is_spoiled (const struct oracle_geometry *geometry,
                 const struct disk *disk, uint64_t offset, uint64_t length);
/* A note for a leg; and does that block hold one of this array? */
extern void file_make_note (uint64_t events, const uint8_t uuid[16],
                            uint8_t block[BITMAP_NOTE_BYTES]);
/* That it begins like one. */
extern bool file_seems_noted (const struct oracle_geometry *geometry,
                              const struct image *image);
extern bool file_is_note (const uint8_t *block, const uint8_t uuid[16]);

extern bool image_bit (const struct oracle_geometry *geometry,
                       const struct image *image, uint64_t chunk);

/* Bytes of a chunk that exist, and where it begins on a leg. */
static inline uint64_t
chunk_start (const struct oracle_geometry *geometry, uint64_t chunk)
{
  return geometry->data + chunk * geometry->chunk;
}

static inline uint64_t
chunk_length (const struct oracle_geometry *geometry, uint64_t chunk)
{
  return min_u64 (geometry->chunk, geometry->size - chunk * geometry->chunk);
}

/* What all legs given say, decoded once. */
struct leg_view {
  bool given;    /* there is a disk, and it answers */
  bool spoiled;  /* the superblock cannot be read, whatever it says */
  bool headless; /* the header of its bitmap cannot be read */
  bool no_log;   /* its bad-block log has entries, and cannot be read */
  bool noted;    /* says that the bitmap is in a file */
  bool has_bitmap;
  const struct image *image;
  struct super_view super;
  struct header_view header;
};

extern void reference_look (const struct oracle_geometry *geometry,
                            struct disk *const *disks, unsigned n,
                            struct leg_view views[SIM_LEGS]);
/* given: bit n: as if only these legs had been given. */
extern void
reference_decide (const struct leg_view views[SIM_LEGS], unsigned given,
                  const struct wishes *wishes, struct verdict *verdict);
/* Each of them holds that it has gone on without the other. */
extern bool
reference_split (const struct super_view *a, const struct super_view *b);

/* ---- while a world runs ---- */

enum area {
  AREA_SUPER,
  AREA_BITMAP,
  AREA_LOG,
  AREA_NOTE,
  AREA_DATA,
  AREA_FILE,
  AREA_NONE
};

/* An operation that the disk has not done. */
struct flight {
  struct flight *next;
  const struct io *io; /* lives, with its data, until it is done */
  enum area area;
  enum io_type type;
  uint64_t offset, length;    /* on the leg */
  uint64_t moment, submitted; /* of the submission, and its world time */
  unsigned fiber;             /* that submitted it */
  uint64_t request;           /* of that fiber */
  bool sets, clears; /* a page of the bitmap: bits that were not durable so */
  uint64_t events;   /* of a superblock, or of the header; of a header of the
                      * file that says that it is stale: 0 */
  bool clean;        /* of a superblock */
};

#define NEVER UINT64_MAX

/* A write that was answered well, and that no flush of the leg has covered.
 * Moments are counted, since the clock stands still most of the time.
 */
struct unflushed {
  uint64_t ended, answered; /* moments */
  uint64_t at;              /* world time of the answer */
};
#define UNFLUSHED 64

/* What is known of a disk. */
struct leg_watch {
  struct disk *disk; /* NULL: there is none */
  struct flight *flights;
  struct super_view super; /* see oracle_super */
  uint64_t failed_since;   /* seen to be faulty in the array's memory */
  uint64_t flush_failed;   /* when a flush ended badly, first */
  uint64_t flush_known;    /* when the array was seen to know it */
  uint64_t flushed;        /* moment at which the last good flush began */
  struct unflushed unflushed[UNFLUSHED];
  unsigned nunflushed;
  unsigned pages; /* writes of bitmap pages since all bits were clear */
};

/* What is known of the bitmap's file, apart from its disk. */
struct file_watch {
  bool astray;        /* see oracle_set_file */
  bool in_use;        /* the array writes its bitmap to it */
  uint64_t failed;    /* moment at which the array was seen to have given it
                       * up; 0: it has not */
  uint64_t failed_at; /* ... and world time */
  uint64_t lost;      /* moment at which file_check was seen to have failed */
  uint64_t lost_at;   /* ... and world time */
  uint64_t recorded;  /* moment at which nobody could believe it any more */
  /* A header that says so, since it was given up; or NULL. */
  const struct io_batch *marked;
};

/* A request under way in a fiber, as far as its data writes tell. */
struct request_watch {
  uint64_t number;
  uint64_t answered;         /* moment of the answer before */
  unsigned stored[SIM_LEGS]; /* writes that ended well */
  uint64_t ended[SIM_LEGS];  /* moment of the last of them */
  bool cached;               /* some write was not FUA */
  unsigned served;           /* bit n: by leg n, see oracle_served */
};
#define ORACLE_FIBERS 32
/* More than this at a time come from the world's memory, and are seen as a
 * leak if nothing was wrong with any disk: then there are never as many.
 */
#define ORACLE_FLIGHTS 128

struct oracle {
  struct oracle_geometry geometry;
  unsigned n;
  bool read_only;
  unsigned losers; /* bit n: leg n has lost a split brain, by the user's will */
  uint64_t loser_events;
  struct array *array;
  unsigned leg_of[ARRAY_MAX_LEGS];     /* disk of array->legs[i] */
  const struct leg *legs_of[SIM_LEGS]; /* the other way round, or NULL */
  unsigned once_in_sync;               /* bit n: disk n, in this life */
  uint64_t base_events;                /* of the array when it was assembled */
  uint64_t moment;      /* goes up with each thing that happens */
  uint64_t quiet_since; /* no write, and nothing that was slow */
  struct leg_watch legs[SIM_LEGS + 1]; /* the last: the file's disk */
  struct file_watch file;
  bool asked;        /* to write, in this life */
  uint8_t *may_mark; /* by chunk, a bit: what may be marked since */
  struct flight *spare;
  unsigned used; /* of pool */
  struct request_watch requests[ORACLE_FIBERS];
  unsigned moments; /* bits of enum oracle_moment since the last call */
  struct legs_watcher watcher;
  struct flight pool[ORACLE_FLIGHTS]; /* last: not initialised */
};

/* ---- oracle.c: who is who ---- */

extern bool oracle_in_sync (const struct oracle *oracle, unsigned leg);
extern unsigned oracle_count_in_sync (const struct oracle *oracle);
/* The durable superblock. */
extern const struct super_view *
oracle_super (struct oracle *oracle, unsigned leg);
/* Is the loss of the leg on record on all legs in sync, by this margin over
 * everything that the lost leg carries or may come to carry?
 */
extern bool
oracle_on_record (struct oracle *oracle, unsigned leg, uint64_t margin);
/* Would an assembly after a crash now perhaps trust it? */
extern bool oracle_trusted (struct oracle *oracle, unsigned leg);
/* Legs fail in memory while somebody who chose them before is on his way to
 * the device.  That takes no time, but the clock may jump.
 */
extern bool oracle_long_failed (const struct oracle *oracle, unsigned leg);
extern bool oracle_just_failed (const struct oracle *oracle);
/* The disk of the leg that serves that byte of an unequal chunk, SIM_LEGS if
 * none does.  *changed: by an override.
 */
extern unsigned
oracle_source (const struct oracle *oracle, uint64_t offset, bool *changed);
/* The chunk's bit is about to be set in some copy. */
extern void oracle_check_set (const struct oracle *oracle, uint64_t chunk);
/* Look at the array's memory: who has failed since? */
extern void oracle_look (struct oracle *oracle);

static inline bool
overlap (uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
  return a < b + b_length && b < a + a_length;
}

/* ---- oracle_io.c, oracle_meta.c: rules for operations ---- */

extern void oracle_submit (void *opaque, unsigned leg, const struct io *io);
extern void
oracle_done (void *opaque, unsigned leg, const struct io *io, int result);
extern void oracle_check_bitmap (struct oracle *oracle, unsigned leg,
                                 const struct io *io, struct flight *flight);
/* One byte of a page of the bitmap changes, and what its bits stand for. */
extern void
oracle_check_byte (struct oracle *oracle, uint64_t byte, uint8_t was,
                   uint8_t is, bool stale, struct flight *flight);
/* The header of the bitmap that is about to be written: is it right?  then: the
 * one that is there, on that disk.  True: nobody will believe the bits before
 * the next header.
 */
extern bool oracle_check_header (struct oracle *oracle, unsigned leg,
                                 const struct header_view *now,
                                 const struct header_view *then, bool stale);
extern void
oracle_check_log (struct oracle *oracle, unsigned leg, const struct io *io);
/* now: a superblock that is submitted. */
extern void oracle_check_has_bad (struct oracle *oracle, unsigned leg,
                                  const struct super_view *now);
extern void oracle_check_bad_read (const struct oracle *oracle, unsigned leg,
                                   const struct io *io);
extern void oracle_check_super (struct oracle *oracle, unsigned leg,
                                const struct io *io, struct flight *flight);

/* ---- oracle_file.c: rules for the bitmap in a file ---- */

/* A durable header: the leg's, or the file's if that is where it is. */
extern void oracle_header (const struct oracle *oracle, unsigned leg,
                           struct header_view *view);
/* Whatever a crash leaves, nobody will believe what is in the file. */
extern bool oracle_file_unbelievable (struct oracle *oracle);
extern void oracle_look_at_file (struct oracle *oracle);
extern void oracle_check_file (struct oracle *oracle, const struct io *io,
                               struct flight *flight);
extern void
oracle_check_file_marked (struct oracle *oracle, const struct flight *data);
/* Which says no longer that there is a file. */
extern void
oracle_check_note (struct oracle *oracle, unsigned leg, const struct io *io);
extern void
oracle_check_file_answer (struct oracle *oracle, enum step_type type,
                          const struct request_watch *request);
extern void
oracle_check_no_file_bits (const struct oracle *oracle, const char *when);

#endif /* MDBITMAP_SIM_ORACLE_INTERNAL_H */
