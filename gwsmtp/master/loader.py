"""The forked child that loads and checks the configuration for a reload, and its result.

Loading takes seconds for 100,000 domains and may do anything (a file system that hangs, a bug in a
library), so the master's loop goes on meanwhile. The child inherits the old configuration, decides
what of the new one may act now, and leaves the result in a memfd, which only the two of them can
see: secrets are in it. Its end is its message: exit code 0 and a readable result, or nothing
changes.

Invariants: whatever the child does, the worst is "nothing changes" and an ERROR line. It is
a process as ``aside`` makes them.
"""

import gc
import logging
import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from gwsmtp.master.aside import fork_aside
from gwsmtp.master.children import send_signal
from gwsmtp.process.context import Settings

log = logging.getLogger(__name__)

_LOAD_S = 120


@dataclass(slots=True)
class Loaded:
    """What comes of reading the file. ``config`` None: it cannot be used, ``problems`` says why.
    ``changed`` names the keys that differ, ``kept`` those of them that need a restart, which have
    their old values in ``config``.
    """

    config: Settings | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


Load = Callable[[Settings], Loaded]
"""(the configuration in effect) -> what the file says now; called in the forked child."""


class Loader:
    """The forked child that reads the file, and its result."""

    def __init__(self, load: Load, lifeline_fd: int) -> None:
        self._load = load
        self._lifeline_fd = lifeline_fd
        self._pid = 0
        self._fd = -1
        self._deadline_ms = 0

    @property
    def is_running(self) -> bool:
        """True between ``start`` and the result."""
        return self._pid > 0

    def start(self, config: Settings, log_fd: int, now_ms: int) -> None:
        """Forks. Raises OSError."""
        fd = os.memfd_create("gwsmtp-reload", os.MFD_CLOEXEC)

        def work() -> None:
            with os.fdopen(fd, "wb") as file:
                pickle.dump(self._load(config), file, pickle.HIGHEST_PROTOCOL)

        try:
            self._pid = fork_aside(
                work,
                name="reload",
                title=f"gwsmtp: loader [{config.interface.name}]",
                seconds=_LOAD_S,
                lifeline_fd=self._lifeline_fd,
                keep=(fd, log_fd),
            )
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        self._deadline_ms = now_ms + _LOAD_S * 1000

    def watch(self, now_ms: int) -> None:
        """Ends a child that takes too long; its death is then its result."""
        if self._pid and now_ms > self._deadline_ms:
            log.error("event=loader_hangs pid=%d seconds=%d", self._pid, _LOAD_S)
            self._deadline_ms = now_ms + 1000
            send_signal(self._pid, signal.SIGKILL)

    def take_result(self, ended: dict[int, int]) -> Loaded | None:
        """The result, once the child is among those that have ended; else None."""
        if self._pid not in ended:
            return None
        code, fd = ended[self._pid], self._fd
        self._pid, self._fd = 0, -1
        try:
            if code == 0:
                return _unpickled(fd)
            problem = f"the reading process ended with {code}"
        except Exception as error:  # a boundary: it was a process of its own
            problem = f"the reading process left nonsense: {type(error).__name__}"
        finally:
            os.close(fd)
        return Loaded(problems=[problem])

    def kill(self) -> None:
        """Its result is not wanted any more."""
        if self._pid:
            send_signal(self._pid, signal.SIGKILL)
            try:
                os.waitpid(self._pid, 0)
            except ChildProcessError:
                pass
            os.close(self._fd)
            self._pid, self._fd = 0, -1


def _unpickled(fd: int) -> Loaded:
    was_on = gc.isenabled()
    gc.disable()  # it would look through a million new objects for nothing
    try:
        with os.fdopen(os.dup(fd), "rb") as file:
            file.seek(0)
            found = pickle.load(file)
    finally:
        if was_on:
            gc.enable()
    if not isinstance(found, Loaded):
        raise TypeError("no result")
    return found
