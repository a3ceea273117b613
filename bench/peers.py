#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# How fast the plugin is, against others that do the same: `make bench`.
#
#   bench/peers.py [OPTION...]       from the top of a build tree
#
#   --quick             under two minutes: one pair, few jobs, short runs
#   --legs=disk,ram     on what the legs are
#   --jobs=JOB,...      see peers_jobs.py; and first_q1, first_q32,
#                       first64M_q1, first64M_q32, balance, resync, start-up
#   --servers=NAME,...  see peers_servers.py (default: ours,quorum,mirror)
#   --pairs=N           how often each is measured (default: 5)
#   --seconds=S         how long each time (default: 1)
#   --threads=N         of nbdkit for each connection (default: 32)
#   --dir=DIR           where the disk legs are made (default: $TMPDIR)
#   --ram=loop          or tmpfs, or zram: see peers_legs.py
#   --against=PLUGIN    another build of the plugin as one more server, ours2
#   --results=DIR       (default: bench/results in the build tree)
#
# The variables `plugin` and MDBITMAP choose another build, as for the tests.
# Needs fio with its nbd engine, nbdkit, and qemu-storage-daemon for quorum;
# root for RAM legs that are devices and for the balance.
#
# Times depend on the machine and on what else it does.  So the servers take
# turns, in the reverse order each second time, on the same legs and with
# the same job; ours is compared with a peer only within such a round.  The
# tables have the median of these ratios, the least and the greatest.

import argparse
import os
import sys
import time

import peers_cases
import peers_jobs
import peers_legs
import peers_machine as machine
import peers_report
import peers_servers
from peers_machine import die, say

CASES = ("balance", "resync", "start-up")
ALL = list(peers_jobs.JOBS) + list(peers_cases.FIRST.values()) + list(CASES)
QUICK = peers_jobs.QUICK + ["first_q1", "first_q32", "resync", "start-up"]


def words(text):
    return [word for word in text.split(",") if word]


# The comment that this file begins with.
def head():
    with open(__file__) as f:
        comment = f.read().split("\n\n")[1:4]
    lines = "\n\n".join(comment).split("\n")
    return "\n".join(line[2:] if line.startswith("#") else line
                     for line in lines)


def parse():
    p = argparse.ArgumentParser(
        usage="peers.py [OPTION...]; see --help", add_help=False)
    p.add_argument("--help", action="store_true")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--legs", type=words, default=["disk", "ram"])
    p.add_argument("--jobs", type=words)
    p.add_argument("--servers", type=words,
                   default=["ours", "quorum", "mirror"])
    p.add_argument("--pairs", type=int)
    p.add_argument("--seconds", type=float)
    p.add_argument("--threads", type=int, default=32)
    p.add_argument("--dir", default=os.environ.get("TMPDIR", "/tmp"))
    p.add_argument("--ram", choices=("loop", "tmpfs", "zram"), default="loop")
    p.add_argument("--against")
    p.add_argument("--results")
    options = p.parse_args()
    if options.help:
        print(head())
        raise SystemExit(0)
    options.jobs = options.jobs or (QUICK if options.quick else ALL)
    options.pairs = options.pairs or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 1)
    for given, known in ((options.legs, ("disk", "ram")), (options.jobs, ALL),
                         (options.servers, peers_servers.ALL)):
        for name in given:
            if name not in known:
                p.error("%s: not one of %s" % (name, ", ".join(known)))
    if options.pairs < 1 or not 0 < options.seconds <= 60:
        p.error("--pairs and --seconds must be above 0, S at most 60")
    options.top = os.path.abspath(
        os.environ.get("abs_top_builddir")
        or os.path.join(os.path.dirname(__file__), ".."))
    options.plugin = os.environ.get("plugin") or os.path.join(
        options.top, "plugin/.libs/nbdkit-mdbitmap-plugin.so")
    options.mdbitmap = os.environ.get("MDBITMAP") or os.path.join(
        options.top, "tools/mdbitmap")
    options.results = options.results or os.path.join(
        options.top, "bench/results")
    if options.against:
        after = "ours" if "ours" in options.servers else None
        place = options.servers.index(after) + 1 if after else 0
        options.servers.insert(place, "ours2")
    return options


def check_programs(options):
    wanted = ["fio", "nbdkit"]
    if any(name.startswith("quorum") for name in options.servers):
        wanted.append("qemu-storage-daemon")
    missing = [program for program in wanted if not machine.find(program)]
    if "fio" not in missing:
        engines = machine.run(["fio", "--enghelp"])
        missing += ["fio's %s engine" % engine for engine in
                    ("nbd", "libaio") if engine not in engines.split()]
    files = [options.plugin, options.mdbitmap,
             os.path.join(options.top, "bench/load"),
             os.path.join(options.top, "bench/mirror")]
    files += [options.against] if options.against else []
    missing += [file for file in files if not os.path.exists(file)]
    if missing:
        die("missing: %s" % ", ".join(missing))


class Bench:
    def __init__(self, options):
        self.options = options
        self.jobs = [peers_jobs.JOBS[name] for name in options.jobs
                     if name in peers_jobs.JOBS]
        self.first = [name for name in peers_cases.FIRST.values()
                      if name in options.jobs]
        self.began = time.monotonic()
        self.results = {
            "machine": machine.description(),
            "programs": ", ".join(
                machine.first_line([program, "--version"]) for program in
                ("nbdkit", "fio", "qemu-storage-daemon")
                if machine.find(program)),
            "pairs": options.pairs, "seconds": options.seconds,
            "threads": options.threads, "servers": options.servers,
            "legs": {}, "runs": [], "resync": [], "start-up": [],
            "not_measured": {},
        }

    def add(self, kind):
        def add(job, server, number, result):
            self.results["runs"].append(dict(
                result, legs=kind, job=job, server=server, round=number))
        return add

    def run_jobs(self, kind, servers):
        add = self.add(kind)
        for server in servers if self.jobs else []:
            if server.name not in peers_servers.OURS:
                server.start_steady()
        for job in self.jobs:
            turns = [server for server in servers if job.runs_on(server)]
            for number in range(self.options.pairs):
                for server in turns if number % 2 == 0 else turns[::-1]:
                    add(job.name, server.name, number, peers_jobs.measure(
                        server, job, self.options.seconds))
            self.progress(kind, job.name)
        for server in servers:
            server.stop()

    def run_first_touch(self, kind, servers):
        turns = [s for s in servers
                 if s.name in ("ours", "ours2", "quorum", "quorum-uring")]
        for server in turns if self.first else []:
            if server.name not in peers_servers.OURS:
                server.start()
        for name in self.first:
            peers_cases.first_touch(turns, self.options, self.add(kind),
                                    [name])
            self.progress(kind, name)
        for server in servers:
            server.stop()

    def run_kind(self, kind):
        options = self.options
        peers_legs.check_room(kind, options.dir, options.ram)
        legs = peers_legs.Legs(kind, options.dir, options.ram)
        self.results["legs"][kind] = legs.description()
        pair = legs.pair()
        servers = [peers_servers.make(name, pair, options)
                   for name in options.servers]
        self.run_jobs(kind, servers)
        self.run_first_touch(kind, servers)
        if "ours" not in options.servers:
            return
        mine = servers[options.servers.index("ours")]
        if "resync" in options.jobs:
            rows = self.case("resync", peers_cases.resync, mine, options)
            for row in rows or []:
                self.results["resync"].append(dict(row, legs=kind))
            self.progress(kind, "resync")
        if "balance" in options.jobs and kind == "ram":
            self.results["legs"]["limited"] = self.case(
                "balance", peers_cases.balance, mine.legs, options,
                self.add("limited"))
            self.progress(kind, "balance")

    # One that is not possible here must not spoil what was measured.
    def case(self, what, function, *arguments):
        try:
            return function(*arguments)
        except (peers_cases.NotPossible, machine.Failed) as error:
            say("%s: not measured: %s" % (what, error))
            self.results["not_measured"][what] = str(error)
            return None

    def progress(self, kind, name):
        print("\r%4.0f s: %s, %s%s" % (
            time.monotonic() - self.began, kind, name, 20 * " "),
            end="\n" if not sys.stderr.isatty() else "", file=sys.stderr,
            flush=True)

    def run(self):
        for kind in self.options.legs:
            # Its legs are given back before the next kind's are made.
            mark = len(machine.undos)
            self.run_kind(kind)
            machine.undo_until(mark)
        if "start-up" in self.options.jobs and "ours" in self.options.servers:
            self.results["start-up"] = self.case(
                "start-up", peers_cases.start_up, self.options) or []
        self.results["took_seconds"] = time.monotonic() - self.began


def main():
    options = parse()
    check_programs(options)
    machine.stop_on_signals()
    try:
        options.tmp = machine.folder(None)
        if "ram" in options.legs:
            options.ram = peers_legs.usable_ram(options.ram)
        bench = Bench(options)
        bench.run()
        peers_report.write(bench.results, options.results)
    except machine.Failed as failed:
        die(str(failed))
    finally:
        machine.undo_all()


if __name__ == "__main__":
    main()
