# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# What a cell of the matrix of bitmap files is; for test-bitmap-file-matrix.sh
# and bitmap-matrix-inside.sh, which use the variables.
# shellcheck disable=SC2034,SC2154

# Where the file system is mounted that the bitmap files are on.
mountpoint=/run/mnt/fs

# cell_of NAME: set the variables of the cell.
cell_of ()
{
  cell=$1
  files=$tmp/$cell
  IFS=_ read -r version creator runner end io <<< "$cell"
  taker=kernel
  [ "$runner" = us ] || taker=us
  bitmap=$mountpoint/$cell
  # What the one who takes over is given.
  taken=$bitmap
  [ "$end" != stale ] || taken=$bitmap.old
  # Does not end with a chunk.
  size_kib=$((6 * 1024 + 12)) writes=7
  load_options="--threads=4 --chunk=65536 --hot=20 --tail"
}

# The kernel runs it, and the plug will be pulled.
is_doomed ()
{
  [ "$runner" = kernel ] && [ "$end" != clean ]
}
