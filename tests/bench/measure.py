"""Clocks, process trees and tables."""

import os
import platform
import re
import statistics
import subprocess
import threading
import time
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def machine(binary):
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return (
        f"{os.cpu_count()} x {cpu.group(1) if cpu else platform.machine()}, {int(memory.group(1)) >> 20} GiB, "
        f"Linux {platform.release()}; {version(binary, '--version')}; {version('git', '--version')}; "
        f"{version('ssh', '-V')}; Python {platform.python_version()}"
    )


def version(*command):
    """The first line that a program says of itself."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return f"{command[0]} (absent)"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else command[0]


def timed(action):
    start = time.monotonic()
    action()
    return time.monotonic() - start


def parents():
    """pid -> parent, of everything that runs."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(int(entry))
            if fields:
                found[int(entry)] = int(fields[1])
    return found


def stat_fields(pid):
    """The fields of /proc/PID/stat from the state on; None when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except (OSError, IndexError):
        return None


def tree(root):
    """The process and all that it has started and that still runs."""
    up = parents()
    found, grew = {root}, True
    while grew:
        more = {pid for pid, parent in up.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found


def cpu_s(root):
    """CPU seconds of a process tree, with what was reaped of it, in steps of 10 ms."""
    total = 0
    for pid in tree(root):
        fields = stat_fields(pid)
        if fields:
            total += sum(int(ticks) for ticks in fields[11:15])
    return total * TICK_S


def run_time_ns(pids):
    """CPU nanoseconds of these processes' threads, exact, without their children."""
    total = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(file.read_text().split()[0])
            except OSError:
                pass
    return total


def pss_kib(pids):
    total = 0
    for pid in pids:
        try:
            total += int(re.search(r"^Pss:\s*(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return total


def anonymous_kib(pids):
    total = 0
    for pid in pids:
        try:
            total += int(re.search(r"^RssAnon:\s*(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return total


class AnonymousPeak:
    """`with AnonymousPeak(pid) as peak:` looks at the process tree's anonymous memory every 20 ms."""

    EVERY_S = 0.02

    def __init__(self, root):
        self.root, self.kib, self.done = root, 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def _look(self):
        while True:
            self.kib = max(self.kib, anonymous_kib(tree(self.root)))
            if self.done.wait(self.EVERY_S):
                return


def ms(seconds):
    return cell([s * 1000 for s in seconds], "ms")


def cell(values, unit, digits=None):
    """`12 (11-14) ms`"""
    if not values:
        return "-"
    digits = digits if digits is not None else (0 if statistics.median(values) >= 100 else 1)
    spread = f" ({min(values):.{digits}f}-{max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.{digits}f}{spread} {unit}"


def ratio(ours, theirs):
    if not ours or not theirs or not statistics.median(theirs):
        return "-"
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}x"


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(column) for column in row) + " |")
    print(flush=True)
