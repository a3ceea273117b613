#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

"""What is counted: lists of requests, and what programs said of them.

  counted.py random KIND COUNT SIZE LENGTH [SEED]
                        a list for bench/load and bench/replay: r or w, so
                        many, each somewhere else in SIZE bytes; always the same
  counted.py sequential KIND COUNT LENGTH
  counted.py distinct LIST CHUNK
                        chunks that the list writes to
  counted.py pages LOG [FROM]
                        bitmap pages that the server wrote, per leg, by its log
                        (-v -D mdbitmap.bitmap=1) from that byte on
  counted.py stats LOG NAME
                        a counter that it told when it stopped
  counted.py calls TRACE
                        system calls in all, by strace -c
  counted.py cost ONCE MORE REQUESTS
                        instructions and allocations per request: the difference
                        of two files of callgrind's, of runs that differ by so
                        many requests
  counted.py usage FILE COMMAND...
                        run it; its context switches go to FILE at the end
  counted.py zero URI STEP FROM TO
                        zero that much of an export, and leave holes
  counted.py rss PID    KiB
  counted.py met VALUE LIMIT
                        met or NOT MET
  counted.py json ROWS  lines as counted.sh has them: for programs
"""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys


def make_random(kind, count, size, length, seed='1'):
    chance = random.Random(int(seed))
    length = int(length)
    for _ in range(int(count)):
        print(kind, chance.randrange(int(size) // length) * length, length)


def make_sequential(kind, count, length):
    for i in range(int(count)):
        print(kind, i * int(length), length)


def distinct(path, chunk):
    chunks = set()
    chunk = int(chunk)
    with open(path) as f:
        for line in f:
            words = line.split()
            if words and words[0] == 'w':
                offset, length = int(words[1]), int(words[2])
                chunks.update(range(offset // chunk,
                                    (offset + length - 1) // chunk + 1))
    print(len(chunks))


def pages(log, start='0'):
    with open(log, errors='replace') as f:
        f.seek(int(start))
        print(sum(int(m.group(1)) for m in re.finditer(
            r'bitmap: round \d+: \d+ chunks, (\d+) pages', f.read())))


def stats(log, name):
    with open(log, errors='replace') as f:
        m = re.search(r'stats:.* %s=(\d+)' % re.escape(name), f.read())
    if not m:
        sys.exit('%s: no counter %s' % (log, name))
    print(m.group(1))


def calls(trace):
    total = 0
    with open(trace) as f:
        for line in f:
            words = line.split()
            if len(words) in (5, 6) and words[3].isdigit() \
                    and words[-1] != 'total':
                total += int(words[3])
    print(total)


ALLOCATE = {'malloc', 'calloc', 'realloc', 'posix_memalign', 'aligned_alloc'}


class Profile:
    """A file of callgrind's: instructions, and calls of ALLOCATE that do not
    come from each other."""

    def __init__(self, path):
        self.instructions = 0
        self.allocations = 0
        self.names = {}
        with open(path) as f:
            self.parse(f)

    def name(self, text):
        m = re.match(r'(\(\d+\))(?: (.*))?$', text)
        if m.group(2):
            # Without what callgrind adds to tell recursions apart, and
            # without the version of the symbol.
            self.names[m.group(1)] = re.split("['@]", m.group(2))[0]
        return self.names[m.group(1)]

    def parse(self, lines):
        function = callee = None
        for line in lines:
            if line.startswith('fn='):
                function = self.name(line[3:].rstrip())
            elif line.startswith('cfn='):
                callee = self.name(line[4:].rstrip())
            elif line.startswith('calls='):
                if callee in ALLOCATE and function not in ALLOCATE:
                    self.allocations += int(line[6:].split()[0])
            elif line.startswith(('summary:', 'totals:')):
                self.instructions = int(line.split()[1])


def cost(once, more, requests):
    a, b, n = Profile(once), Profile(more), int(requests)
    print('%.1f %.2f' % ((b.instructions - a.instructions) / n,
                         (b.allocations - a.allocations) / n))


def usage(path, *command):
    child = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, frame: child.send_signal(n))
    child.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(path, 'w') as f:
        print(used.ru_nvcsw, used.ru_nivcsw, file=f)
    sys.exit(0 if child.returncode == 0 else 1)


def zero(uri, step, start, end):
    import nbd
    h = nbd.NBD()
    h.connect_uri(uri)
    step, end = int(step), min(int(end), h.get_size())
    for offset in range(int(start), end, step):
        h.zero(min(step, end - offset), offset)
    h.shutdown()


def rss(pid):
    with open('/proc/%s/status' % pid) as f:
        print(re.search(r'VmRSS:\s*(\d+)', f.read()).group(1))


def is_met(value, limit):
    return float(value) <= float(limit)


def met(value, limit):
    print('met' if is_met(value, limit) else 'NOT MET')


def to_json(path):
    rows = []
    with open(path) as f:
        for line in f:
            section, what, value, limit = line.rstrip('\n').split('\t')
            row = {'section': section, 'what': what, 'counted': float(value)}
            if limit:
                row['limit'] = float(limit)
                row['met'] = is_met(value, limit)
            rows.append(row)
    uname = os.uname()
    json.dump({'kernel': uname.release, 'machine': uname.machine,
               'rows': rows}, sys.stdout, indent=1)
    print()


COMMANDS = {
    'random': make_random,
    'sequential': make_sequential,
    'distinct': distinct,
    'pages': pages,
    'stats': stats,
    'calls': calls,
    'cost': cost,
    'usage': usage,
    'zero': zero,
    'rss': rss,
    'met': met,
    'json': to_json,
}

if __name__ == '__main__':
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
