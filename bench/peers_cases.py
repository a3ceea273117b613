# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# For peers.py: what is not a job of fio's.
#
#   first touch   one write to each chunk whose bit is clear, in random order
#   balance       reads from two legs of limited speed, against one such leg
#   resync        after kill -9, when few, more, and all chunks are marked
#   start-up      of an array of 16 TiB with chunks of 64 KiB
#
# Each starts ours anew for each figure, on legs that no other of ours has; a
# peer may have them open, and is not asked meanwhile.

import os
import random
import re
import time

import peers_jobs
import peers_machine as machine
import peers_servers
from peers_legs import SIZE, is_device, SHM
from peers_machine import die
from peers_servers import CHUNK

FIRST = {("64K", 1): "first_q1", ("64K", 32): "first_q32",
         (None, 1): "first64M_q1", (None, 32): "first64M_q32"}
LIMIT = 4000  # reads a second of a limited leg
TIB = 1 << 40


class NotPossible(Exception):
    """Here; it says why."""


# A list of writes, each to another chunk.
def one_a_chunk(count, chunks=SIZE // CHUNK):
    return ["w %d 4096" % (chunk * CHUNK)
            for chunk in random.sample(range(chunks), min(count, chunks))]


# ---- first touch ----


def touch(server, chunk, depth, requests):
    if server.name in peers_servers.OURS:
        server.kill()
        server.chunk, server.parameters = chunk, ()
        server.prepare()
        bitmap = server.bitmap()
        if bitmap["chunks-marked"] or bitmap["state"] != "ok":
            die("a new array is not clean: %s" % bitmap)
        server.start()
    processors = machine.Processors(server.pid)
    result = peers_jobs.of_load(server.send(requests, "--depth=%d" % depth))
    used = processors.stop()
    result["cpu_us"] = used["server"] * 1e6 / result["requests"]
    result["others"] = used["others"]
    if server.name in peers_servers.OURS:
        server.kill()
    return result


def first_touch(servers, options, add, wanted):
    for (chunk, depth), name in FIRST.items():
        if name not in wanted:
            continue
        count = int((2000 if depth == 1 else 10000) * options.seconds)
        for number in range(options.pairs):
            requests = one_a_chunk(max(count, 500))
            turns = servers if number % 2 == 0 else servers[::-1]
            for server in turns:
                add(name, server.name, number,
                    touch(server, chunk, depth, requests))


# ---- balance ----


def write_to(path, text):
    with open(path, "w") as f:
        f.write(text)


def remove_group(path):
    for _ in range(50):
        try:
            os.rmdir(path)
            return
        except OSError:
            time.sleep(0.02)
    os.rmdir(path)


# A control group whose processes read so many times a second from a device.
def limited_group(devices, limit):
    name = "mdbitmap-peers.%d" % os.getpid()
    numbers = ["%d:%d" % (os.major(os.stat(d).st_rdev),
                          os.minor(os.stat(d).st_rdev)) for d in devices]
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        try:
            with open(root + "/cgroup.controllers") as f:
                if "io" not in f.read().split():
                    continue
            write_to(root + "/cgroup.subtree_control", "+io")
            group = root + "/" + name
            os.mkdir(group)
            machine.undo_later(remove_group, group)
            for number in numbers:
                write_to(group + "/io.max", "%s riops=%d" % (number, limit))
            return group, "control group v2, io.max"
        except OSError:
            continue
    group = "/sys/fs/cgroup/blkio/" + name
    try:
        os.mkdir(group)
        machine.undo_later(remove_group, group)
        for number in numbers:
            write_to(group + "/blkio.throttle.read_iops_device",
                     "%s %d" % (number, limit))
    except OSError as error:
        raise NotPossible("no control group for the limit: %s" % error)
    return group, "control group v1, blkio.throttle.read_iops_device"


# Ours with two limited legs, against fio straight on one of them.
def balance(legs, options, add):
    if not all(map(is_device, legs)):
        raise NotPossible("the limit is one of block devices, and these legs "
                          "are files (see --ram)")
    group, how = limited_group(legs, LIMIT)
    ours = peers_servers.make("ours", legs, options)
    ours.prepare()
    ours.start(group)
    job = peers_jobs.JOBS["r4k_q32"]
    seconds = max(options.seconds, 1)
    reads = ["r %d 4096" % (random.randrange(SIZE // 4096) * 4096)
             for _ in range(20000)]
    for number in range(options.pairs):
        for who in ("ours", "one leg")[::1 if number % 2 == 0 else -1]:
            if who == "ours":
                result = peers_jobs.of_load(ours.send(
                    reads, "--depth=32", "--seconds=%f" % seconds))
            else:
                command = job.fio(seconds) + [
                    "--direct=1", "--name=leg", "--filename=" + legs[0]]
                result = peers_jobs.of_fio(machine.client(command, group), 1)
            add("balance", who, number, result)
    ours.stop()
    return "%d reads a second from each leg (%s)" % (LIMIT, how)


# ---- resync ----


def wait_for_line(server, pattern, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(server.log) as f:
            found = re.search(pattern, f.read())
        if found:
            return found
        server.check()
        time.sleep(0.002)
    die("no such line in %d s: %s\n%s" % (
        seconds, pattern, machine.tail(server.log)))


def resync(server, options):
    rows = []
    server.kill()
    server.chunk = "64K"
    server.parameters = peers_servers.Ours.parameters
    for percent in (0.1, 10, 100):
        for number in range(min(options.pairs, 2)):
            server.prepare()
            chunks = server.bitmap()["chunks"]
            server.start()
            server.send(one_a_chunk(max(1, round(chunks * percent / 100)),
                                    chunks), "--depth=32")
            server.kill()
            marked = server.marked()
            began = time.monotonic()
            server.start()
            line = wait_for_line(
                server, r"resync done: (\d+) chunks, (\d+) bytes written", 300)
            rows.append({
                "percent": percent, "round": number, "marked": marked,
                "chunks": int(line[1]), "bytes_compared": marked * CHUNK,
                "bytes_written": int(line[2]),
                "seconds": time.monotonic() - began})
            server.kill()
    return rows




# ---- start-up ----


# Two sparse files of 16 TiB, which ext4 with blocks of 4 KiB has no room for.
def huge_legs(where):
    folder = machine.folder(where)
    legs = [os.path.join(folder, "leg%d" % i) for i in (0, 1)]
    for leg in legs:
        with open(leg, "wb") as f:
            f.truncate(16 * TIB)
    return legs


def start_up(options):
    legs = None
    for where in (SHM, options.dir):
        try:
            legs = huge_legs(where)
            break
        except OSError:
            continue
    if not legs:
        raise NotPossible("neither %s nor %s takes files of 16 TiB" % (
            SHM, options.dir))
    rows = []
    server = peers_servers.make("ours", legs, options)
    server.parameters = ()
    for server.chunk in ("64K", "64M"):
        server.prepare()
        for number in range(min(options.pairs, 3)):
            seconds = server.start()
            memory = machine.memory_of(server.pid)
            began = time.monotonic()
            server.send(["r 0 4096"])
            read = time.monotonic()
            server.stop()
            rows.append({
                "chunk": server.chunk, "round": number, "seconds": seconds,
                "seconds_to_first_read": seconds + read - began,
                "seconds_to_stop": time.monotonic() - read,
                "resident_bytes": memory["VmRSS"],
                "resident_peak_bytes": memory["VmHWM"]})
    for leg in legs:
        os.unlink(leg)
    return rows
