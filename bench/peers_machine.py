# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# For peers.py: programs, processes, processors, and what is undone at the end.
#
# Everything that outlives a process (folders, control groups) is undone by
# undo_all, in the reverse order.  Servers die with us even if we are killed.

import ctypes
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
PR_SET_PDEATHSIG = 1
CLIENT_SECONDS = 120  # fio may wait for ever if the server has died
TICKS = os.sysconf("SC_CLK_TCK")
libc = ctypes.CDLL(None)
undos = []


def die(text):
    raise SystemExit("peers: " + text)


def say(text=""):
    print(text, flush=True)


def undo_later(function, *arguments):
    undos.append((function, arguments))


def undo_all():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    undo_until(0)


def undo_until(mark):
    while len(undos) > mark:
        function, arguments = undos.pop()
        try:
            function(*arguments)
        except OSError as error:
            print("peers: %s" % error, file=sys.stderr)


def stop_on_signals():
    def stop(number, frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def folder(where):
    path = tempfile.mkdtemp(prefix="mdbitmap-peers.", dir=where)
    undo_later(shutil.rmtree, path, True)
    return path


# ---- programs ----


def environment():
    return dict(os.environ, PATH=PATH, LC_ALL="C")


def find(program):
    return shutil.which(program, path=PATH)


def run(command):
    done = subprocess.run(command, env=environment(), text=True,
                          capture_output=True)
    if done.returncode:
        die("%s: exit status %d\n%s%s" % (
            " ".join(command), done.returncode, done.stdout[-2000:],
            done.stderr[-2000:]))
    return done.stdout


def first_line(command):
    done = subprocess.run(command, env=environment(), text=True,
                          capture_output=True)
    return (done.stdout or done.stderr).split("\n")[0].strip()


class Failed(Exception):
    """A measurement failed; perhaps the server has died."""


# What the client says of itself, and the seconds of processor that it used.
def client(command, join=None):
    process = subprocess.Popen(
        command, env=environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: in_child(join))
    try:
        out, err = process.communicate(timeout=CLIENT_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed("%s: no end in %d s" % (command[0], CLIENT_SECONDS))
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise Failed("%s: exit status %d\n%s%s" % (
            " ".join(command), process.returncode, out[-1000:], err[-1000:]))
    # fio has a few words before its figures.
    return json.loads(out[out.index("{"):])


def in_child(join=None):
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if join:
        with open(join + "/cgroup.procs", "w") as f:
            f.write("0")


def start(command, log, join=None):
    with open(log, "w") as stderr:
        return subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=stderr,
            preexec_fn=lambda: in_child(join))


def tail(path):
    with open(path) as f:
        return f.read()[-2000:]


# Until a server says hello on its socket; its process may die before.
def wait_for_hello(process, path, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Failed("a server did not start:\n" + tail(log))
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(path)
                s.settimeout(seconds)
                if s.recv(8, socket.MSG_WAITALL) == b"NBDMAGIC":
                    return
            except OSError:
                pass
        time.sleep(0.002)
    raise Failed("a server does not answer:\n" + tail(log))


# ---- processors ----


# Seconds that a process has used, its threads that have ended as well; the
# kernel's clock for it, which is finer than the ticks in /proc.
def used_by(pid):
    return time.clock_gettime((~pid << 3) | 2)


def memory_of(pid):
    with open("/proc/%d/status" % pid) as f:
        fields = dict(line.split(":", 1) for line in f)
    return {name: int(fields[name].split()[0]) * 1024
            for name in ("VmRSS", "VmHWM")}


# Seconds that threads of the kernel have used: they work for us, too.
def used_by_kernel_threads():
    ticks = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[6]) & 0x00200000:  # PF_KTHREAD
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def used_by_all():
    with open("/proc/stat") as f:
        times = [int(word) for word in f.readline().split()[1:9]]
    user, nice, system, _, _, _, _, steal = times
    return (user + nice + system + steal) / TICKS


def used_by_clients():
    times = os.times()
    return (times.user + times.system + times.children_user
            + times.children_system)


class Processors:
    """What the server used, and which share of all the processors others,
    from now on until stop."""

    def __init__(self, pid):
        self.pid = pid
        self.then = self.now()

    def now(self):
        return {
            "time": time.monotonic(),
            "server": used_by(self.pid) if self.pid else 0.0,
            "clients": used_by_clients(),
            "kernel": used_by_kernel_threads(),
            "all": used_by_all(),
        }

    def stop(self):
        now = self.now()
        d = {name: now[name] - self.then[name] for name in now}
        others = d["all"] - d["server"] - d["clients"] - d["kernel"]
        return {
            "server": d["server"],
            "others": max(0, others / (d["time"] * os.cpu_count())),
        }


def description():
    model = ""
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip() + ", "
                break
    return "%s, %s%d processors, Linux %s" % (
        platform.machine(), model, os.cpu_count(), platform.release())
