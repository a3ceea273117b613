# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# The cells of test-unusual.sh, for it and for unusual-inside.sh, which use
# the variables.
# shellcheck disable=SC2034,SC2154

# cell_of NAME: set the variables of the cell.
cell_of ()
{
  cell=$1
  files=$tmp/$cell
  writes=10
  load_options="--threads=2 --chunk=65536 --hot=25 --tail"
  # What /proc/mdstat says in the end, and how many legs there are.
  state=UU
  case $cell in
    spare-of-3) nlegs=4 state=UUU ;;
    spare-of-4-*) nlegs=5 state=UUUU ;;
    missing-*) nlegs=2 state=U_ ;;
    replacement) nlegs=3 ;;
    recovery | re-add) nlegs=2 state=U_ ;;
    *) nlegs=2 ;;
  esac
}
