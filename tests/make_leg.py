# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

"""Make a leg of an md RAID1 array, of any version of the superblock, without
the library: sparse, 64 MiB, with everything where mdadm puts it.

  make_leg.py LEG KEY=VALUE...

Keys, with what they are if not given:

  version=1.2       or 1.1, 1.0, 0.90, or 0.90-big (written by a big-endian
                    machine)
  dev=0             number of the device
  roles=0,1         of device 0, 1, ...: a slot, or spare, faulty, journal
  disks=2           slots
  events=2  ctime=1795244735  utime=1795244736
  clean=1           0: not clean, resync_offset=0
  features=0x1      1.x; without 1 there is no bitmap.  0.90: only 1
  flags=0           write-mostly 1, failfast 2
  bad=              bad-block log of 1.x: SECTOR+LENGTH,... from the leg's start
  bitmap=4          version of the bitmap; 5: of two nodes
  chunk=65536       bytes, or sectors in version 6
  cleared=1         events_cleared       bitmap-events=EVENTS
  marked=           chunks: 0,3,5        states=  (6) byte of each: 0,1,2
  minor=90          0.90: minor version
  keep=0            1: do not make the file anew
"""

import struct
import sys

LEG = 64 << 20
UUID = bytes(range(0x10, 0x20))
PLACES = {
    #       sb     data_offset data_size size   bitmap log
    '1.0': (131056, 0, 131040, 130944, -16, -8),
    '1.1': (0, 2048, 129024, 129024, 8, 16),
    '1.2': (8, 2048, 129024, 129024, 8, 16),
    '0.90': (130944, 0, 130944, 130944, 8, 0),
}
ROLES = {'spare': 0xffff, 'faulty': 0xfffe, 'journal': 0xfffd}


def parse(words):
    o = dict(version='1.2', dev='0', roles='0,1', disks='2', events='2',
             ctime='1795244735', utime='1795244736', clean='1',
             features='0x1', flags='0', bad='', bitmap='4', chunk='65536',
             cleared='1', marked='', states='', minor='90', keep='0')
    o['bitmap-events'] = None
    for word in words:
        key, value = word.split('=', 1)
        if key not in o:
            sys.exit('make_leg.py: no key ' + key)
        o[key] = value
    for key in ('dev', 'disks', 'events', 'ctime', 'utime', 'clean',
                'features', 'flags', 'bitmap', 'chunk', 'cleared', 'minor',
                'keep'):
        o[key] = int(o[key], 0)
    o['roles'] = [ROLES.get(r) if r in ROLES else int(r)
                  for r in o['roles'].split(',')]
    if o['bitmap-events'] is None:
        o['bitmap-events'] = o['events']
    o['bitmap-events'] = int(o['bitmap-events'])
    return o


def checksum(block, at):
    block[at:at + 4] = bytes(4)
    total = sum(struct.unpack('<%dI' % (len(block) // 4), block))
    return ((total & 0xffffffff) + (total >> 32)) & 0xffffffff


def superblock_1(o, place):
    sb, data_offset, data_size, size, bitmap, log = place
    b = bytearray(512)
    struct.pack_into('<IIII', b, 0, 0xa92b4efc, 1, o['features'], 0)
    b[16:32] = UUID
    b[32:41] = b'host:made'
    struct.pack_into('<Qii', b, 64, o['ctime'], 1, 0)
    struct.pack_into('<QII', b, 80, size, 0, o['disks'])
    struct.pack_into('<i', b, 96, bitmap if o['features'] & 1 else 0)
    struct.pack_into('<QQQQII', b, 128, data_offset, data_size, sb, 0,
                     o['dev'], 0)
    b[168:184] = bytes([0x80 + o['dev']] * 16)
    struct.pack_into('<BBHi', b, 184, o['flags'], 0, 8, log)
    struct.pack_into('<QQQ', b, 192, o['utime'], o['events'],
                     2 ** 64 - 1 if o['clean'] else 0)
    struct.pack_into('<II', b, 216, 0, 128)
    roles = o['roles'] + [0xffff] * (128 - len(o['roles']))
    struct.pack_into('<128H', b, 256, *roles)
    struct.pack_into('<I', b, 216, checksum(b, 216))
    return bytes(b)


def descriptor(o, number, role):
    state = {0xfffe: 1, 0xffff: 0}.get(role, 6)
    if number == o['dev']:
        state |= (o['flags'] & 1) << 9 | (o['flags'] & 2) << 9
    slot = role if role < 0xff00 else number
    return struct.pack('<5I', number, 7, 100 + number, slot, state)


def superblock_090(o, place):
    b = bytearray(4096)
    uuid = struct.unpack('<4I', UUID)
    active = sum(r < 0xff00 for r in o['roles'])
    failed = sum(r == 0xfffe for r in o['roles'])
    spare = sum(r == 0xffff for r in o['roles'])
    clean = o['clean']
    struct.pack_into('<13I', b, 0, 0xa92b4efc, 0, o['minor'], 0, 0, uuid[0],
                     o['ctime'], 1, place[3] // 2, len(o['roles']),
                     o['disks'], 3, 0)
    struct.pack_into('<3I', b, 52, *uuid[1:])
    struct.pack_into('<6I', b, 128, o['utime'],
                     clean | (o['features'] & 1) << 8, active,
                     active + spare, failed, spare)
    struct.pack_into('<QQI', b, 156, o['events'],
                     o['events'] if clean else 0,
                     0xffffffff if clean else 0)
    for number, role in enumerate(o['roles']):
        d = descriptor(o, number, role)
        b[512 + 128 * number:512 + 128 * number + len(d)] = d
        if number == o['dev']:
            b[3968:3968 + len(d)] = d
    struct.pack_into('<I', b, 152, checksum(b, 152))
    if o['version'].endswith('big'):
        return b''.join(b[i:i + 4][::-1] for i in range(0, 4096, 4))
    return bytes(b)


def header(o, size, node=0):
    b = bytearray(256)
    struct.pack_into('<II', b, 0, 0x6d746962, o['bitmap'])
    b[8:24] = UUID
    struct.pack_into('<QQQ', b, 24, o['bitmap-events'] + node, o['cleared'],
                     size)
    lockless = o['bitmap'] == 6
    struct.pack_into('<IIII', b, 48, 8 if lockless else 0, o['chunk'],
                     30 if lockless else 5, 0)
    if o['bitmap'] == 5:
        struct.pack_into('<II', b, 64, 0, 2)
        b[72:80] = b'our-club'
    return b


def bitmap_bytes(o, size, node=0):
    """Header and bits, or states."""
    if o['bitmap'] == 6:
        states = [int(x) for x in o['states'].split(',') if x]
        count = -(-size // o['chunk'])
        states += [1] * (count - len(states))
        return bytes(header(o, size)) + bytes(768) + bytes(states)
    count = -(-size * 512 // o['chunk'])
    bits = bytearray(-(-count // 8))
    # What is behind the last chunk is set, as mdadm has it.
    for n in range(count, len(bits) * 8):
        bits[n // 8] |= 1 << n % 8
    for n in [int(x) for x in o['marked'].split(',') if x]:
        if n < count and (node == 0 or n % 2):
            bits[n // 8] |= 1 << n % 8
    b = bytes(header(o, size, node)) + bytes(bits)
    return b + b'\xff' * (-len(b) % 4096)


def bad_block_log(text):
    entries = b''
    for word in text.split(','):
        sector, length = (int(n) for n in word.split('+'))
        entries += struct.pack('<Q', sector << 10 | length)
    return entries + b'\xff' * (4096 - len(entries))


def main(path, words):
    o = parse(words)
    name = '0.90' if o['version'].startswith('0.90') else o['version']
    place = PLACES[name]
    with open(path, 'r+b' if o['keep'] else 'w+b') as f:
        f.truncate(LEG)
        f.seek(place[0] * 512)
        f.write(superblock_090(o, place) if name == '0.90'
                else superblock_1(o, place))
        if o['features'] & 1:
            f.seek((place[0] + place[4]) * 512)
            f.write(bitmap_bytes(o, place[3]))
            if o['bitmap'] == 5:
                f.write(bitmap_bytes(o, place[3], 1))
        if o['bad']:
            f.seek((place[0] + place[5]) * 512)
            f.write(bad_block_log(o['bad']))


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
