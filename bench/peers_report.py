# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# For peers.py: tables (text and Markdown), results.json, plot.svg.

import json
import math
import os
import statistics

import peers_plot
from peers_jobs import JOBS

EXTRA = {
    "first_q1": "first touch of 64K chunks, depth 1",
    "first_q32": "first touch of 64K chunks, depth 32",
    "first64M_q1": "the same writes, 64M chunks, depth 1",
    "first64M_q32": "the same writes, 64M chunks, depth 32",
}
WHAT = dict({job.name: job.what for job in JOBS.values()}, **EXTRA)
AT_DEPTH = ("w4k_q16", "w4k_q32", "w4k_q16_c4", "w4k_q32_c4")


class Results:
    """What was measured, by legs, job, server and round."""

    def __init__(self, results):
        self.results = results
        self.runs = {}
        for run in results["runs"]:
            key = (run["legs"], run["job"], run["server"])
            self.runs.setdefault(key, {})[run["round"]] = run

    def jobs(self, legs):
        return [name for name in WHAT
                if any(key[:2] == (legs, name) for key in self.runs)]

    def servers(self, legs):
        found = {key[2] for key in self.runs if key[0] == legs}
        return [name for name in self.results["servers"] if name in found]

    # Median, least, greatest of the rounds' ratios; None without any.
    def ratio(self, legs, job, one, other, field="iops"):
        a = self.runs.get((legs, job, one), {})
        b = self.runs.get((legs, job, other), {})
        ratios = [a[i][field] / b[i][field] for i in a
                  if i in b and a[i].get(field) and b[i].get(field)]
        if not ratios:
            return None
        return statistics.median(ratios), min(ratios), max(ratios)

    def median(self, legs, job, server, field="iops"):
        rounds = self.runs.get((legs, job, server), {}).values()
        values = [run[field] for run in rounds if field in run]
        return statistics.median(values) if values else None

    # What others used of the processors: median, most.
    def others(self, legs, job):
        values = [run["others"] for key, rounds in self.runs.items()
                  if key[:2] == (legs, job) for run in rounds.values()
                  if "others" in run]
        return (statistics.median(values), max(values)) if values else None

    # The medians of all the jobs against one peer.
    def medians(self, legs, other, one="ours"):
        found = {job: self.ratio(legs, job, one, other) for job in JOBS}
        return {job: ratio[0] for job, ratio in found.items() if ratio}


def geomean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


# ---- the bars ----


# (what, measured or None, at least or at most, limit)
def bars(r):
    found = []

    def bar(what, value, limit, most=False, unit=""):
        met = None
        if value is not None:
            met = value <= limit if most else value >= limit
        found.append({"what": what, "measured": value, "limit": limit,
                      "most": most, "unit": unit, "met": met})

    def first(ratio):
        return ratio[0] if ratio else None

    for legs, all_jobs, least, cpu in (("disk", 1.15, 0.9, 1.05),
                                       ("ram", 1.4, 0.95, 0.85)):
        if legs not in r.results["legs"]:
            continue
        ratios = r.medians(legs, "quorum")
        bar("%s legs, geometric mean of %d jobs, of quorum" % (
            legs, len(ratios)),
            geomean(ratios.values()) if ratios else None, all_jobs)
        bar("%s legs, least job%s, of quorum" % (
            legs, " (%s)" % min(ratios, key=ratios.get) if ratios else ""),
            min(ratios.values()) if ratios else None, least)
        if legs == "disk":
            for job in ("fsync1", "fua_q1"):
                bar("disk legs, %s, of quorum" % job, ratios.get(job), 1.25)
        bar("%s legs, processor time for a write at depth 32, of quorum's"
            % legs, first(r.ratio(legs, "w4k_q32", "ours", "quorum",
                                  "cpu_us")), cpu, True)
        for job, limit in (("first_q1", 0.5), ("first_q32", 0.7)):
            bar("%s legs, %s, of quorum" % (legs, WHAT[job]),
                first(r.ratio(legs, job, "ours", "quorum")), limit)
    if "disk" in r.results["legs"]:
        ratios = r.medians("disk", "mirror")
        deep = [ratios[job] for job in AT_DEPTH if job in ratios]
        bar("disk legs, 4k writes at depth 16 and more, least, of the mirror "
            "by hand", min(deep) if deep else None, 0.85)
    bar("reads from two limited legs, of one such leg",
        first(r.ratio("limited", "balance", "ours", "one leg")), 1.7)
    other_bars(r, bar)
    return found


def seconds_by_percent(r, legs):
    rows = {}
    for row in r.results["resync"]:
        if row["legs"] == legs:
            rows.setdefault(row["percent"], []).append(row)
    return rows


def other_bars(r, bar):
    huge = [row["seconds"] for row in r.results["start-up"]
            if row["chunk"] == "64K"]
    bar("start-up of 16 TiB with 64K chunks",
        statistics.median(huge) if huge else None, 1.0, True, " s")
    for legs in ("disk", "ram"):
        rows = seconds_by_percent(r, legs)
        if not {10, 100} <= set(rows):
            continue
        cost = {percent: statistics.median(
            row["seconds"] / row["marked"] for row in rows[percent])
            for percent in (10, 100)}
        # Proportional: a chunk costs the same, however many there are, but
        # for the start, and for seeks between them.
        bar("%s legs, resync: a chunk of 10 %% costs, of one of 100 %%" % legs,
            cost[10] / cost[100], 2.0, True)


# ---- tables ----


def spread(ratio):
    if not ratio:
        return "-"
    if ratio[1] == ratio[2]:
        return "%.2f" % ratio[0]
    return "%.2f (%.2f to %.2f)" % ratio


def number(value, digits=0):
    return "-" if value is None else "{:,.{}f}".format(value, digits)


def shares(values):
    if not values:
        return "-"
    return "%.0f %% (%.0f %%)" % (100 * values[0], 100 * values[1])


# Rows of words; the first column to the left, the others to the right.
def as_text(title, rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [title]
    for row in rows:
        words = [row[0].ljust(widths[0])]
        words += [word.rjust(width) for word, width in
                  zip(row[1:], widths[1:])]
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines) + "\n"


def as_markdown(title, rows):
    lines = ["**%s**\n" % title, "| %s |" % " | ".join(rows[0]),
             "|---|" + "---:|" * (len(rows[0]) - 1)]
    lines += ["| %s |" % " | ".join(row) for row in rows[1:]]
    return "\n".join(lines) + "\n"


def ratios_table(r, legs):
    peers = [s for s in r.servers(legs) if s != "ours"]
    # The peer that counts comes first.
    peers.sort(key=lambda name: name != "quorum")
    rows = [["job"] + ["of " + peer for peer in peers]
            + ["CPU of quorum's", "others"]]
    for job in r.jobs(legs):
        rows.append(
            [WHAT[job]]
            + [spread(r.ratio(legs, job, "ours", peer)) for peer in peers]
            + [spread(r.ratio(legs, job, "ours", "quorum", "cpu_us")),
               shares(r.others(legs, job))])
    return "%s: ours as a ratio" % r.results["legs"][legs], rows


def absolute_table(r, legs):
    servers = r.servers(legs)
    rows = [["job"] + servers
            + [s + " us CPU" for s in servers if s not in ("raw", "mirror")]]
    for job in r.jobs(legs):
        rows.append(
            [job] + [number(r.median(legs, job, s)) for s in servers]
            + [number(r.median(legs, job, s, "cpu_us"), 1)
               for s in servers if s not in ("raw", "mirror")])
    return ("%s: requests a second, and the server's processor time for one "
            "(medians)" % r.results["legs"][legs]), rows


def balance_table(r):
    rows = [["4k reads, depth 32", "requests a second"]]
    for who in ("one leg", "ours"):
        rows.append([who, number(r.median("limited", "balance", who))])
    rows.append(["ratio", spread(r.ratio("limited", "balance", "ours",
                                         "one leg"))])
    return "two legs of limited speed: %s" % r.results["legs"]["limited"], rows


def median(rows, field):
    return statistics.median(row[field] for row in rows)


def resync_table(r):
    rows = [["legs, chunks written", "marked", "MiB compared", "MiB written",
             "seconds", "ms a chunk"]]
    for legs in ("disk", "ram"):
        for share, found in seconds_by_percent(r, legs).items():
            rows.append([
                "%s, %g %%" % (legs, share), number(median(found, "marked")),
                number(median(found, "bytes_compared") / 2**20, 1),
                number(median(found, "bytes_written") / 2**20, 1),
                "%.3f" % median(found, "seconds"),
                "%.3f" % (1000 * median(found, "seconds")
                          / median(found, "marked"))])
    return "resync after kill -9, from exec to its end", rows


def start_up_table(r):
    rows = [["chunks", "seconds until it answers", "until a first read",
             "to stop", "resident MiB", "at most"]]
    for chunk in ("64K", "64M"):
        found = [row for row in r.results["start-up"] if row["chunk"] == chunk]
        if not found:
            continue
        rows.append([
            chunk, "%.3f" % median(found, "seconds"),
            "%.3f" % median(found, "seconds_to_first_read"),
            "%.3f" % median(found, "seconds_to_stop"),
            number(median(found, "resident_bytes") / 2**20, 1),
            number(median(found, "resident_peak_bytes") / 2**20, 1)])
    return "start-up of 16 TiB, sparse, clean", rows


def bars_table(r):
    rows = [["bar", "measured", "wanted", ""]]
    for b in r.results["bars"]:
        measured = "-"
        if b["measured"] is not None:
            measured = "%.2f%s" % (b["measured"], b["unit"])
        rows.append([
            b["what"], measured,
            "%s %.2f%s" % ("<=" if b["most"] else ">=", b["limit"], b["unit"]),
            {None: "not measured", True: "met", False: "NOT MET"}[b["met"]]])
    return "bars", rows


def tables(r):
    for legs in ("disk", "ram"):
        if r.jobs(legs):
            yield ratios_table(r, legs)
            yield absolute_table(r, legs)
    if ("limited", "balance", "ours") in r.runs:
        yield balance_table(r)
    if r.results["resync"]:
        yield resync_table(r)
    if r.results["start-up"]:
        yield start_up_table(r)
    yield bars_table(r)


def head(results):
    lines = [
        results["machine"], results["programs"],
        "nbdkit -t %d; rounds: %d, of %g s for each server; %.0f s in all" % (
            results["threads"], results["pairs"], results["seconds"],
            results["took_seconds"]),
        "ratios: median of the rounds (least to greatest); others: what "
        "others used of the processors meanwhile, median (most)"]
    lines += ["%s: not measured: %s" % item
              for item in results["not_measured"].items()]
    return lines


def write(results, folder):
    r = Results(results)
    results["bars"] = bars(r)
    os.makedirs(folder, exist_ok=True)
    text = "\n".join(head(results)) + "\n\n"
    text += "\n".join(as_text(*table) for table in tables(r))
    markdown = "  \n".join(head(results)) + "\n\n"
    markdown += "\n".join(as_markdown(*table) for table in tables(r))
    for name, what in (("table.txt", text), ("table.md", markdown),
                       ("results.json", json.dumps(results, indent=1) + "\n")):
        with open(os.path.join(folder, name), "w") as f:
            f.write(what)
    print(text, end="", flush=True)
    peers_plot.plot(r, folder)
    print("\nthis is in %s" % folder)
