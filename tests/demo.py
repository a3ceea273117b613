# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

"""The client of the demonstration.

  demo.py SOCKET LEDGER fill     the first 256 MiB, and flush
  demo.py SOCKET LEDGER load     random writes until the server is gone
  demo.py LEG LEDGER lose        take back some of them on this leg
  demo.py SOCKET LEDGER verify   what was answered is there

The load writes each block at most once, so that each block of the ledger
(the numbers of those whose write was answered, eight bytes each) must have
its own contents after the crash, and each other block its own or the old.
"""

import random
import struct
import sys
import nbd
from leg import Leg

BLOCK = 4096
FILL = 256 << 20
STEP = 1 << 20
DEPTH = 16
AREAS = 1200        # of 64 KiB: so many chunks are written at random
AREA = 64 << 10


def old(n):
    return (b'before  %020d    ' % n) * (BLOCK // 32)


def new(n):
    return (b'written %020d    ' % n) * (BLOCK // 32)


def targets():
    """All blocks of some areas, in random order, the same each time."""
    order = random.Random(1)
    areas = order.sample(range(FILL // AREA), AREAS)
    blocks = [area * AREA // BLOCK + i
              for area in areas for i in range(AREA // BLOCK)]
    # Areas come up by and by, as in real work.
    blocks.sort(key=lambda b: areas.index(b * BLOCK // AREA) // 40)
    groups = [blocks[i:i + 40 * 16] for i in range(0, len(blocks), 40 * 16)]
    for group in groups:
        order.shuffle(group)
    return [block for group in groups for block in group]


def read_ledger(ledger):
    with open(ledger, 'rb') as f:
        return [n for (n,) in struct.iter_unpack('<Q', f.read())]


def fill(h):
    for offset in range(0, FILL, STEP):
        first = offset // BLOCK
        h.pwrite(b''.join(old(first + i) for i in range(STEP // BLOCK)),
                 offset)
    h.flush()


def load(h, ledger):
    """Ends when the server is killed.  One line in the ledger per answer."""
    todo = targets()
    answered = 0
    flying = {}
    with open(ledger, 'wb', buffering=0) as f:
        def done(block, error):
            nonlocal answered
            if not error.value:
                f.write(struct.pack('<Q', block))
                answered += 1
                del flying[block]
            return 1

        try:
            while todo or flying:
                while todo and len(flying) < DEPTH:
                    block = todo.pop(0)
                    flying[block] = nbd.Buffer.from_bytearray(
                        bytearray(new(block)))
                    h.aio_pwrite(
                        flying[block], block * BLOCK,
                        completion=lambda error, block=block:
                        done(block, error))
                h.poll(-1)
        except nbd.Error:
            print('%d writes were answered, %d were in flight'
                  % (answered, len(flying)))
            return
    sys.exit('all was written before the server was killed')


def lose(path, ledger):
    """A disk may lose what was not flushed: every fifth write, say."""
    leg = Leg(path)
    marked = set(leg.marked_list)
    lost = [n for n in read_ledger(ledger)[::5]
            if n * BLOCK // leg.chunksize in marked]
    with open(path, 'r+b') as f:
        for n in lost:
            f.seek(leg.data_offset + n * BLOCK)
            f.write(old(n))
    print('%d writes lost, all of them in marked chunks' % len(lost))


def verify(h, ledger):
    answered = set(read_ledger(ledger))
    tried = set(targets())
    for offset in range(0, FILL, STEP):
        data = h.pread(STEP, offset)
        for i in range(STEP // BLOCK):
            n = offset // BLOCK + i
            block = data[i * BLOCK:(i + 1) * BLOCK]
            if n in answered:
                good = block == new(n)
            elif n in tried:
                # It may have been in flight: each sector is old or new.
                good = all(block[s:s + 512] in (old(n)[s:s + 512],
                                                new(n)[s:s + 512])
                           for s in range(0, BLOCK, 512))
            else:
                good = block == old(n)
            if not good:
                sys.exit('block %d is wrong: %r' % (n, block[:32]))
    print('%d blocks of %d bytes, all right; %d others as they were'
          % (len(answered), BLOCK, FILL // BLOCK - len(answered)))


def main():
    socket, ledger, what = sys.argv[1:]
    if what == 'lose':
        lose(socket, ledger)
        return
    h = nbd.NBD()
    h.connect_unix(socket)
    if what == 'fill':
        fill(h)
    elif what == 'load':
        load(h, ledger)
        return
    else:
        verify(h, ledger)
    h.shutdown()


main()
