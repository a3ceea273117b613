/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Legs in memory behind device/aio.h, for fuzzing: each operation is done
 * when it is submitted.  What may be written when is told to them, and
 * anything else is a finding.
 */

#ifndef MDBITMAP_FUZZ_MEMORY_H
#define MDBITMAP_FUZZ_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#define MEMORY_LEGS 4

/* The names to give to array_open. */
extern const char *const memory_names[MEMORY_LEGS];

/* What array_open and array_start find. */
struct memory_traits {
  bool missing;           /* there is no such file */
  bool busy;              /* somebody else serves it */
  bool read_only;         /* it cannot be opened for writing */
  uint32_t logical_block; /* bytes */
  uint64_t bad_read;      /* a byte that cannot be read; UINT64_MAX: none */
  uint64_t bad_write;     /* all writes from the nth fail; UINT64_MAX: none */
};

/* Empty legs of that many bytes, with default traits; nothing may be written.
 * All devices must be closed.
 */
extern void memory_reset (uint64_t size);
extern struct memory_traits *memory_traits (unsigned leg);
extern void memory_resize (unsigned leg, uint64_t size);
extern uint64_t memory_size (unsigned leg);

/* For the test itself: no rules. */
extern void memory_load (unsigned leg, uint64_t offset, void *data, uint64_t n);
extern void
memory_store (unsigned leg, uint64_t offset, const void *data, uint64_t n);

/* What the library may do now. */
enum memory_phase {
  MEMORY_LOOK,  /* only read */
  MEMORY_READ,  /* read and flush */
  MEMORY_WRITE, /* write what memory_allow allows */
};
extern void memory_set_phase (enum memory_phase phase);

/* Bytes first <= b < end of the leg may be written. */
extern void memory_allow (unsigned leg, uint64_t first, uint64_t end);

/* The bitmap's file, whose path this is; the bytes stay the caller's. */
#define MEMORY_FILE "/file"
extern void memory_set_file (const uint8_t *bytes, uint64_t size);

/* Operations of the library that failed since memory_reset. */
extern uint64_t memory_errors (void);

/* Every device is closed, and what they shared is freed. */
extern void memory_check_closed (void);

#endif /* MDBITMAP_FUZZ_MEMORY_H */
