"""Who keeps the admission lock? Asked by masters when nobody else gets it.

The kernel knows: ``/proc/PID/fdinfo`` shows the locks of each open file description. The name that
a holder writes beside the lock (``rangelock.holder``) only says whom to look at first: a process
that is stopped returns from the system call that gave it the lock when it is continued, so that
just the one that matters may not have written it yet, and a dead one's name may still stand there.

Reads /proc, some ms; used only while somebody keeps the lock. Who may not look into a process
(a master that is not root) finds nothing there.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from gwsmtp.base import procid
from gwsmtp.base.procid import ProcessId
from gwsmtp.limits.arena import Table
from gwsmtp.limits.rangelock import holder
from gwsmtp.limits.slots import read_slots


def find_keeper(table: Table) -> ProcessId | None:
    """The process that has the lock this very moment, by (pid, start ticks); None: nobody, or
    nobody we may look at.
    """
    inode = os.fstat(table.fd).st_ino
    for pid in _suspects(table):
        ticks = procid.start_ticks(pid)
        if ticks and _has_lock(pid, inode) and procid.is_alive(pid, ticks):
            return pid, ticks
    return None


def _suspects(table: Table) -> Iterator[int]:
    """All processes but ourselves: the named one first, then those with slots."""
    views = read_slots(table)
    named = holder(table)
    views.sort(key=lambda view: view.index != named)
    known = [view.pid for view in views if view.pid]
    yield from known
    apart = {*known, os.getpid()}
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) not in apart:
            yield int(name)


def _has_lock(pid: int, inode: int) -> bool:
    """Whether one of the process's open files locks octets of the file ``inode``."""
    folder = f"/proc/{pid}/fdinfo"
    try:
        numbers = sorted(map(int, os.listdir(folder)))
    except OSError:
        return False
    return any(_locks(Path(folder, str(number)), inode) for number in numbers)


def _locks(file: Path, inode: int) -> bool:
    # lock:	1: OFDLCK ADVISORY  WRITE -1 fe:00:2146561 0 0
    try:
        lines = file.read_text("ascii").splitlines()
    except OSError:
        return False
    return any(
        line.startswith("lock:") and "OFDLCK" in line and f":{inode} " in line for line in lines
    )
