/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What clients.c and recover.c share: a client and its requests, and the
 * life of the array.  All of it in a fiber of the life's world.
 */

#ifndef MDBITMAP_SIM_CLIENTS_H
#define MDBITMAP_SIM_CLIENTS_H

#include "sim/run.h"

struct client {
  struct life *life;
  unsigned number;
  bool writable; /* array_activate has succeeded */
  void *buffer;  /* of the last request */
  uint64_t length;
};

/* A request; violations end the process.  client_end: there are no more. */
extern void client_request (struct client *client, const struct step *step);
extern void client_end (struct client *client);

/* array_open and array_start; false: refused. */
extern bool clients_open (struct life *life);
extern bool clients_activate (struct life *life);
/* array_record instead. */
extern void clients_record (struct life *life);
extern void clients_must_not_activate (struct life *life);
/* array_stop; others may have requests in flight, and go on with more. */
extern void clients_stop (struct life *life);
/* array_close, when nobody uses it any more, and what must be true then. */
extern void clients_close (struct life *life);

/* Legs, by bits: that the array has in sync; that erred in this life. */
extern unsigned clients_in_sync (const struct life *life);
extern unsigned clients_faulty (const struct life *life);
/* The file that was given to it has erred in this life. */
extern bool clients_file_faulty (const struct life *life);

#endif /* MDBITMAP_SIM_CLIENTS_H */
