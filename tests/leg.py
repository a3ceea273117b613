# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

"""Look at legs with superblock 1.2, independently of the library.

  leg.py show LEG              everything, one field a line
  leg.py get LEG FIELD [FILE]  one field; FILE: has its bitmap
  leg.py equal LEG LEG...      data areas the same, byte for byte, else 1
  leg.py sum LEG...            one SHA-256 of each data area
  leg.py sum-all FILE...       one SHA-256 of each whole file

Also a module: Leg (path), or Leg (path, file) if its bitmap is in a file, has
the fields as attributes.
"""

import hashlib
import struct
import sys

SUPER = 4096
CLEAN = 2 ** 64 - 1
STEP = 1 << 20


class Leg:
    def __init__(self, path, file=None):
        self.path = path
        with open(path, 'rb') as f:
            f.seek(SUPER)
            block = f.read(4096)
            self.parse_superblock(block)
            if self.feature_map & 1:
                f.seek((self.super_offset + self.bitmap_offset) * 512)
                self.parse_bitmap(f)
        if file:
            with open(file, 'rb') as f:
                self.parse_bitmap(f)

    def parse_superblock(self, b):
        def u16(o): return struct.unpack_from('<H', b, o)[0]
        def u32(o): return struct.unpack_from('<I', b, o)[0]
        def s32(o): return struct.unpack_from('<i', b, o)[0]
        def u64(o): return struct.unpack_from('<Q', b, o)[0]

        self.magic = u32(0)
        if self.magic != 0xa92b4efc:
            raise ValueError('%s: no superblock' % self.path)
        self.major = u32(4)
        self.feature_map = u32(8)
        self.set_uuid = b[16:32].hex()
        self.level = s32(72)
        self.size = u64(80) * 512
        self.raid_disks = u32(92)
        self.bitmap_offset = s32(96)
        self.data_offset = u64(128) * 512
        self.data_size = u64(136) * 512
        self.super_offset = u64(144)
        self.recovery_offset = u64(152)
        self.dev_number = u32(160)
        self.device_uuid = b[168:184].hex()
        self.devflags = b[184]
        self.events = u64(200)
        self.resync_offset = u64(208)
        self.clean = int(self.resync_offset == CLEAN)
        self.max_dev = u32(220)
        self.roles = [u16(256 + 2 * i) for i in range(self.max_dev)]
        self.role = self.roles[self.dev_number]
        self.checksum_right = int(u32(216) == self.checksum(b))

    def checksum(self, b):
        b = b[:256 + 2 * self.max_dev]
        b = b[:216] + bytes(4) + b[220:]
        total = sum(struct.unpack('<%dI' % (len(b) // 4),
                                  b[:len(b) // 4 * 4]))
        if len(b) % 4:
            total += struct.unpack('<H', b[-2:])[0]
        return (total + (total >> 32)) & 0xffffffff

    def parse_bitmap(self, f):
        b = f.read(256)
        self.bitmap_uuid = b[8:24].hex()
        self.bitmap_events = struct.unpack_from('<Q', b, 24)[0]
        self.events_cleared = struct.unpack_from('<Q', b, 32)[0]
        self.bitmap_state = struct.unpack_from('<I', b, 48)[0]
        self.chunksize = struct.unpack_from('<I', b, 52)[0]
        self.daemon_sleep = struct.unpack_from('<I', b, 56)[0]
        self.chunks = -(-self.size // self.chunksize)
        bits = f.read(-(-self.chunks // 8))
        self.marked_list = [i for i in range(self.chunks)
                            if bits[i // 8] >> (i % 8) & 1]
        self.marked = len(self.marked_list)

    def role_of_slot(self, slot):
        """What this leg's table says about the device of a slot."""
        return [d for d, r in enumerate(self.roles) if r == slot]

    def faulty(self):
        """Device numbers that the table records as faulty."""
        return [d for d, r in enumerate(self.roles) if r == 0xfffe]

    def data(self):
        """The data area in pieces."""
        with open(self.path, 'rb') as f:
            f.seek(self.data_offset)
            left = self.size
            while left:
                piece = f.read(min(left, STEP))
                if not piece:
                    raise ValueError('%s: ends in its data' % self.path)
                left -= len(piece)
                yield piece


def equal(paths):
    """The offset of the first difference, or None."""
    legs = [Leg(p) for p in paths]
    if len(set(leg.size for leg in legs)) != 1:
        raise ValueError('sizes differ')
    offset = 0
    for pieces in zip(*(leg.data() for leg in legs)):
        for piece in pieces[1:]:
            if piece != pieces[0]:
                for i, (a, b) in enumerate(zip(pieces[0], piece)):
                    if a != b:
                        return offset + i
        offset += len(pieces[0])
    return None


def main(args):
    command = args.pop(0)
    if command == 'show':
        for key, value in vars(Leg(args[0])).items():
            print('%s=%s' % (key, value))
    elif command == 'get':
        leg = Leg(args[0], *args[2:])
        value = getattr(leg, args[1])
        print(value() if callable(value) else value)
    elif command == 'equal':
        offset = equal(args)
        if offset is not None:
            print('the data of %s differs at %d' % (' '.join(args), offset))
            return 1
    elif command == 'sum':
        for path in args:
            h = hashlib.sha256()
            for piece in Leg(path).data():
                h.update(piece)
            print(h.hexdigest())
    elif command == 'sum-all':
        for path in args:
            with open(path, 'rb') as f:
                h = hashlib.sha256()
                for piece in iter(lambda: f.read(STEP), b''):
                    h.update(piece)
            print(h.hexdigest())
    else:
        sys.exit(__doc__)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
