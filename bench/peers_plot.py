# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# For peers.py: plot.svg, bars of ours as a ratio to quorum, job by job.

import os
import subprocess

from peers_machine import environment, find, say

COLOURS = {"disk": "#4878a8", "ram": "#e0a040"}
TITLES = {"disk": "legs on the disk", "ram": "legs in RAM"}
SCRIPT = """\
set terminal svg size 900,430 font 'sans-serif,14' background rgb 'white'
set output '%(output)s'
set style data histograms
set style histogram errorbars gap 1 lw 1
set style fill solid border rgb '#404040'
set boxwidth 0.9 relative
set xtics nomirror scale 0 font ',12'
set ytics nomirror
set border 3
set grid ytics lc rgb '#d0d0d0'
set bmargin 4
set key outside top center horizontal
set yrange [0:%(top)f]
set ylabel "mdbitmap : QEMU's quorum"
set title 'Requests a second, as a ratio; median, least and greatest'
set arrow 1 from graph 0, first 1 to graph 1, first 1 nohead \\
  lc rgb '#c02020' lw 2 front
$data << EOD
%(data)s
EOD
plot %(curves)s
"""


def plot(r, folder):
    kinds = [kind for kind in COLOURS if r.medians(kind, "quorum")]
    output = os.path.join(folder, "plot.svg")
    if os.path.exists(output):
        os.unlink(output)
    if not kinds:
        return
    if not find("gnuplot"):
        say("no gnuplot: no plot.svg")
        return
    jobs = [job for job in dict.fromkeys(sum(map(r.jobs, kinds), []))
            if not job.startswith("first64M")]
    lines, top = [], 1.0
    for job in jobs:
        words = [job.replace("_", "\\n")]
        for kind in kinds:
            ratio = r.ratio(kind, job, "ours", "quorum")
            if ratio:
                top = max(top, ratio[2])
            words += ["%.4f" % x for x in ratio] if ratio else ["NaN"] * 3
        lines.append('"%s" %s' % (words[0], " ".join(words[1:])))
    curves = ["$data using %d:%d:%d:xtic(1) title '%s' lc rgb '%s'" % (
        3 * i + 2, 3 * i + 3, 3 * i + 4, TITLES[kind], COLOURS[kind])
        for i, kind in enumerate(kinds)]
    script = SCRIPT % {"output": output.replace("'", "''"),
                       "top": 1.15 * top,
                       "data": "\n".join(lines), "curves": ", ".join(curves)}
    done = subprocess.run(["gnuplot"], input=script, text=True,
                          capture_output=True, env=environment())
    if done.returncode:
        say("no plot.svg: gnuplot: " + done.stderr.strip())
