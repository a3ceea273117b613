# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# The cells of test-split-brain.sh: VERSION_WINNER_HISTORY, for it and for
# split-inside.sh, which use the variables.
# shellcheck disable=SC2034,SC2154

# cell_of NAME: set the variables of the cell.
cell_of ()
{
  local history_of_1
  cell=$1
  files=$tmp/$cell
  IFS=_ read -r version winner history_of_1 <<< "$cell"
  writes=10 writes_0=8
  load_options="--threads=2 --chunk=65536 --hot=40"
  # What is written on leg 1 is more than what is written on leg 0, and so
  # are the events of the one that is `ahead'.
  case $history_of_1 in
    even) writes_1=20 updates_1=0 ;;
    ahead) writes_1=20 updates_1=4 ;;
  esac
  state=U_
  [ "$winner" = leg0 ] || state=_U
}
