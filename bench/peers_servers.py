# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# For peers.py: the servers that are compared.
#
#   ours          the plugin, bitmap on both legs with chunks of 64 KiB; the
#                 bits are set beforehand and stay set ("steady")
#   ours2         the same with another build of the plugin (--against)
#   none          the plugin without a bitmap
#   quorum        qemu-storage-daemon's quorum of two legs, aio=native
#   quorum-uring  the same with aio=io_uring
#   file          nbdkit's file plugin on one leg: through the page cache
#   null          nbdkit's null plugin: what the protocol costs
#   raw           no server: fio on both legs at once; figures are per leg
#   mirror        no server: bench/mirror, which waits for both legs
#
# All have the same legs, so that where these lie on a disk favours nobody.
# Only one server is asked at a time.  The peers do not care for what is on the
# legs, and write below the superblock and the bitmap: it is of version 1.0,
# with both at the end.  Ours do care: only one of them runs at a time.  After
# file and raw the legs differ, so that resync has more to write: leave them out
# where that is measured.

import json
import os
import signal
import subprocess
import time

import peers_machine as machine
from peers_legs import SIZE, is_device
from peers_machine import Failed, run

CHUNK = 65536  # of the bitmap
NEVER = 86400  # seconds; for bits that stay set
OURS = ("ours", "ours2", "none")
DIRECT = ("raw", "mirror")
ALL = ("ours", "none", "quorum", "quorum-uring", "file", "null", "raw",
       "mirror")


class Server:
    def __init__(self, name, legs, options):
        self.name = name
        self.legs = legs
        self.options = options
        self.process = None
        self.socket = os.path.join(options.tmp, name + ".sock")
        self.log = os.path.join(options.tmp, name + ".log")
        self.load = os.path.join(options.top, "bench", "load")
        machine.undo_later(self.kill)

    uri = property(lambda self: "nbd+unix:///?socket=" + self.socket)
    pid = property(lambda self: self.process.pid if self.process else None)

    def prepare(self):
        """Makes the array, if there is one."""

    def command(self):
        raise NotImplementedError

    # Returns the seconds from exec until the server says hello.
    def start(self, join=None):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        began = time.monotonic()
        self.process = machine.start(self.command(), self.log, join)
        machine.wait_for_hello(self.process, self.socket, self.log)
        return time.monotonic() - began

    # As for a measurement of the jobs.
    def start_steady(self):
        self.kill()
        self.prepare()
        self.start()

    def ready(self):
        """Starts it if it had to make way for another."""

    def check(self):
        if self.process and self.process.poll() is not None:
            raise Failed("%s has ended:\n%s" % (
                self.name, machine.tail(self.log)))

    def kill(self):
        self.end(signal.SIGKILL)

    def stop(self):
        self.end(signal.SIGTERM)

    def end(self, number):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    # Sends a list of requests; returns what bench/load says.
    def send(self, requests, *options):
        path = os.path.join(self.options.tmp, self.name + ".list")
        with open(path, "w") as f:
            f.write("\n".join(requests) + "\n")
        return machine.client([self.load, *options, self.uri, path])


class Ours(Server):
    chunk = "64K"
    parameters = ("daemon-sleep=%d" % NEVER,)
    last = {}  # by leg: who was prepared to run on it

    def plugin(self):
        return (self.options.against if self.name == "ours2"
                else self.options.plugin)

    def ready(self):
        if not self.process:
            self.start_steady()

    def prepare(self):
        self.last.setdefault(self.legs[0], self).kill()
        self.last[self.legs[0]] = self
        bitmap = ["--bitmap=none"]
        if self.name != "none":
            bitmap = ["--bitmap=internal"]
            if self.chunk:
                bitmap.append("--bitmap-chunk=" + self.chunk)
        run([self.options.mdbitmap, "create", "--force", "--assume-clean",
             "--metadata=1.0", *bitmap, *self.legs])

    def command(self):
        return ["nbdkit", "-f", "-t", str(self.options.threads),
                "-U", self.socket, os.path.abspath(self.plugin()), *self.legs,
                *self.parameters]

    def start_steady(self):
        super().start_steady()
        step = 1 << 20
        self.send(["w %d %d" % (offset, step)
                   for offset in range(0, SIZE, step)], "--depth=8")
        if self.name != "none" and self.marked() < SIZE // CHUNK:
            machine.die("%s: bits were not set" % self.name)

    def bitmap(self):
        return json.loads(run([self.options.mdbitmap, "examine-bitmap",
                               "--json", self.legs[0]]))

    def marked(self):
        return self.bitmap()["chunks-marked"]


class Quorum(Server):
    def command(self):
        aio = "io_uring" if self.name == "quorum-uring" else "native"
        command = ["qemu-storage-daemon"]
        for i, leg in enumerate(self.legs):
            driver = "host_device" if is_device(leg) else "file"
            command += [
                "--blockdev",
                "driver=%s,node-name=f%d,filename=%s,cache.direct=on,aio=%s,"
                "locking=off" % (driver, i, leg, aio),
                "--blockdev", "driver=raw,node-name=r%d,file=f%d" % (i, i)]
        return command + [
            "--blockdev",
            "driver=quorum,node-name=q,vote-threshold=1,read-pattern=fifo,"
            "children.0=r0,children.1=r1",
            "--nbd-server",
            "addr.type=unix,addr.path=%s,max-connections=0" % self.socket,
            "--export", "type=nbd,id=e,node-name=q,name=,writable=on"]


class Nbdkit(Server):
    def command(self):
        what = (["null", str(SIZE)] if self.name == "null"
                else ["file", self.legs[0]])
        return ["nbdkit", "-f", "-t", str(self.options.threads),
                "-U", self.socket, *what]


class Direct(Server):
    """fio, or bench/mirror, on the legs: nothing to be started."""

    def start(self, join=None):
        return 0.0


def make(name, legs, options):
    kind = Nbdkit
    if name in OURS:
        kind = Ours
    elif name.startswith("quorum"):
        kind = Quorum
    elif name in DIRECT:
        kind = Direct
    return kind(name, legs, options)
