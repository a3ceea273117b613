/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Formats one line and hands it to the sink.  No state, no lock: the sink
 * is called from whichever thread has something to say.
 */

#include <config.h>

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"

/* Longer lines are cut: a line is for a person. */
#define LINE_BYTES 1024

static void __attribute__ ((format (printf, 3, 0)))
emit (const struct log *log, enum log_level level, const char *fmt,
      va_list args)
{
  char line[LINE_BYTES];

  vsnprintf (line, sizeof line, fmt, args);
  log->sink (log->opaque, level, line);
}

void
log_error (const struct log *log, const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (log, LOG_LEVEL_ERROR, fmt, args);
  va_end (args);
}

void
log_notice (const struct log *log, const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (log, LOG_LEVEL_NOTICE, fmt, args);
  va_end (args);
}

void
log_debug_line (const struct log *log, const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (log, LOG_LEVEL_DEBUG, fmt, args);
  va_end (args);
}
