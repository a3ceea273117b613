#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

"""Judge every power cut of a run, from the log of dm-log-writes.

  bitmap-log.py BEFORE LOG FS-SECTORS LEG-SECTORS BLOCK...

The device begins with a file system of FS-SECTORS, and two legs of LEG-SECTORS
with superblocks 1.2 follow.  BLOCKs, of 1024 bytes, are where on the file
system the bitmap file is.  BEFORE is the device as it was before the first
entry of the log.

An entry is in the log when it is durable: what was written without FUA comes
with the next flush that was begun after it.  So the first n entries, for each
n, are what a power cut can leave, all that was not promised being lost.  In
each of them, from the mark `begin' on, each chunk in which the legs differ
must have its bit set in the file, the file must be fresh, and the superblock
that assembly believes must say that the array is not clean.
"""

import struct
import sys

SECTOR = 512
ALL_ONES = (1 << 64) - 1
DISCARD, MARK = 4, 8
BLOCK = 1024


def entries(path):
    """Yield sector, data, flags of each entry."""
    with open(path, "rb") as log:
        magic, version, count, sector = struct.unpack("<QQQI", log.read(28))
        if magic != 0x6A736677736872 or version != 1 or sector != SECTOR:
            raise SystemExit(f"{path}: not a log of dm-log-writes")
        log.seek(SECTOR)
        for _ in range(count):
            entry = log.read(SECTOR)
            at, n, flags, length = struct.unpack_from("<4Q", entry)
            if flags & MARK:
                yield at, entry[32:32 + length], flags
                continue
            if flags & DISCARD:
                raise SystemExit(f"{path}: a discard")
            yield at, log.read(n * SECTOR), flags


class Judge:
    def __init__(self, device, fs, leg, blocks):
        self.device = device
        self.fs, self.leg = fs, leg
        self.blocks = {number: n for n, number in enumerate(blocks)}
        self.file = bytearray(len(blocks) * BLOCK)
        for number in blocks:
            self.file_block(number)
        self.starts = [fs * SECTOR, (fs + leg) * SECTOR]
        at = self.starts[0] + 4096
        self.size, = struct.unpack_from("<Q", device, at + 80)
        self.data, = struct.unpack_from("<Q", device, at + 128)
        self.chunk, = struct.unpack_from("<I", self.file, 52)
        self.differ = set()
        self.cuts = self.unequal = 0
        for n in range((self.size * SECTOR - 1) // self.chunk + 1):
            self.compare(n)

    def file_block(self, number):
        n = self.blocks[number]
        self.file[n * BLOCK:(n + 1) * BLOCK] = \
            self.device[number * BLOCK:(number + 1) * BLOCK]

    def compare(self, n):
        first = self.data * SECTOR + n * self.chunk
        length = min(self.chunk, self.size * SECTOR - n * self.chunk)
        a, b = (self.device[start + first:start + first + length]
                for start in self.starts)
        if a != b:
            self.differ.add(n)
        else:
            self.differ.discard(n)

    def apply(self, sector, data):
        at, end = sector * SECTOR, sector * SECTOR + len(data)
        self.device[at:end] = data
        for number in range(at // BLOCK, (end + BLOCK - 1) // BLOCK):
            if number in self.blocks:
                self.file_block(number)
        for start in self.starts:
            first = max(at, start + self.data * SECTOR)
            last = min(end, start + (self.data + self.size) * SECTOR)
            if first < last:
                begin = start + self.data * SECTOR
                for n in range((first - begin) // self.chunk,
                               (last - 1 - begin) // self.chunk + 1):
                    self.compare(n)

    def superblocks(self):
        for start in self.starts:
            yield struct.unpack_from("<QQ", self.device, start + 4096 + 200)

    def judge(self, where):
        self.cuts += 1
        events, resync_offset = max(self.superblocks())
        state, = struct.unpack_from("<I", self.file, 48)
        if state & 2:
            raise SystemExit(f"{where}: the file is marked as stale")
        header, = struct.unpack_from("<Q", self.file, 24)
        if header < events:
            raise SystemExit(f"{where}: the file is stale: {header} < {events}")
        if not self.differ:
            return
        self.unequal += 1
        if resync_offset == ALL_ONES:
            raise SystemExit(f"{where}: chunks {sorted(self.differ)} differ, "
                             "but the array calls itself clean")
        missing = [n for n in self.differ
                   if not self.file[256 + (n >> 3)] & 1 << (n & 7)]
        if missing:
            raise SystemExit(f"{where}: chunks {sorted(missing)} differ, but "
                             "are not marked in the file")

    def marked(self):
        chunks = (self.size * SECTOR - 1) // self.chunk + 1
        return {n for n in range(chunks)
                if self.file[256 + (n >> 3)] & 1 << (n & 7)}


def main():
    before, log, fs, leg, *blocks = sys.argv[1:]
    with open(before, "rb") as file:
        device = bytearray(file.read())
    judge = None
    cleared, last = 0, set()
    for n, (sector, data, flags) in enumerate(entries(log)):
        if flags & MARK:
            if data.startswith(b"begin"):
                judge = Judge(device, int(fs), int(leg),
                              [int(block) for block in blocks])
            continue
        if not judge:
            device[sector * SECTOR:sector * SECTOR + len(data)] = data
            continue
        judge.apply(sector, data)
        judge.judge(f"entry {n}")
        if sector < judge.fs:
            marked = judge.marked()
            cleared += len(last - marked)
            last = marked
    print(f"{judge.cuts} power cuts, with legs that differ in {judge.unequal}; "
          f"{cleared} bits were cleared")
    if judge.unequal < 100 or cleared == 0:
        raise SystemExit("that says too little")


main()
