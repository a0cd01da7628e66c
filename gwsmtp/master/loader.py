"""The forked child that loads and checks the configuration for a reload, and its result.

Loading takes seconds for 100,000 domains and may do anything (a file system that hangs, a bug in a
library), so the master's loop goes on meanwhile. The child inherits the old configuration, decides
what of the new one may act now, and leaves the result in a memfd, which only the two of them can
see: secrets are in it. Its end is its message: exit code 0 and a readable result, or nothing
changes.

Invariants: whatever the child does, the worst is "nothing changes" and an ERROR line. It holds
neither the lifeline's writing end nor a listener, and ends when the master does or its time is
over.
"""

import fcntl
import gc
import logging
import os
import pickle
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import setproctitle

from gwsmtp.master.children import send_signal
from gwsmtp.master.signals import QUEUED
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
        before = signal.pthread_sigmask(signal.SIG_BLOCK, QUEUED)
        try:
            pid = os.fork()
            if pid == 0:
                _become_loader(self._load, config, fd, log_fd, self._lifeline_fd)
        except OSError:
            os.close(fd)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._pid, self._fd = pid, fd
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


def _become_loader(
    load: Load, config: Settings, fd: int, log_fd: int, lifeline_fd: int
) -> NoReturn:
    """In the child, with signals blocked: reads, leaves the result, ends."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for signum in QUEUED:
            signal.signal(signum, signal.SIG_DFL)
        for signum in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(signum, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LOAD_S + 5)
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in (0, 1, 2, fd, log_fd, lifeline_fd):
                try:
                    os.close(int(name))
                except OSError:
                    pass  # the listing's own
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _end_with_the_master(lifeline_fd)
        setproctitle.setproctitle(f"gwsmtp: loader [{config.interface.name}]")
        gc.disable()
        with os.fdopen(fd, "wb") as file:
            pickle.dump(load(config), file, pickle.HIGHEST_PROTOCOL)
        code = 0
    except BaseException:
        log.exception("event=reload_crashed")
    finally:
        os._exit(code)


def _end_with_the_master(lifeline_fd: int) -> None:
    """Lets the kernel send SIGIO, which ends us, when the lifeline's writing end is closed."""
    # An open description of our own: whom the signal goes to is a property of the description.
    fd = os.open(f"/proc/self/fd/{lifeline_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    if select.select([fd], [], [], 0)[0]:  # it has gone already
        os._exit(1)
