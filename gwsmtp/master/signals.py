"""The master's signals: one table, from which help, man page and tests are made, and their queue.

A handler only records; the master's loop wakes up, takes the queue and calls ``Master.<handler>``.
So no handler runs in the middle of anything.
"""

import collections
import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One signal: what an administrator reads, and the method of Master that does it."""

    signum: signal.Signals
    does: str
    handler: str

    @property
    def name(self) -> str:
        """As ``kill`` knows it: TERM."""
        return self.signum.name.removeprefix("SIG")


SIGNALS = (
    SignalRow(
        signal.SIGHUP,
        "reload: read and check the file, start new workers, let the old ones drain; a file with "
        "problems changes nothing; ends what WINCH began",
        "handle_reload",
    ),
    SignalRow(
        signal.SIGTERM,
        "drain, then stop: sessions may finish, at most workers.drain_timeout; a second one stops",
        "handle_term",
    ),
    SignalRow(signal.SIGINT, "stop now", "handle_stop"),
    SignalRow(signal.SIGQUIT, "stop now", "handle_stop"),
    SignalRow(signal.SIGUSR1, "reopen the log file (after logrotate)", "handle_reopen"),
    SignalRow(signal.SIGUSR2, "reserved for the hot upgrade; logged, no effect", "handle_upgrade"),
    SignalRow(signal.SIGTTIN, "one worker more, until the next reload", "handle_more"),
    SignalRow(
        signal.SIGTTOU, "one worker less, but never none, until the next reload", "handle_less"
    ),
    SignalRow(
        signal.SIGWINCH,
        "stop accepting until HUP: sessions go on, new clients wait in the listener's backlog; no "
        "effect in the foreground of a terminal, whose resizing sends it",
        "handle_hold",
    ),
)

IGNORED = (signal.SIGPIPE,)

QUEUED = (*(row.signum for row in SIGNALS), signal.SIGCHLD)
"""What is blocked around a fork, so that a child's handlers are in place before the first one."""

Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


class SignalQueue:
    """Collects signals from ``open`` to ``close`` and lets the loop sleep until one comes."""

    def __init__(self) -> None:
        self._queue: collections.deque[int] = collections.deque()
        self._before: dict[int, Handler] = {}
        self._wakeup_before = -1
        self._read_fd, self._write_fd = -1, -1
        self._poll = select.poll()

    def open(self) -> None:
        """Takes over the signals of this process."""
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._read_fd, select.POLLIN)
        self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for signum in QUEUED:
            self._before[signum] = signal.signal(signum, self._record)
        for signum in IGNORED:
            self._before[signum] = signal.signal(signum, signal.SIG_IGN)

    def _record(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self._queue.append(signum)

    def wait(self, timeout_s: float) -> None:
        """Blocks until a signal has come or the time is over."""
        if not self._queue and self._poll.poll(max(timeout_s, 0) * 1000):
            try:
                os.read(self._read_fd, 4096)
            except BlockingIOError:
                pass

    def take(self) -> list[int]:
        """The signals since the last call, oldest first."""
        taken = []
        while self._queue:
            taken.append(self._queue.popleft())
        return taken

    def close(self) -> None:
        """Gives the signals back; idempotent."""
        if self._read_fd < 0:
            return
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._read_fd)
        os.close(self._write_fd)
        self._read_fd = self._write_fd = -1


def is_on_terminal() -> bool:
    """Whether we are what a terminal's window sends its signals to."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(fd)
