/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The memory of a world.
 *
 * Memory comes in regions of 64 KiB or a larger power of two, at a multiple
 * of 64 KiB, so that the address of a block leads to the head of its region.
 * A region holds either small blocks, each with a head of 16 bytes; or whole
 * pages, for what is aligned to more than 16 bytes; or one large block.
 * Blocks that were released wait in lists by size.  To drop a world is to
 * give its regions, a handful, back to the pool, which keeps them for ever.
 *
 * Fresh memory is filled with 0xa5 and released memory overwritten with 0x5a,
 * so what is read wrongly is at least always the same.  AddressSanitizer has
 * better ways: with it, each block is malloc's.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/arena.h"
#include "sim/fiber.h"

#define FRESH    0xa5
#define RELEASED 0x5a

/* True: this allocation is to fail. */
static bool
fails (uint64_t *after)
{
  return *after > 0 && --*after == 0;
}

#if SIM_ASAN

#include <sanitizer/asan_interface.h>

#define NO_ASAN __attribute__ ((no_sanitize_address))
#define IN_USE  0x75736564u

/* Lies right before what the user has, poisoned. */
struct block {
  struct block *next, *prev;
  struct arena *arena;
  void *memory; /* of malloc */
  size_t size;
  uint64_t state;
};

struct arena {
  struct block *blocks;
  size_t in_use;
  uint64_t fail_after;
};

struct arena *
arena_new (void)
{
  struct arena *arena = calloc (1, sizeof *arena);

  if (!arena)
    abort ();
  return arena;
}

NO_ASAN static void
block_link (struct arena *arena, struct block *block)
{
  block->arena = arena;
  block->state = IN_USE;
  block->prev = NULL;
  block->next = arena->blocks;
  if (arena->blocks)
    arena->blocks->prev = block;
  arena->blocks = block;
  arena->in_use += block->size;
}

/* Returns the memory, for free. */
NO_ASAN static void *
block_unlink (struct arena *arena, struct block *block)
{
  if (block->state != IN_USE)
    sim_die ("memory that is not in use is freed");
  if (block->arena != arena)
    sim_die ("memory of another world is freed");
  block->state = 0;
  if (block->next)
    block->next->prev = block->prev;
  if (block->prev)
    block->prev->next = block->next;
  else
    arena->blocks = block->next;
  arena->in_use -= block->size;
  return block->memory;
}

void
arena_free (struct arena *arena)
{
  while (arena->blocks)
    free (block_unlink (arena, arena->blocks));
  free (arena);
}

void *
arena_alloc (struct arena *arena, size_t align, size_t size)
{
  size_t before = align > sizeof (struct block) ? align : 64;
  struct block *block;
  void *memory;
  char *p;

  if (fails (&arena->fail_after))
    return NULL;
  if (posix_memalign (&memory, before, before + size) != 0)
    abort ();
  p = (char *)memory + before;
  block = (struct block *)p - 1;
  block->memory = memory;
  block->size = size;
  block_link (arena, block);
  memset (p, FRESH, size);
  ASAN_POISON_MEMORY_REGION (memory, before);
  return p;
}

void
arena_release (struct arena *arena, void *p)
{
  if (p)
    free (block_unlink (arena, (struct block *)p - 1));
}

#else /* !SIM_ASAN */

#define REGION_SHIFT 16
#define REGION_SIZE  ((size_t)1 << REGION_SHIFT)
#define PAGE_SHIFT   12
#define PAGE_SIZE    ((size_t)1 << PAGE_SHIFT)
#define PAGES        (REGION_SIZE / PAGE_SIZE)

enum region_kind { REGION_SMALL, REGION_PAGES, REGION_LARGE };

struct region {
  enum region_kind kind;
  unsigned shift; /* of its size */
  struct arena *arena;
  struct region *next, *prev;
  size_t size[PAGES]; /* of the block that begins at the page; 0: none.  Of
                       * a large one: at [1] */
};

/* The head of a small block. */
struct block {
  struct block *next; /* in the list of its class */
  uint32_t size;      /* 0: released */
  uint32_t class;
};

/* Small classes: multiples of 16 up to 512, then powers of 2. */
#define FINE         (512 / 16)
#define CLASSES      (FINE + 1 + 5)
#define SMALL_MAX    ((size_t)16 * 1024)

struct arena {
  struct region *regions;
  struct region *small, *pages; /* the ones with room */
  size_t small_used, pages_used;
  size_t in_use;
  uint64_t fail_after;
  struct block *classes[CLASSES];
  void *runs[PAGES]; /* of n pages, linked by their first word */
  struct arena *next;
};

static struct arena *arenas;
static struct region *pool[8 * sizeof (size_t)];

static struct region *
region_new (struct arena *arena, enum region_kind kind, unsigned shift)
{
  struct region *region = pool[shift];

  if (region)
    pool[shift] = region->next;
  else {
    region = aligned_alloc (REGION_SIZE, (size_t)1 << shift);
    if (!region)
      abort ();
    region->shift = shift;
  }
  region->kind = kind;
  region->arena = arena;
  region->prev = NULL;
  region->next = arena->regions;
  if (arena->regions)
    arena->regions->prev = region;
  arena->regions = region;
  if (kind != REGION_SMALL)
    memset (region->size, 0, sizeof region->size);
  return region;
}

static void
region_give (struct region *region)
{
  region->arena = NULL;
  region->next = pool[region->shift];
  pool[region->shift] = region;
}

struct arena *
arena_new (void)
{
  struct arena *arena = arenas;

  if (arena)
    arenas = arena->next;
  else
    arena = malloc (sizeof *arena);
  if (!arena)
    abort ();
  memset (arena, 0, sizeof *arena);
  return arena;
}

void
arena_free (struct arena *arena)
{
  struct region *next;

  for (struct region *region = arena->regions; region; region = next) {
    next = region->next;
    region_give (region);
  }
  arena->next = arenas;
  arenas = arena;
}

/* ---- small blocks ---- */

static unsigned
class_of (size_t size)
{
  unsigned class = FINE + 1;

  if (size <= 512)
    return (unsigned)((size + 15) / 16);
  while ((size_t)1024 << (class - FINE - 1) < size)
    class ++;
  return class;
}

static size_t
class_size (unsigned class)
{
  return class <= FINE ? (size_t) class * 16
                       : (size_t)1024 << (class - FINE - 1);
}

static void *
small_alloc (struct arena *arena, size_t size)
{
  unsigned class = class_of (size);
  struct block *block = arena->classes[class];
  size_t length;

  if (block)
    arena->classes[class] = block->next;
  else {
    length = sizeof *block + class_size (class);
    if (!arena->small || arena->small_used + length > REGION_SIZE) {
      arena->small = region_new (arena, REGION_SMALL, REGION_SHIFT);
      arena->small_used = (sizeof (struct region) + 63) & ~(size_t)63;
    }
    block = (struct block *)((char *)arena->small + arena->small_used);
    arena->small_used += length;
    block->class = class;
  }
  block->size = (uint32_t)size;
  return block + 1;
}

static void
small_release (struct arena *arena, void *p)
{
  struct block *block = (struct block *)p - 1;

  block->size = 0;
  block->next = arena->classes[block->class];
  arena->classes[block->class] = block;
}

/* ---- pages ---- */

static void *
pages_alloc (struct arena *arena, size_t size)
{
  size_t n = (size + PAGE_SIZE - 1) / PAGE_SIZE;
  char *p = arena->runs[n];

  if (p)
    memcpy (&arena->runs[n], p, sizeof (void *));
  else {
    /* The first page of a region is its head. */
    if (!arena->pages || arena->pages_used + n > PAGES) {
      arena->pages = region_new (arena, REGION_PAGES, REGION_SHIFT);
      arena->pages_used = 1;
    }
    p = (char *)arena->pages + arena->pages_used * PAGE_SIZE;
    arena->pages_used += n;
  }
  return p;
}

static void
pages_release (struct arena *arena, void *p, size_t size)
{
  size_t n = (size + PAGE_SIZE - 1) / PAGE_SIZE;

  memcpy (p, &arena->runs[n], sizeof (void *));
  arena->runs[n] = p;
}

/* ---- large blocks ---- */

static void *
large_alloc (struct arena *arena, size_t size)
{
  unsigned shift = REGION_SHIFT;

  while ((size_t)1 << shift < size + PAGE_SIZE)
    shift++;
  return (char *)region_new (arena, REGION_LARGE, shift) + PAGE_SIZE;
}

static void
large_release (struct arena *arena, struct region *region)
{
  if (region->next)
    region->next->prev = region->prev;
  if (region->prev)
    region->prev->next = region->next;
  else
    arena->regions = region->next;
  region_give (region);
}

/* ---- all of them ---- */

static struct region *
region_of (const void *p)
{
  return (struct region *)((uintptr_t)p & ~(uintptr_t)(REGION_SIZE - 1));
}

/* What was asked for, of a block of pages or a large one. */
static size_t *
size_of (struct region *region, const void *p)
{
  return &region->size[((uintptr_t)p & (REGION_SIZE - 1)) >> PAGE_SHIFT];
}

void *
arena_alloc (struct arena *arena, size_t align, size_t size)
{
  void *p;

  if (fails (&arena->fail_after))
    return NULL;
  if (size == 0)
    size = 1;
  if (align <= 16 && size <= SMALL_MAX)
    p = small_alloc (arena, size);
  else {
    if (size <= (PAGES - 1) * PAGE_SIZE)
      p = pages_alloc (arena, size);
    else
      p = large_alloc (arena, size);
    *size_of (region_of (p), p) = size;
  }
  arena->in_use += size;
  memset (p, FRESH, size);
  return p;
}

void
arena_release (struct arena *arena, void *p)
{
  struct region *region;
  size_t size;

  if (!p)
    return;
  region = region_of (p);
  if (region->arena != arena)
    sim_die ("memory of another world is freed, or of none");
  size = region->kind == REGION_SMALL ? ((struct block *)p - 1)->size
                                      : *size_of (region, p);
  if (size == 0)
    sim_die ("memory that is not in use is freed");
  arena->in_use -= size;
  memset (p, RELEASED, size < 256 ? size : 256);
  if (region->kind == REGION_SMALL) {
    small_release (arena, p);
    return;
  }
  *size_of (region, p) = 0;
  if (region->kind == REGION_PAGES)
    pages_release (arena, p, size);
  else
    large_release (arena, region);
}

#endif /* !SIM_ASAN */

size_t
arena_in_use (const struct arena *arena)
{
  return arena->in_use;
}

void
arena_fail_after (struct arena *arena, uint64_t n)
{
  arena->fail_after = n;
}
