#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# All C files are laid out as .clang-format says.  `make format` does it.

set -e -u
export LC_ALL=C

cd "${abs_top_srcdir:-$(dirname "$0")/..}"
clang_format=${CLANG_FORMAT:-clang-format}

if ! command -v "$clang_format" >/dev/null; then
  echo "$(basename "$0"): skipped: $clang_format is not installed"
  exit 77
fi

find bench lib plugin tests tools -name '*.[ch]' -print0 2>/dev/null \
  | xargs -0 "$clang_format" --dry-run -Werror
