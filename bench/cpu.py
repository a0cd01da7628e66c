"""CPU spent by processes, from the operating system's accounting.

The kernel keeps one clock per process (all its threads, also those that have ended, user and
system time together). ``/proc/PID/stat`` shows the same sum in ticks of 10 ms, which is a
noticeable error on a run of a second; the clock itself is exact to the nanosecond.

Contract: called from the bench, never blocks. A process tree must keep its processes between two
readings: one that died took its time with it, so ``spent`` raises instead of reporting too little.
Limits: time the host takes from a virtual machine is counted as ours.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ENGINE_TITLE = re.compile(r"^\S+: engine\b")  # process titles read "PROGRAM: ROLE ..."
WORKER_TITLE = re.compile(r"^\S+: worker\b")


class TreeChanged(Exception):
    """A process of a measured tree ended or appeared during a run: its figures mean nothing."""


@dataclass(frozen=True)
class Usage:
    """Seconds of CPU, the scan engine apart from everything else of the same program."""

    gateway: float
    engine: float


@dataclass(frozen=True)
class Reading:
    """CPU clocks of one tree at one moment: pid -> (is the engine, seconds)."""

    clocks: dict[int, tuple[bool, float]]

    def spent(self, later: "Reading", *, grows: bool = False) -> Usage:
        """What was used between this reading and a later one; processes of a tree that ``grows``
        may have been born meanwhile, and count from their birth.
        """
        gone = sorted(self.clocks.keys() - later.clocks.keys())
        new = sorted(later.clocks.keys() - self.clocks.keys())
        if gone or (new and not grows):
            raise TreeChanged(f"processes changed during the run: ended {gone}, new {new}")
        totals = {True: 0.0, False: 0.0}
        for pid, (is_engine, after) in later.clocks.items():
            _, before = self.clocks.get(pid, (is_engine, 0.0))
            totals[is_engine] += after - before
        return Usage(gateway=totals[False], engine=totals[True])


def process_cpu_seconds(pid: int) -> float:
    """All CPU a process has used since it started; ProcessLookupError when there is none."""
    try:
        # Linux: the CPU clock of process PID is ~PID << 3 | CPUCLOCK_SCHED (clock_getcpuclockid).
        return time.clock_gettime((~pid << 3) | 2)
    except OSError as error:
        raise ProcessLookupError(pid) from error


def title_of(pid: int) -> str:
    """The process title as ``ps`` shows it, or an empty string."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()


def tree_of(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def read_tree(pid: int) -> Reading:
    """The CPU clocks of a process and all its descendants now."""
    clocks: dict[int, tuple[bool, float]] = {}
    for process in tree_of(pid):
        try:
            seconds = process_cpu_seconds(process.pid)
        except ProcessLookupError:
            continue
        clocks[process.pid] = (bool(ENGINE_TITLE.match(title_of(process.pid))), seconds)
    return Reading(clocks)


def busiest_worker(pid: int) -> int:
    """The worker of a tree that has used most CPU; LookupError when there is no worker."""
    workers = [p.pid for p in tree_of(pid) if WORKER_TITLE.match(title_of(p.pid))]
    if not workers:
        raise LookupError(f"no process titled 'PROGRAM: worker …' below pid {pid}")
    return max(workers, key=process_cpu_seconds)


def machine_busy_seconds() -> float:
    """CPU seconds all processors have spent on programs or lost to the host since boot."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _, _, _, _, steal = (int(field) for field in fields[1:9])
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK")
