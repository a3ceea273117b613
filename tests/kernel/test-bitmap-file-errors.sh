#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The device that the bitmap file lies on begins to fail while we serve.  With
# on-bitmap-error=continue writing goes on; with stop writes, zeroes and trims
# fail, and reads and flushes go on.  The log says that the file is given up,
# and the superblocks' events are beyond what its header carries, so that when
# the device has healed neither we nor the kernel believe it.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin
truncate -s 16M "$tmp/fs" "$tmp/leg0" "$tmp/leg1"
mkfs.ext4 -q "$tmp/fs"

uml_run errors "$tmp/fs" <<'BODY'
  . "$abs_top_srcdir/tests/kernel/bitmap-errors-inside.sh"
  begin
  failure direct continue gone us
  failure direct stop unwritable kernel
  failure extent continue unwritable kernel
  failure extent stop gone us
  failure pagecache continue gone kernel
  failure pagecache stop unwritable us
BODY
