# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# For peers.py: the jobs, and one measurement of one of them.

import os
import random
import time

import peers_machine as machine
from peers_legs import SIZE, forget_cached


class Job:
    def __init__(self, name, what, rw, bs=4, depth=1, connections=1, more=()):
        self.name = name
        self.what = what
        self.rw = rw
        self.bs = bs
        self.depth = depth
        self.connections = connections
        self.more = list(more)

    # Whether it is for this server: bench/mirror can only write at random.
    def runs_on(self, server):
        return server.name != "mirror" or (
            self.rw == "randwrite" and not self.more)

    def fio(self, seconds):
        return [
            "fio", "--ioengine=libaio", "--rw=" + self.rw,
            "--bs=%dk" % self.bs, "--iodepth=%d" % self.depth,
            "--numjobs=%d" % self.connections, "--size=%d" % SIZE,
            "--time_based", "--runtime=%dms" % (1000 * seconds),
            "--group_reporting", "--randrepeat=0", "--norandommap",
            "--refill_buffers=0", "--output-format=json", *self.more]


FUA = "fua_q1"

JOBS = {job.name: job for job in (
    Job("w4k_q1", "4k writes, depth 1", "randwrite"),
    Job("w4k_q16", "4k writes, depth 16", "randwrite", depth=16),
    Job("w4k_q32", "4k writes, depth 32", "randwrite", depth=32),
    Job("w4k_q1_c4", "4k writes, 4 connections of depth 1", "randwrite",
        connections=4),
    Job("w4k_q16_c4", "4k writes, 4 connections of depth 16", "randwrite",
        depth=16, connections=4),
    Job("w4k_q32_c4", "4k writes, 4 connections of depth 32", "randwrite",
        depth=32, connections=4),
    Job("r4k_q32", "4k reads, depth 32", "randread", depth=32),
    Job("w64k_q16", "64k writes, depth 16", "randwrite", bs=64, depth=16),
    Job("sw1m_q8", "1M writes in order, depth 8", "write", bs=1024, depth=8),
    Job("sr1m_q8", "1M reads in order, depth 8", "read", bs=1024, depth=8),
    Job("fsync1", "4k writes, a flush after each", "randwrite",
        more=["--fsync=1"]),
    Job("fsync32", "4k writes, depth 32, a flush after 32", "randwrite",
        depth=32, more=["--fsync=32"]),
    Job("mix_q32", "4k, 70 % reads, depth 32", "randrw", depth=32,
        more=["--rwmixread=70"]),
    Job(FUA, "4k writes with FUA, depth 1", "randwrite", more=["fua"]),
)}

QUICK = ["w4k_q1", "w4k_q32", "r4k_q32", "sw1m_q8", "fsync1", FUA]


# Not every fio finds a time for each kind; reads come first in a mix.
def of_fio(said, legs):
    job = said["jobs"][0]
    kinds = [job[kind] for kind in ("read", "write") if job[kind]["total_ios"]]
    result = {
        "iops": sum(kind["iops"] for kind in kinds) / legs,
        "requests": sum(kind["total_ios"] for kind in kinds) / legs,
    }
    percentiles = kinds[0]["clat_ns"].get("percentile", {}) if kinds else {}
    if percentiles:
        result["p50_us"] = percentiles["50.000000"] / 1000
        result["p99_us"] = percentiles["99.000000"] / 1000
    return result


def of_load(said):
    return {
        "iops": said["iops"],
        "requests": said["requests"],
        "p50_us": said["latency-us"]["median"],
        "p99_us": said["latency-us"]["p99"],
    }


def fua_list():
    return ["w %d 4096 fua" % (random.randrange(SIZE // 4096) * 4096)
            for _ in range(20000)]


def raw(server, job, seconds):
    command = job.fio(seconds)
    if job.name == FUA:
        command[-1] = "--sync=dsync"
    command += ["--direct=1"]
    for i, leg in enumerate(server.legs):
        command += ["--name=leg%d" % i, "--filename=" + leg]
    return of_fio(machine.client(command), len(server.legs))


def mirror(server, job, seconds):
    return of_load(machine.client([
        os.path.join(server.options.top, "bench", "mirror"),
        "--block=%d" % (1024 * job.bs),
        "--depth=%d" % (job.depth * job.connections),
        "--seconds=%f" % seconds, "--size=%d" % SIZE, *server.legs]))


def over_nbd(server, job, seconds):
    if job.name == FUA:
        return of_load(server.send(fua_list(), "--seconds=%f" % seconds))
    command = job.fio(seconds)
    command[1] = "--ioengine=nbd"
    return of_fio(machine.client(
        command + ["--name=job", "--uri=" + server.uri]), 1)


def measure_once(server, job, seconds):
    how = {"raw": raw, "mirror": mirror}.get(server.name, over_nbd)
    server.ready()
    server.check()
    processors = machine.Processors(server.pid)
    result = how(server, job, seconds)
    server.check()
    used = processors.stop()
    if server.process:
        result["cpu_us"] = used["server"] * 1e6 / max(result["requests"], 1)
    result["others"] = used["others"]
    if server.name == "file":
        forget_cached(server.legs[0])
    return result


# nbdkit before 1.34 may abort when fio hangs up with requests in flight.
def measure(server, job, seconds):
    for tries in range(3):
        try:
            return measure_once(server, job, seconds)
        except machine.Failed as failed:
            machine.say("%s, %s: once more: %s" % (
                server.name, job.name, str(failed).strip().split("\n")[-1]))
            time.sleep(0.2)
            server.start_steady()
    machine.die("%s: %s failed three times" % (server.name, job.name))
