# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# For peers.py: the legs.  All are as large, of real blocks, and filled with
# random bytes, so that no first write is one of the file system.
#
#   disk   files in a folder
#   ram    in memory; one of
#     loop    loop devices, with direct I/O, on files of tmpfs (root only)
#     zram    zram devices (root only)
#     tmpfs   files of tmpfs, which take O_DIRECT since Linux 6.6
#
# A loop device is released, and its file removed, as soon as we have it open:
# so the kernel does away with both when we are gone, however that happens.

import os
import random
import shutil
import stat

from peers_machine import die, folder, run, say, undo_later

SIZE = 1 << 30  # what is measured
ROOM = 64 << 20  # for superblocks and the bitmap
PIECE = 4 << 20
SHM = "/dev/shm"
RESERVE = {"disk": 1 << 30, "ram": 2 << 30}  # for others


# The same bytes for the same seed: an array's legs are equal.
def fill(path, size, seed):
    source = random.Random(seed)
    pool = source.randbytes(PIECE + (1 << 16))
    fd = os.open(path, os.O_WRONLY)
    try:
        for offset in range(0, size, PIECE):
            begin = source.randrange(1 << 16)
            piece = pool[begin:begin + min(PIECE, size - offset)]
            os.pwrite(fd, piece, offset)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def is_device(path):
    return stat.S_ISBLK(os.stat(path).st_mode)


# What was written through the page cache must not be written later, while
# another is measured.
def forget_cached(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def file_leg(path, size):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.posix_fallocate(fd, 0, size)
    os.close(fd)
    return path


def loop_leg(path, size):
    file_leg(path, size)
    device = run(["losetup", "-f", "--show", "--direct-io=on", path]).strip()
    try:
        undo_later(os.close, os.open(device, os.O_RDWR | os.O_CLOEXEC))
    finally:
        run(["losetup", "-d", device])
        os.unlink(path)
    return device


def remove_zram(number):
    with open("/sys/class/zram-control/hot_remove", "w") as f:
        f.write(number)


def zram_leg(_, size):
    with open("/sys/class/zram-control/hot_add") as f:
        number = f.read().strip()
    undo_later(remove_zram, number)
    with open("/sys/block/zram%s/disksize" % number, "w") as f:
        f.write(str(size))
    return "/dev/zram" + number


class Legs:
    """Makes legs of one kind."""

    def __init__(self, kind, where, ram, size=SIZE + ROOM):
        self.kind = kind
        self.size = size
        self.how = "file"
        if kind == "ram":
            self.how = ram
            where = SHM
        self.folder = folder(where)

    def description(self):
        if self.kind == "disk":
            return "disk: files"
        return "RAM: " + {"loop": "loop devices on tmpfs", "zram": "zram",
                          "tmpfs": "files of tmpfs"}[self.how]

    def make(self, name, seed):
        path = os.path.join(self.folder, name)
        make = {"loop": loop_leg, "zram": zram_leg}.get(self.how, file_leg)
        leg = make(path, self.size)
        fill(leg, self.size, seed)
        return leg

    def pair(self):
        seed = random.getrandbits(64)
        return [self.make("leg0", seed), self.make("leg1", seed)]


# There must be room before anything is written: memory that is gone would
# cost other programs their lives.
def check_room(kind, where, ram):
    need = 2 * (SIZE + ROOM) + RESERVE[kind]
    place = SHM if kind == "ram" else where
    free = shutil.disk_usage(place).free
    if kind == "ram":
        with open("/proc/meminfo") as f:
            fields = dict(line.split(":", 1) for line in f)
        free = min(free, int(fields["MemAvailable"].split()[0]) * 1024)
    if free < need:
        die("%s: %.1f GiB free, %.1f GiB needed%s" % (
            place, free / 2**30, need / 2**30,
            "" if kind == "ram" else " (give --dir=DIR)"))


# What this machine can do of what was asked for.
def usable_ram(ram):
    if ram == "tmpfs":
        return ram
    wanted = {"loop": "/dev/loop-control", "zram": "/sys/class/zram-control"}
    if os.geteuid() == 0 and os.path.exists(wanted[ram]):
        return ram
    say("RAM legs: no %s devices (not root, or the kernel has none): files of "
        "tmpfs instead" % ram)
    return "tmpfs"
