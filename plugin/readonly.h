/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Was the server told to be read-only? */

#ifndef MDBITMAP_READONLY_H
#define MDBITMAP_READONLY_H

enum readonly {
  READONLY_NO,
  READONLY_PERHAPS, /* its command line has what we do not know */
  READONLY_YES,
};

/* Not before the server has read its options (get_ready). */
extern enum readonly server_is_readonly (void);

#endif /* MDBITMAP_READONLY_H */
