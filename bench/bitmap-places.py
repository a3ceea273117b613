# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The figures of bitmap-places.sh: see there.
#
#   foreign                      how busy the processors are, in per cent
#   run FILE KIND DEPTH ROUND MODE PHASE
#                                what fio said in FILE, as a line of JSON
#   report FOLDER RESULTS DELAY PROGRAMS
#                                a table on stdout, the rest in RESULTS

import json
import os
import platform
import statistics
import sys
import time

CHUNK = 65536
MODES = ["internal", "extent", "direct", "pagecache", "none"]
PHASES = {"first": "first touch", "steady": "steady"}
KINDS = {"slow": "legs whose writes take %s longer", "disk": "legs on the disk"}
BAR = 1.8


def foreign():
    def jiffies():
        with open("/proc/stat") as stat:
            times = [int(word) for word in stat.readline().split()[1:9]]
        return sum(times), times[3] + times[4]

    all0, idle0 = jiffies()
    time.sleep(0.4)
    all1, idle1 = jiffies()
    busy = 1 - (idle1 - idle0) / max(all1 - all0, 1)
    print("%.0f" % (100 * busy))


def run(file, kind, depth, round, mode, phase):
    with open(file) as f:
        job = json.load(f)["jobs"][0]
    write = job["write"]
    if job["error"] != 0:
        sys.exit("fio: error %d" % job["error"])
    percentile = write["clat_ns"]["percentile"]
    print(
        json.dumps(
            {
                "legs": kind,
                "depth": int(depth),
                "round": int(round),
                "mode": mode,
                "phase": phase,
                "writes": write["total_ios"],
                "iops": round_to(write["iops"], 1),
                "p50_us": round_to(percentile["50.000000"] / 1000, 1),
                "p99_us": round_to(percentile["99.000000"] / 1000, 1),
            }
        )
    )


def round_to(x, digits):
    return float("%.*f" % (digits, x))


def read_lines(path):
    with open(path) as f:
        return [line for line in f.read().splitlines() if line]


def summary(values, digits):
    return {
        "median": round_to(statistics.median(values), digits),
        "least": round_to(min(values), digits),
        "greatest": round_to(max(values), digits),
    }


# One entry for each kind of legs, depth, phase and mode.
def summarize(runs):
    by_round = {}
    for r in runs:
        key = (r["legs"], r["phase"], r["depth"], r["mode"])
        by_round.setdefault(key, {})[r["round"]] = r
    entries = []
    for key, rounds in by_round.items():
        legs, phase, depth, mode = key
        internal = by_round[legs, phase, depth, "internal"]
        ratios = [r["iops"] / internal[i]["iops"] for i, r in rounds.items()]
        latencies = [internal[i]["p50_us"] / r["p50_us"]
                     for i, r in rounds.items()]
        rows = list(rounds.values())
        entries.append(
            {
                "legs": legs,
                "phase": phase,
                "depth": depth,
                "mode": mode,
                "iops": summary([r["iops"] for r in rows], 1),
                "ratio_to_internal": summary(ratios, 3),
                "p50_ratio_to_internal": summary(latencies, 3),
                "p50_us": statistics.median(r["p50_us"] for r in rows),
                "p99_us": statistics.median(r["p99_us"] for r in rows),
            }
        )
    return entries


def read_counted(path):
    pages, calls = [], {}
    for line in read_lines(path):
        what, mode, *rest = line.split()
        if what == "pages":
            depth, n, rounds, written = map(int, rest)
            pages.append(
                {
                    "mode": mode,
                    "depth": depth,
                    "bitmap_rounds": round_to(1000 * rounds / n, 1),
                    "bitmap_pages": round_to(1000 * written / n, 1),
                }
            )
        else:
            phase, n, call, made = rest
            calls.setdefault(mode, {}).setdefault(phase, {})[call] = round_to(
                1000 * int(made) / int(n), 1
            )
    return {"per_1000_first_touches": pages, "calls_per_1000_writes": calls}


def print_times(results, delay):
    entries = results["times"]
    for kind in KINDS:
        for phase in PHASES:
            rows = [
                e for e in entries if e["legs"] == kind and e["phase"] == phase
            ]
            if not rows:
                continue
            legs = KINDS[kind] % delay if "%" in KINDS[kind] else KINDS[kind]
            print("\n%s, %s" % (PHASES[phase], legs))
            print("%-10s %5s %9s  %-22s %8s %8s  %s" % (
                "bitmap", "depth", "writes/s", "of internal", "p50 us",
                "p99 us", "faster than internal, p50"))
            for e in rows:
                print("%-10s %5d %9.0f  %-22s %8.0f %8.0f  %s" % (
                    e["mode"], e["depth"], e["iops"]["median"],
                    spread(e["ratio_to_internal"]), e["p50_us"], e["p99_us"],
                    spread(e["p50_ratio_to_internal"])))


def spread(ratio):
    return "%.2f (%.2f to %.2f)" % (
        ratio["median"], ratio["least"], ratio["greatest"])


def print_counted(counted):
    print("\ncounted, of 1000 first touches: rounds of the bitmap, and its")
    print("pages written to each copy")
    print("%-10s %5s %9s %9s" % ("bitmap", "depth", "rounds", "pages"))
    for row in counted["per_1000_first_touches"]:
        print(
            "%-10s %5d %9.0f %9.0f"
            % (row["mode"], row["depth"], row["bitmap_rounds"],
               row["bitmap_pages"])
        )
    print("\ncounted, of 1000 writes at depth 1: system calls")
    names = sorted(
        {
            name
            for phases in counted["calls_per_1000_writes"].values()
            for calls in phases.values()
            for name in calls
        }
    )
    print("%-10s %-12s" % ("bitmap", "") + "".join("%13s" % n for n in names))
    for mode, phases in counted["calls_per_1000_writes"].items():
        for phase, calls in phases.items():
            print(
                "%-10s %-12s" % (mode, PHASES[phase])
                + "".join("%13.0f" % calls.get(name, 0) for name in names)
            )


def print_bar(entries):
    print()
    for e in entries:
        if (e["legs"], e["phase"], e["depth"]) != ("slow", "first", 1):
            continue
        if e["mode"] in ("internal", "none"):
            continue
        ratio = e["ratio_to_internal"]
        print(
            "first touch at depth 1 on slow legs, %s: %s of internal, by "
            "latency %s; at least %.1f wanted: %s"
            % (e["mode"], spread(ratio), spread(e["p50_ratio_to_internal"]),
               BAR, "yes" if ratio["median"] >= BAR else "NO")
        )


def plot(results, folder):
    rows = results["times"]
    panels = []
    for legs in KINDS:
        for phase in PHASES:
            if any(e["legs"] == legs and e["phase"] == phase for e in rows):
                panels.append((legs, phase))
    with open(os.path.join(folder, "plot.gnuplot"), "w") as f:
        lines = (len(panels) + 1) // 2
        f.write("set terminal svg size 900,%d\n" % (350 * lines))
        f.write("set output 'plot.svg'\nset logscale x 2\nset key top left\n")
        f.write("set yrange [0:*]\nset xlabel 'depth'\n")
        f.write("set ylabel 'writes/s'\n")
        f.write("set multiplot layout %d,2\n" % lines)
        for legs, phase in panels:
            f.write("set title '%s, %s legs'\n" % (PHASES[phase], legs))
            curves, data = [], []
            for mode in MODES:
                points = [
                    (e["depth"], e["iops"])
                    for e in rows
                    if (e["legs"], e["phase"], e["mode"]) == (legs, phase, mode)
                ]
                curves.append("'-' using 1:2:3:4 with yerrorlines title '%s'"
                              % mode)
                data += ["%d %f %f %f" % (d, i["median"], i["least"],
                                          i["greatest"]) for d, i in points]
                data.append("e")
            f.write("plot %s\n%s\n" % (", ".join(curves), "\n".join(data)))


def report(folder, results_folder, delay, programs):
    runs = [json.loads(line) for line in read_lines(folder + "/runs")]
    busy = [int(line) for line in read_lines(folder + "/foreign")]
    results = {
        "machine": "%s, %d processors, Linux %s"
        % (platform.machine(), os.cpu_count(), platform.release()),
        "programs": programs,
        "delay_of_slow_legs": delay,
        "chunk_bytes": CHUNK,
        "rounds": max(r["round"] for r in runs),
        "processors_used_by_others_percent": summary(busy, 0),
        "times": summarize(runs),
        "counted": read_counted(folder + "/counted"),
        "runs": runs,
    }
    with open(os.path.join(results_folder, "results.json"), "w") as f:
        json.dump(results, f, indent=1)
        f.write("\n")
    plot(results, results_folder)

    others = results["processors_used_by_others_percent"]
    print("%s; %s" % (results["machine"], programs))
    print(
        "4 KiB writes, each to another chunk of 64 KiB; rounds: %d"
        % results["rounds"]
    )
    print(
        "others used %.0f %% of the processors (%.0f to %.0f)"
        % (others["median"], others["least"], others["greatest"])
    )
    print_times(results, delay)
    print_counted(results["counted"])
    print_bar(results["times"])


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"foreign": foreign, "run": run, "report": report}[what](*arguments)
