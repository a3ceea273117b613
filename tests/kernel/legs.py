#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

"""Look at the legs of an array from outside, as stopped image files.

This is written from the description of the format and shares no code with
the library or mdadm, so that it can say that either of them is wrong.  It
reads the superblocks 0.90, 1.0, 1.1 and 1.2.

  legs.py show LEG FIELD...    fields of the superblock and of the bitmap's
  legs.py facts LEG...         what tests of all versions ask, for the shell
  legs.py bits LEG             numbers of the chunks marked in this copy
  legs.py marked LEG LEG       in the copy that the kernel would choose
  legs.py union LEG LEG        in any copy that assembly accepts
  legs.py sectors LEG < LIST   data sectors in the chunks of the list
  legs.py differ LEG LEG       numbers of the chunks whose data differ
  legs.py poison LEG           change the data in each chunk, metadata not
  legs.py poison-these LEG < LIST    only in the chunks of the list
  legs.py poison-from LEG SECTOR     from this sector of the data on
  legs.py poison-sectors LEG SECTOR COUNT    these, counted on the leg
  legs.py covered LEG LEG      fail if a chunk differs but is not marked in
                               each copy, or the array calls itself clean
  legs.py killed LEG LEG       covered; then facts, and poison what is marked
                               on the second
  legs.py same LEG LEG         fail if the data differ

With --file=FILE before the command the bitmap is not on the legs, but in FILE,
and it counts as the copy of each of them.
"""

import os
import struct
import sys

SECTOR = 512
ALL_ONES = (1 << 64) - 1
bitmap_file = None
MAGIC = 0xA92B4EFC

SUPERBLOCK = {
    "magic": ("<I", 0), "feature_map": ("<I", 8), "size": ("<Q", 80),
    "raid_disks": ("<I", 92), "bitmap_offset": ("<i", 96),
    "data_offset": ("<Q", 128), "data_size": ("<Q", 136),
    "super_offset": ("<Q", 144), "recovery_offset": ("<Q", 152),
    "dev_number": ("<I", 160), "events": ("<Q", 200),
    "bblog_size": ("<H", 186), "bblog_offset": ("<i", 188),
    "resync_offset": ("<Q", 208), "sb_csum": ("<I", 216),
    "max_dev": ("<I", 220),
}

BITMAP = {
    "bitmap_magic": ("<I", 0), "bitmap_version": ("<I", 4),
    "bitmap_events": ("<Q", 24), "events_cleared": ("<Q", 32),
    "sync_size": ("<Q", 40), "bitmap_state": ("<I", 48),
    "chunksize": ("<I", 52), "daemon_sleep": ("<I", 56),
}


def fold(total):
    return ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF


def fold_again(total):
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


class Leg:
    def __init__(self, path):
        self.path = path
        self.file = open(path, "r+b")
        self.sectors = self.file.seek(0, os.SEEK_END) // SECTOR
        if not self.superblock_1() and not self.superblock_090():
            raise SystemExit(f"{path}: no superblock")
        self.bits = set()
        self.chunks = 0
        if bitmap_file or self.bitmap_at is not None:
            self.read_bitmap()

    def superblock_1(self):
        for version, at in (("1.2", 8), ("1.1", 0),
                            ("1.0", (self.sectors - 16) & ~7)):
            sb = self.read(at, 8)
            for name, (form, offset) in SUPERBLOCK.items():
                setattr(self, name, struct.unpack_from(form, sb, offset)[0])
            if self.magic == MAGIC and self.super_offset == at \
                    and struct.unpack_from("<I", sb, 4)[0] == 1:
                break
        else:
            return False
        self.version = version
        length = 256 + 2 * self.max_dev
        data = bytearray(sb[:length])
        data[216:220] = bytes(4)
        total = sum(struct.unpack(f"<{length // 4}I", data[:length & ~3]))
        if length & 2:
            total += struct.unpack_from("<H", data, length - 2)[0]
        if fold(total) != self.sb_csum:
            raise SystemExit(f"{self.path}: wrong superblock checksum")
        self.role = struct.unpack_from("<H", sb, 256 + 2 * self.dev_number)[0]
        self.bitmap_at = None
        if self.feature_map & 1:
            self.bitmap_at = self.super_offset + self.bitmap_offset
        return True

    def superblock_090(self):
        at = (self.sectors & ~127) - 128
        words = struct.unpack("<1024I", self.read(at, 8))
        if words[0] != MAGIC or words[1] != 0 or words[2] != 90:
            return False
        total = sum(words) - words[38]
        # Algorithms have differed; what is left of it is compared.
        if fold_again(fold(total)) != fold_again(words[38]):
            raise SystemExit(f"{self.path}: wrong superblock checksum")
        self.version = "0.90"
        self.super_offset = at
        self.size = self.data_size = words[8] * 2
        self.raid_disks = words[10]
        self.data_offset = 0
        self.events = words[40] << 32 | words[39]
        self.dev_number, _, _, self.role = words[992:996]
        # The checkpoint is that of an update with these events, or none.
        self.resync_offset = ALL_ONES
        if not words[33] & 1:
            now = words[39:41] == words[41:43]
            self.resync_offset = words[43] if now else 0
        self.feature_map = 1 if words[33] & 256 else 0
        self.bitmap_at = at + 8 if words[33] & 256 else None
        return True

    def read_bitmap(self):
        header = self.bitmap_bytes(256)
        for name, (form, offset) in BITMAP.items():
            setattr(self, name, struct.unpack_from(form, header, offset)[0])
        if self.bitmap_magic != 0x6D746962:
            raise SystemExit(f"{self.path}: no bitmap")
        chunk = self.chunksize // SECTOR
        self.chunk = chunk
        self.chunks = (self.size + chunk - 1) // chunk
        length = 256 + (self.chunks + 7) // 8
        body = self.bitmap_bytes(length)[256:]
        self.bits = {n for n in range(self.chunks)
                     if body[n >> 3] & (1 << (n & 7))}

    def bitmap_bytes(self, length):
        if not bitmap_file:
            return self.read(self.bitmap_at, (length + SECTOR - 1) // SECTOR)
        with open(bitmap_file, "rb") as file:
            data = file.read(length)
        if len(data) != length:
            raise SystemExit(f"{bitmap_file}: too short")
        return data

    def read(self, sector, count):
        self.file.seek(sector * SECTOR)
        data = self.file.read(count * SECTOR)
        if len(data) != count * SECTOR:
            raise SystemExit(f"{self.path}: too short")
        return data

    def extent(self, n):
        """First data sector of chunk n on the leg, and the sectors in it."""
        first = n * self.chunk
        return self.data_offset + first, min(self.chunk, self.size - first)

    def data(self, n, last=None):
        """Of the chunk, or of those up to the last."""
        at, _ = self.extent(n)
        end, more = self.extent(n if last is None else last)
        return self.read(at, end + more - at)

    def clean(self):
        return self.resync_offset == ALL_ONES


def differ(a, b):
    if a.size != b.size or a.chunk != b.chunk:
        raise SystemExit("the legs do not belong together")
    step = max(1, (1 << 20) // a.chunksize)
    found = []
    for first in range(0, a.chunks, step):
        some = range(first, min(first + step, a.chunks))
        if a.data(first, some[-1]) != b.data(first, some[-1]):
            found += [n for n in some if a.data(n) != b.data(n)]
    return found


def freshest(legs):
    """The kernel reads one bitmap: the lowest slot of the freshest legs."""
    newest = max(leg.events for leg in legs)
    return min((leg for leg in legs if leg.events == newest),
               key=lambda leg: leg.role)


def facts(legs):
    leg = freshest(legs)
    for field in ("version", "size", "data_offset", "chunksize", "chunks",
                  "events"):
        print(f"{field}={getattr(leg, field, '')}")
    print(f"marked={len(leg.bits)}")
    print(f"marked_sectors={sum(leg.extent(n)[1] for n in leg.bits)}")
    print(f"union={len(set.union(*(each.bits for each in legs)))}")
    print(f"least={min(len(each.bits) for each in legs)}")
    print(f"clean={int(leg.clean())}")
    if leg.chunks:
        print(f"bitmap_events={leg.bitmap_events}")


def print_list(numbers):
    for n in sorted(numbers):
        print(n)


def flip(leg, first, count, step=4096):
    """A byte of every so many of these sectors, and one of the last."""
    length = count * SECTOR
    for offset in {*range(100, length, step), length - 100}:
        at = first * SECTOR + offset
        byte = os.pread(leg.file.fileno(), 1, at)
        os.pwrite(leg.file.fileno(), bytes([byte[0] ^ 0xFF]), at)


def poison(leg, chunks):
    """In each 4 KiB and in the last sector, so that no write heals a chunk
    but one that covers it; more sparsely in large chunks."""
    for n in chunks:
        flip(leg, *leg.extent(n), max(4096, leg.chunksize // 256))


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
    print(f"# {len(different)} chunks differ, all are marked on both legs "
          f"({len(a.bits)} and {len(b.bits)} marked)")


def main():
    global bitmap_file
    command, *arguments = sys.argv[1:]
    if command.startswith("--file="):
        bitmap_file = command[len("--file="):]
        command, *arguments = arguments
    if command == "show":
        leg = Leg(arguments[0])
        print(*(getattr(leg, field) for field in arguments[1:]))
        return
    if command == "poison-from":
        leg, first = Leg(arguments[0]), int(arguments[1])
        flip(leg, leg.data_offset + first, leg.size - first)
        return
    if command == "poison-sectors":
        flip(Leg(arguments[0]), *map(int, arguments[1:]), SECTOR)
        return
    legs = [Leg(path) for path in arguments]
    if command == "facts":
        facts(legs)
    elif command == "bits":
        print_list(legs[0].bits)
    elif command == "marked":
        print_list(freshest(legs).bits)
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
    elif command == "killed":
        covered(*legs)
        facts(legs)
        poison(legs[1], legs[0].bits)
    elif command == "same":
        different = differ(*legs)
        if different:
            raise SystemExit(f"the data of the legs differ in {different}")
    else:
        raise SystemExit(__doc__)


main()
