/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* nbdkit tells a plugin about -r only when a client connects, and then it is
 * too late to choose the legs of an array that will only be read.  So the
 * server's command line is parsed once more, from /proc/self/cmdline, with
 * the same getopt_long and the same options.
 *
 * The options are those of nbdkit 1.32 to 1.46 (nbdkit(1), SYNOPSIS).  One that
 * is not among them may be new, and have an argument that looks like -r, or
 * be a way to say -r: then the answer is "perhaps" unless -r was there before.
 */

#include <config.h>

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "readonly.h"

#define MAX_ARGUMENTS 65536

static const char short_options[] = "46D:e:fg:i:nop:P:rst:u:U:vV";

static const struct option long_options[] = {
  { "debug", required_argument, NULL, 'D' },
  { "dump-config", no_argument, NULL, 0 },
  { "dump-plugin", no_argument, NULL, 0 },
  { "exit-with-parent", no_argument, NULL, 0 },
  { "export", required_argument, NULL, 0 },
  { "export-name", required_argument, NULL, 0 },
  { "exportname", required_argument, NULL, 0 },
  { "filter", required_argument, NULL, 0 },
  { "foreground", no_argument, NULL, 'f' },
  { "no-fork", no_argument, NULL, 'f' },
  { "group", required_argument, NULL, 'g' },
  { "help", no_argument, NULL, 0 },
  { "ip-addr", required_argument, NULL, 'i' },
  { "ipaddr", required_argument, NULL, 'i' },
  { "ipv4-only", no_argument, NULL, '4' },
  { "ipv6-only", no_argument, NULL, '6' },
  { "keepalive", no_argument, NULL, 0 },
  { "log", required_argument, NULL, 0 },
  { "long-options", no_argument, NULL, 0 },
  { "mask-handshake", required_argument, NULL, 0 },
  { "new-style", no_argument, NULL, 'n' },
  { "newstyle", no_argument, NULL, 'n' },
  { "no-mc", no_argument, NULL, 0 },
  { "no-meta-contexts", no_argument, NULL, 0 },
  { "no-sr", no_argument, NULL, 0 },
  { "no-structured-replies", no_argument, NULL, 0 },
  { "old-style", no_argument, NULL, 'o' },
  { "oldstyle", no_argument, NULL, 'o' },
  { "pid-file", required_argument, NULL, 'P' },
  { "pidfile", required_argument, NULL, 'P' },
  { "port", required_argument, NULL, 'p' },
  { "print-uri", no_argument, NULL, 0 },
  { "read-only", no_argument, NULL, 'r' },
  { "readonly", no_argument, NULL, 'r' },
  { "run", required_argument, NULL, 0 },
  { "selinux-label", required_argument, NULL, 0 },
  { "short-options", no_argument, NULL, 0 },
  { "single", no_argument, NULL, 's' },
  { "stdin", no_argument, NULL, 's' },
  { "swap", no_argument, NULL, 0 },
  { "threads", required_argument, NULL, 't' },
  { "timeout", required_argument, NULL, 0 },
  { "tls", required_argument, NULL, 0 },
  { "tls-certificates", required_argument, NULL, 0 },
  { "tls-psk", required_argument, NULL, 0 },
  { "tls-verify-peer", no_argument, NULL, 0 },
  { "unix", required_argument, NULL, 'U' },
  { "user", required_argument, NULL, 'u' },
  { "verbose", no_argument, NULL, 'v' },
  { "version", no_argument, NULL, 'V' },
  { "vsock", no_argument, NULL, 0 },
  { NULL, 0, NULL, 0 },
};

/* getopt moves the words of argv about.  The server has done with it, but
 * finds its variables as they were.
 */
static enum readonly
parse (int argc, char **argv)
{
  const int old_optind = optind, old_opterr = opterr, old_optopt = optopt;
  char *const old_optarg = optarg;
  enum readonly readonly = READONLY_NO;
  int option;

  optind = 0; /* glibc: begin anew */
  opterr = 0;
  while (
      readonly == READONLY_NO
      && (option = getopt_long (argc, argv, short_options, long_options, NULL))
             != -1) {
    if (option == 'r')
      readonly = READONLY_YES;
    else if (option == '?')
      readonly = READONLY_PERHAPS;
  }
  optind = old_optind;
  opterr = old_opterr;
  optopt = old_optopt;
  optarg = old_optarg;
  return readonly;
}

static enum readonly
parse_words (char *words, size_t size)
{
  enum readonly readonly = READONLY_PERHAPS;
  size_t n = 0;
  char **argv, *end = words + size;

  for (const char *p = words; p < end; p += strlen (p) + 1)
    n++;
  if (n == 0 || n > MAX_ARGUMENTS)
    return readonly;
  argv = calloc (n + 1, sizeof *argv);
  if (!argv)
    return readonly;
  n = 0;
  for (char *p = words; p < end; p += strlen (p) + 1)
    argv[n++] = p;
  readonly = parse ((int)n, argv);
  free (argv);
  return readonly;
}

enum readonly
server_is_readonly (void)
{
  enum readonly readonly = READONLY_PERHAPS;
  FILE *fp = fopen ("/proc/self/cmdline", "re");
  char *words = NULL;
  size_t size = 0, room = 0, got;

  if (!fp)
    return readonly;
  do {
    char *more = realloc (words, room += 4096);

    if (!more)
      goto out;
    words = more;
    got = fread (words + size, 1, room - size - 1, fp);
    size += got;
  } while (got > 0);
  words[size] = '\0';
  if (!ferror (fp))
    readonly = parse_words (words, size);
out:
  free (words);
  fclose (fp);
  return readonly;
}
