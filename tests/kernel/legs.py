#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

"""Look at the legs of a 1.2 array from outside, as stopped image files.

This is written from the description of the format and shares no code with
the library or mdadm, so that it can say that either of them is wrong.

  legs.py show LEG FIELD...    fields of the superblock and of the bitmap's
  legs.py bits LEG             numbers of the chunks marked in this copy
  legs.py marked LEG LEG       in the copy that the kernel would choose
  legs.py union LEG LEG        in any copy that assembly accepts
  legs.py sectors LEG < LIST   data sectors in the chunks of the list
  legs.py differ LEG LEG       numbers of the chunks whose data differ
  legs.py poison LEG           change the data in each chunk, metadata not
  legs.py poison-these LEG < LIST    only in the chunks of the list
  legs.py covered LEG LEG      fail if a chunk differs but is not marked in
                               each copy, or the array calls itself clean
  legs.py same LEG LEG         fail if the data differ
"""

import struct
import sys

SECTOR = 512
ALL_ONES = (1 << 64) - 1

SUPERBLOCK = {
    "magic": ("<I", 0), "feature_map": ("<I", 8), "size": ("<Q", 80),
    "raid_disks": ("<I", 92), "bitmap_offset": ("<i", 96),
    "data_offset": ("<Q", 128), "data_size": ("<Q", 136),
    "super_offset": ("<Q", 144), "recovery_offset": ("<Q", 152),
    "dev_number": ("<I", 160), "events": ("<Q", 200),
    "resync_offset": ("<Q", 208), "sb_csum": ("<I", 216),
    "max_dev": ("<I", 220),
}

BITMAP = {
    "bitmap_magic": ("<I", 0), "bitmap_version": ("<I", 4),
    "bitmap_events": ("<Q", 24), "events_cleared": ("<Q", 32),
    "sync_size": ("<Q", 40), "bitmap_state": ("<I", 48),
    "chunksize": ("<I", 52), "daemon_sleep": ("<I", 56),
}


class Leg:
    def __init__(self, path):
        self.path = path
        self.file = open(path, "r+b")
        sb = self.read(8, 8)
        self.sb = sb
        for name, (form, offset) in SUPERBLOCK.items():
            setattr(self, name, struct.unpack_from(form, sb, offset)[0])
        if self.magic != 0xA92B4EFC or self.super_offset != 8:
            raise SystemExit(f"{path}: no superblock 1.2")
        if self.checksum() != self.sb_csum:
            raise SystemExit(f"{path}: wrong superblock checksum")
        self.role = struct.unpack_from("<H", sb, 256 + 2 * self.dev_number)[0]
        where = self.super_offset + self.bitmap_offset
        header = self.read(where, 1)
        for name, (form, offset) in BITMAP.items():
            setattr(self, name, struct.unpack_from(form, header, offset)[0])
        if self.bitmap_magic != 0x6D746962:
            raise SystemExit(f"{path}: no bitmap")
        chunk = self.chunksize // SECTOR
        self.chunk = chunk
        self.chunks = (self.size + chunk - 1) // chunk
        length = 256 + (self.chunks + 7) // 8
        body = self.read(where, (length + SECTOR - 1) // SECTOR)[256:]
        self.bits = {n for n in range(self.chunks)
                     if body[n >> 3] & (1 << (n & 7))}

    def read(self, sector, count):
        self.file.seek(sector * SECTOR)
        data = self.file.read(count * SECTOR)
        if len(data) != count * SECTOR:
            raise SystemExit(f"{self.path}: too short")
        return data

    def checksum(self):
        length = 256 + 2 * self.max_dev
        data = bytearray(self.sb[:length])
        data[216:220] = bytes(4)
        total = sum(struct.unpack(f"<{length // 4}I", data[:length & ~3]))
        if length & 2:
            total += struct.unpack_from("<H", data, length - 2)[0]
        return ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF

    def extent(self, n):
        """First data sector of chunk n on the leg, and the sectors in it."""
        first = n * self.chunk
        return self.data_offset + first, min(self.chunk, self.size - first)

    def data(self, n):
        return self.read(*self.extent(n))

    def clean(self):
        return self.resync_offset == ALL_ONES


def differ(a, b):
    if a.size != b.size or a.chunk != b.chunk:
        raise SystemExit("the legs do not belong together")
    return [n for n in range(a.chunks) if a.data(n) != b.data(n)]


def marked(a, b):
    """The kernel reads one copy: the lowest slot of the freshest legs."""
    freshest = max(a.events, b.events)
    return min((leg for leg in (a, b) if leg.events == freshest),
               key=lambda leg: leg.role).bits


def print_list(numbers):
    for n in sorted(numbers):
        print(n)


def poison(leg, chunks):
    """In each 4 KiB and in the last sector, so that no write heals a chunk
    but one that covers it."""
    for n in chunks:
        first, count = leg.extent(n)
        data = bytearray(leg.read(first, count))
        for offset in {*range(100, len(data), 4096), len(data) - 100}:
            data[offset] ^= 0xFF
        leg.file.seek(first * SECTOR)
        leg.file.write(data)


def covered(a, b):
    different = set(differ(a, b))
    for leg in (a, b):
        missing = sorted(different - leg.bits)
        if missing:
            raise SystemExit(f"chunks {missing} differ, but are not marked "
                             f"in the bitmap of {leg.path}")
    if different and max((a, b), key=lambda leg: leg.events).clean():
        raise SystemExit(f"{len(different)} chunks differ, but the array "
                         "calls itself clean")
    print(f"{len(different)} chunks differ, all are marked on both legs "
          f"({len(a.bits)} and {len(b.bits)} marked)")


def main():
    command, *arguments = sys.argv[1:]
    if command == "show":
        leg = Leg(arguments[0])
        print(*(getattr(leg, field) for field in arguments[1:]))
        return
    legs = [Leg(path) for path in arguments]
    if command == "bits":
        print_list(legs[0].bits)
    elif command == "marked":
        print_list(marked(*legs))
    elif command == "union":
        print_list(legs[0].bits | legs[1].bits)
    elif command == "sectors":
        print(sum(legs[0].extent(int(n))[1] for n in sys.stdin))
    elif command == "differ":
        print_list(differ(*legs))
    elif command == "poison":
        poison(legs[0], range(legs[0].chunks))
    elif command == "poison-these":
        poison(legs[0], map(int, sys.stdin))
    elif command == "covered":
        covered(*legs)
    elif command == "same":
        different = differ(*legs)
        if different:
            raise SystemExit(f"the data of the legs differ in {different}")
    else:
        raise SystemExit(__doc__)


main()
