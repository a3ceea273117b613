/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Images of disks: 4 KiB pages in leaves of 32, both shared by copies until
 * one of them writes, so that a copy of a small leg costs one allocation and
 * that of a large one a walk over its leaves.
 *
 * Invariants:
 *   1. A page or leaf with refs > 1 is never changed.
 *   2. A missing page, or leaf, is all zero.
 *   3. Bytes of the last page beyond the size are zero.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sim/disk.h"

#define PAGE       4096
#define LEAF_PAGES 32
#define LEAF       ((uint64_t)PAGE * LEAF_PAGES)

struct page {
  struct page *next; /* while free */
  uint64_t refs;
  uint8_t data[PAGE];
};

struct leaf {
  struct leaf *next; /* while free */
  uint64_t refs;
  struct page *pages[LEAF_PAGES];
};

struct image {
  uint64_t size;
  uint64_t nleaves;
  struct leaf *leaves[];
};

static struct page *free_pages;
static struct leaf *free_leaves;
static const uint8_t zeroes[PAGE];

static void *
allocate (size_t size)
{
  void *p = malloc (size);

  if (!p)
    abort ();
  return p;
}

/* ---- pages and leaves ---- */

/* Its data is not initialised. */
static struct page *
page_new (void)
{
  struct page *page = free_pages;

  if (page)
    free_pages = page->next;
  else
    page = allocate (sizeof *page);
  page->refs = 1;
  return page;
}

static void
page_put (struct page *page)
{
  if (!page || --page->refs > 0)
    return;
  page->next = free_pages;
  free_pages = page;
}

static struct leaf *
leaf_new (void)
{
  struct leaf *leaf = free_leaves;

  if (leaf)
    free_leaves = leaf->next;
  else
    leaf = allocate (sizeof *leaf);
  leaf->refs = 1;
  return leaf;
}

static void
leaf_put (struct leaf *leaf)
{
  if (!leaf || --leaf->refs > 0)
    return;
  for (unsigned i = 0; i < LEAF_PAGES; ++i)
    page_put (leaf->pages[i]);
  leaf->next = free_leaves;
  free_leaves = leaf;
}

/* The leaf, for us alone. */
static struct leaf *
own_leaf (struct image *image, uint64_t i)
{
  struct leaf *old = image->leaves[i], *leaf;

  if (old && old->refs == 1)
    return old;
  leaf = leaf_new ();
  if (!old)
    memset (leaf->pages, 0, sizeof leaf->pages);
  else {
    memcpy (leaf->pages, old->pages, sizeof leaf->pages);
    for (unsigned j = 0; j < LEAF_PAGES; ++j)
      if (leaf->pages[j])
        leaf->pages[j]->refs++;
    leaf_put (old);
  }
  image->leaves[i] = leaf;
  return leaf;
}

/* NULL: zeroes. */
static const struct page *
get_page (const struct image *image, uint64_t offset)
{
  const struct leaf *leaf = image->leaves[offset / LEAF];

  return leaf ? leaf->pages[offset % LEAF / PAGE] : NULL;
}

/* ---- images ---- */

static struct image *
image_alloc (uint64_t size)
{
  uint64_t n = (size + LEAF - 1) / LEAF;
  struct image *image =
      allocate (sizeof *image + (size_t)n * sizeof (struct leaf *));

  image->size = size;
  image->nleaves = n;
  return image;
}

struct image *
image_new (uint64_t size)
{
  struct image *image = image_alloc (size);

  for (uint64_t i = 0; i < image->nleaves; ++i)
    image->leaves[i] = NULL;
  return image;
}

struct image *
image_copy (const struct image *from)
{
  struct image *image = image_alloc (from->size);

  for (uint64_t i = 0; i < image->nleaves; ++i) {
    image->leaves[i] = from->leaves[i];
    if (image->leaves[i])
      image->leaves[i]->refs++;
  }
  return image;
}

void
image_free (struct image *image)
{
  if (!image)
    return;
  for (uint64_t i = 0; i < image->nleaves; ++i)
    leaf_put (image->leaves[i]);
  free (image);
}

uint64_t
image_size (const struct image *image)
{
  return image->size;
}

void
image_read (const struct image *image, uint64_t offset, void *data,
            uint64_t length)
{
  uint8_t *to = data;

  assert (offset <= image->size && length <= image->size - offset);
  while (length > 0) {
    const struct page *page = get_page (image, offset);
    uint64_t skip = offset % PAGE;
    uint64_t n = min_u64 (length, PAGE - skip);

    memcpy (to, page ? page->data + skip : zeroes, n);
    to += n;
    offset += n;
    length -= n;
  }
}

/* n bytes at skip of one page; data NULL: zeroes. */
static void
write_page (struct image *image, uint64_t offset, const uint8_t *data,
            uint64_t n)
{
  struct page **slot, *old, *page;
  uint64_t skip = offset % PAGE;

  if (!data && !get_page (image, offset))
    return;
  slot = &own_leaf (image, offset / LEAF)->pages[offset % LEAF / PAGE];
  old = *slot;
  if (!data && n == PAGE) {
    page_put (old);
    *slot = NULL;
    return;
  }
  if (!old || old->refs > 1) {
    page = page_new ();
    if (n < PAGE)
      memcpy (page->data, old ? old->data : zeroes, PAGE);
    page_put (old);
    *slot = page;
  }
  if (data)
    memcpy ((*slot)->data + skip, data, n);
  else
    memset ((*slot)->data + skip, 0, n);
}

void
image_write (struct image *image, uint64_t offset, const void *data,
             uint64_t length)
{
  const uint8_t *from = data;

  assert (offset <= image->size && length <= image->size - offset);
  while (length > 0) {
    uint64_t n = min_u64 (length, PAGE - offset % PAGE);

    write_page (image, offset, from, n);
    if (from)
      from += n;
    offset += n;
    length -= n;
  }
}

bool
image_equal (const struct image *a, uint64_t offset_a, const struct image *b,
             uint64_t offset_b, uint64_t length)
{
  assert (offset_a <= a->size && length <= a->size - offset_a);
  assert (offset_b <= b->size && length <= b->size - offset_b);
  while (length > 0) {
    const struct page *page_a, *page_b;
    uint64_t skip_a = offset_a % PAGE, skip_b = offset_b % PAGE;
    uint64_t n = min_u64 (length, PAGE - max_u64 (skip_a, skip_b));

    if (offset_a % LEAF == offset_b % LEAF
        && a->leaves[offset_a / LEAF] == b->leaves[offset_b / LEAF])
      n = min_u64 (length, LEAF - offset_a % LEAF);
    else {
      page_a = get_page (a, offset_a);
      page_b = get_page (b, offset_b);
      if ((page_a != page_b || (page_a && skip_a != skip_b))
          && memcmp (page_a ? page_a->data + skip_a : zeroes,
                     page_b ? page_b->data + skip_b : zeroes, n)
                 != 0)
        return false;
    }
    offset_a += n;
    offset_b += n;
    length -= n;
  }
  return true;
}

static uint64_t
hash_page (const struct page *page)
{
  uint64_t hash = 0, word;

  for (unsigned i = 0; i < PAGE; i += sizeof word) {
    memcpy (&word, page->data + i, sizeof word);
    hash = (hash ^ word) * UINT64_C (0x9e3779b97f4a7c15);
    hash ^= hash >> 32;
  }
  return hash;
}

uint64_t
image_hash (const struct image *image)
{
  uint64_t hash = image->size;

  for (uint64_t offset = 0; offset < image->size; offset += PAGE) {
    const struct page *page = get_page (image, offset);

    if (!page || memcmp (page->data, zeroes, PAGE) == 0)
      continue;
    hash = (hash ^ offset) * UINT64_C (0xff51afd7ed558ccd);
    hash ^= hash_page (page) ^ (hash >> 31);
  }
  return hash;
}
