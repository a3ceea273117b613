/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Where text for people goes.  The library never prints: it hands whole
 * lines (no newline, no prefix) to the sink that its user gave.
 */

#ifndef MDBITMAP_LOG_H
#define MDBITMAP_LOG_H

#include <stdbool.h>

enum log_level {
  LOG_LEVEL_ERROR,  /* something failed, or was refused */
  LOG_LEVEL_NOTICE, /* a state changed; always shown */
  LOG_LEVEL_DEBUG,  /* shown if the area's flag is set */
};

/* Areas of debug messages, one for each -D mdbitmap.AREA flag. */
enum log_area {
  LOG_LEGS,
  LOG_BITMAP,
  LOG_RESYNC,
  LOG_IO,
  LOG_SUPERBLOCK,
  LOG_AREAS
};

struct log {
  /* Called from any thread; must not call back into the library. */
  void (*sink) (void *opaque, enum log_level level, const char *line);
  void *opaque;
  const int *debug[LOG_AREAS]; /* not zero: show; NULL: never */
};

extern void log_error (const struct log *log, const char *fmt, ...)
    __attribute__ ((format (printf, 2, 3)));
extern void log_notice (const struct log *log, const char *fmt, ...)
    __attribute__ ((format (printf, 2, 3)));
extern void log_debug_line (const struct log *log, const char *fmt, ...)
    __attribute__ ((format (printf, 2, 3)));

static inline bool
log_debugging (const struct log *log, enum log_area area)
{
  return log->debug[area] && *log->debug[area];
}

/* The arguments are not evaluated unless the area is shown. */
#define log_debug(log, area, ...)          \
  do {                                     \
    if (log_debugging ((log), (area)))     \
      log_debug_line ((log), __VA_ARGS__); \
  } while (0)

#endif /* MDBITMAP_LOG_H */
