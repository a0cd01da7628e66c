"""``paths.run/NAME.pid``: which master runs, and where it listens.

First line the pid, as tools expect; then its start time in clock ticks, so that a reused pid is
never signalled; then one line for each address it listens on; then ``KEY=VALUE`` lines about
reloads: ``asked`` and ``done`` count HUPs, ``failure`` says why the last reload changed nothing,
blank where it acted, ``refused`` which addresses could not be bound where it did. While the master
lives it holds a record lock on the file, which its children do not inherit and which dies with it:
the lock, not the content, decides whether a second one may start. Read by ``reload``, ``stop`` and
``status``.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from gwsmtp.base import procid
from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode


@dataclass(frozen=True, slots=True)
class RunningMaster:
    """What a pidfile says about a living master."""

    pid: int
    start_ticks: int
    listen: tuple[str, ...]
    reloads_asked: int = 0
    reloads_done: int = 0
    reload_failure: str = ""
    reload_refused: str = ""

    @property
    def is_alive(self) -> bool:
        """True while this very process lives."""
        return procid.is_alive(self.pid, self.start_ticks)


def read_pidfile(path: Path) -> RunningMaster | None:
    """The living master that ``path`` names, None where there is none."""
    try:
        lines = path.read_text("utf-8").splitlines()
        pairs = dict(line.split("=", 1) for line in lines[2:] if "=" in line)
        master = RunningMaster(
            int(lines[0]),
            int(lines[1]),
            tuple(line for line in lines[2:] if "=" not in line),
            int(pairs.get("asked", 0)),
            int(pairs.get("done", 0)),
            pairs.get("failure", ""),
            pairs.get("refused", ""),
        )
    except (OSError, ValueError, IndexError):
        return None
    return master if master.is_alive else None


class PidFile:
    """The master's hold on its name; from ``acquire`` to ``release``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> None:
        """Takes the name; raises HaltMaster when another master has it or the file cannot be."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            try:
                fd = os.open(self._path, flags, 0o644)
            except OSError as error:
                raise HaltMaster(
                    ExitCode.CANNOT_CREATE, f"cannot create {self._path}: {error.strerror}"
                ) from error
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                running = read_pidfile(self._path)
                who = f"pid {running.pid}" if running else "its pidfile is locked"
                raise HaltMaster(
                    ExitCode.ALREADY_RUNNING, f"already running ({who}, {self._path})"
                ) from error
            if self._is_still_named(fd):
                self._fd = fd
                self.write(())
                return
            os.close(fd)  # the last holder removed the file between our open and our lock

    def write(
        self,
        listen: tuple[str, ...],
        asked: int = 0,
        done: int = 0,
        failure: str = "",
        refused: str = "",
    ) -> None:
        """Stores who we are, where we listen, and how reloads went."""
        pid, ticks = procid.own_id()
        reloads = (
            f"asked={asked}",
            f"done={done}",
            f"failure={' '.join(failure.split())}",
            f"refused={' '.join(refused.split())}",
        )
        text = "".join(f"{line}\n" for line in (pid, ticks, *listen, *reloads)).encode("utf-8")
        os.fchmod(self._fd, 0o644)
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))

    def release(self) -> None:
        """Removes the file and lets go of the name; idempotent."""
        if self._fd >= 0:
            if self._is_still_named(self._fd):
                self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def _is_still_named(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.lstat())
        except FileNotFoundError:
            return False
