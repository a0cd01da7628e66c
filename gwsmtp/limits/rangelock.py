"""The one admission lock: a byte range of the table's file that the kernel frees with its holder.

An open file description lock (``fcntl(2)``, F_OFD_SETLK) belongs to the description, so each
process must have opened the table itself after its fork. Within a process it excludes nobody:
whoever holds it must not wait and must not let another greenlet run. ``hold`` and ``release`` are
two system calls, about 2 µs together.

Another process inside these few lines is gone in microseconds, so ``hold`` tries again twenty times
and then sleeps a millisecond a time by the ``sleep`` it was given: a worker's greenlet sleeps, and
heartbeats go on whoever holds the lock, be it stopped.

Limits: not fair; who waits longest may wait longer. A stopped holder stops admissions until the
master ends it (``keeper``).
"""

import errno
import fcntl
import struct
from collections.abc import Callable
from typing import Final

from gwsmtp.base.errors import TableError
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import CONTROL, SLOT_COUNT, Control
from gwsmtp.limits.undo import is_half_made, undo

Sleep = Callable[[float], object]
"""Waits that many seconds and lets others run."""

OUTSIDER: Final = SLOT_COUNT
"""What a master or a tool holds the lock as: no slot of its own."""

_TRIES: Final = 20
_HOLDER: Final = CONTROL + Control.LOCK_HOLDER
_PAUSE_S: Final = 0.001
_SETLK: Final = fcntl.F_OFD_SETLK
_BUSY: Final = frozenset({errno.EAGAIN, errno.EACCES})
# struct flock: type, whence, start, length, pid (0 for this kind of lock)
_LOCK: Final = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 1, 0)
_UNLOCK: Final = struct.pack("hhqqi", fcntl.F_UNLCK, 0, 0, 1, 0)


class RangeLock:
    """The admission lock as one process takes it. ``waits`` counts holds that had to sleep."""

    __slots__ = ("_fd", "_name", "_sleep", "_words", "waits")

    def __init__(self, table: Table, slot_index: int, sleep: Sleep) -> None:
        self._fd = table.fd
        self._words = table.words
        self._name = slot_index + 1
        self._sleep = sleep
        self.waits = 0

    def try_hold(self, tries: int = _TRIES) -> bool:
        """Takes the lock unless another process keeps it; never sleeps."""
        while True:
            try:
                fcntl.fcntl(self._fd, _SETLK, _LOCK)
            except OSError as error:
                if error.errno not in _BUSY:
                    reason = f"the table's lock is not to be had: {error.strerror}"
                    raise TableError(reason) from error
            else:
                self._words[_HOLDER] = self._name
                if is_half_made(self._words):
                    undo(self._words)
                return True
            tries -= 1
            if not tries:
                return False

    def hold(self, patience_s: float = float("inf")) -> None:
        """Takes the lock; may sleep before it has it, never after.

        Raises TableError when others have it for ``patience_s`` seconds of sleeping.
        """
        if self.try_hold():
            return
        self.waits += 1
        slept = 0.0
        while slept < patience_s:
            self._sleep(_PAUSE_S)
            slept += _PAUSE_S
            if self.try_hold(1):  # a thousand greenlets may wait: twenty tries each burn the CPU
                return
        raise TableError(f"the table's lock was held for {slept:.3f} s by another")

    def release(self) -> None:
        """Lets go."""
        self._words[_HOLDER] = 0
        fcntl.fcntl(self._fd, _SETLK, _UNLOCK)

    def __enter__(self) -> None:
        self.hold()

    def __exit__(self, *exc: object) -> None:
        self.release()


def holder(table: Table) -> int | None:
    """Index of the slot whose child says that it holds the lock, or held it when it died; None:
    nobody, an outsider, or one that has not said so yet.
    """
    name: int = table.words[_HOLDER]
    return name - 1 if 0 < name <= SLOT_COUNT else None
