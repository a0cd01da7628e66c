"""Which process is it? A pid alone is reused; a pid with its start time is one process for ever.

Reads /proc, so Linux only. None of it blocks on anything but the kernel. Called by every process.
A zombie counts as gone: it runs no more code and holds no lock, only its parent has not looked yet.
"""

import os
from pathlib import Path

ProcessId = tuple[int, int]
"""(pid, start time in clock ticks since boot)."""


def start_ticks(pid: int) -> int:
    """The start time of a living process in clock ticks since boot, 0 where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The name in parentheses may hold blanks and parentheses of its own: count from the last one.
    fields = stat[stat.rfind(b")") + 2 :].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return 0
    return int(fields[19])


def own_id() -> ProcessId:
    """The process that calls."""
    pid = os.getpid()
    return pid, start_ticks(pid)


def is_alive(pid: int, ticks: int) -> bool:
    """True while the very process named by both numbers lives."""
    return pid > 0 and ticks > 0 and start_ticks(pid) == ticks


def is_stopped(pid: int) -> bool:
    """True while a process is stopped by a signal or a tracer."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rfind(b")") + 2 :][:1] in (b"T", b"t")


def boot_id() -> bytes:
    """16 octets that change with every boot of the machine."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    return bytes.fromhex(text.strip().replace("-", ""))
