# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# What a cell of the matrix is; for matrix.sh and matrix-inside.sh, which use
# the variables.
# shellcheck disable=SC2034,SC2154

# cell_of NAME: set the variables of the cell.
cell_of ()
{
  cell=$1
  files=$tmp/$cell
  IFS=_ read -r version creator scenario chunk <<< "$cell"
  # Sizes that do not end with a chunk, nor with a block in the first case.
  case $chunk in
    4K)
      chunk_bytes=4096 size_kib=$((12 * 1024 + 2)) writes=24
      load_options="--threads=1 --chunk=4096 --hot=30 --tail"
      ;;
    64K)
      chunk_bytes=65536 size_kib=$((20 * 1024 + 12)) writes=7
      load_options="--threads=4 --chunk=65536 --hot=20 --tail"
      ;;
    64M)
      chunk_bytes=67108864 size_kib=$((134 * 1024 + 4)) writes=7
      load_options="--threads=4 --chunk=67108864 --hot=1 --tail"
      ;;
  esac
}
