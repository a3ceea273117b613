/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The key=value parameters of the command line. */

#ifndef MDBITMAP_OPTIONS_H
#define MDBITMAP_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "array/array.h"

/* The key of a bare word on the command line. */
#define OPTIONS_MAGIC_KEY "leg"

struct options {
  struct array_options array;   /* its legs are paths[] */
  char *paths[ARRAY_MAX_LEGS];  /* absolute; owned */
  uint64_t create;              /* bytes; 0: serve what is there */
  uint32_t bitmap_chunk;        /* bytes, with create; 0: the default */
  const char *metadata;         /* with create; static; NULL: the default */
  char *bitmap_file;            /* absolute; owned */
  bool bitmap_io, bitmap_error; /* bitmap-io=, on-bitmap-error= were given */
  char *force_source; /* absolute; owned; array's is the leg's own name */
  bool sync_rate_min; /* sync-rate-min= was given */
  bool serialize;
};

/* One line for each key, as nbdkit --help shows them. */
extern const char options_help[];

/* The state before the first key. */
extern void options_init (struct options *options);

/* Take one key=value.  0, or -1 after one nbdkit_error that names the key. */
extern int
options_set (struct options *options, const char *key, const char *value);

/* After the last key: what no single key can tell.  0, or -1 as above. */
extern int options_check (struct options *options);

extern void options_free (struct options *options);

#endif /* MDBITMAP_OPTIONS_H */
