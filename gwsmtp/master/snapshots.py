"""The snapshot of the table under the spool: ``NAME.table-snapshot``, root's, 0600.

Written every ten minutes by a process forked for it (``aside``), as going through 65,536 clients
takes too long for the master's loop, and once more at the stop. Loaded at a start that has found no
table to trust. Whatever is wrong with the file costs a log line and never a start; one that cannot
be used is set aside as ``….bad``.

The spool is the workers' directory: the file is made under a new name that must not exist, synced,
and renamed; and only a regular file of our own is read.

Called by the master. ``save`` and ``load`` block on the file system.
"""

import errno
import logging
import os
import signal
import stat
from pathlib import Path
from typing import Final

from gwsmtp.base.errors import TableError
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.limits.arena import Table
from gwsmtp.limits.snapshot import LONGEST, load, pack
from gwsmtp.master.aside import fork_aside
from gwsmtp.master.children import send_signal

log = logging.getLogger(__name__)

EVERY_MS: Final = 600_000
_WRITE_S: Final = 60


class Snapshots:
    """One for each leader."""

    __slots__ = ("_clock", "_path", "_pid", "_saved_ms", "_started_ms", "_table")

    def __init__(self, table: Table, path: Path, clock: Clock) -> None:
        self._table = table
        self._path = path
        self._clock = clock
        self._pid = 0
        self._started_ms = 0
        self._saved_ms = clock.boot_ms()

    def load(self) -> None:
        """Puts what there is into a table that nobody has done so with: one made anew, or one whose
        master died before it had. Never raises for the file's sake.
        """
        if not self._table.is_seeded:
            self._load()
            self._table.set_seeded()

    def _load(self) -> None:
        path = self._path
        try:
            data = _read(path)
            count = load(self._table, data, self._clock.boot_ms(), self._wall_ms())
        except FileNotFoundError:
            return
        except (OSError, TableError) as error:
            log.error("event=snapshot_set_aside reason=%s", quoted(f"{path}: {error}"))
            try:
                path.rename(path.with_name(f"{path.name}.bad"))
            except OSError as failure:
                log.error("event=snapshot_kept reason=%s", quoted(f"{path}: {failure}"))
            return
        log.info("event=snapshot_loaded clients=%d", count)

    def step(self, ended: dict[int, int], log_fd: int, lifeline_fd: int, name: str) -> None:
        """Has one written when it is time; ``ended`` are processes that ended, and how."""
        now_ms = self._clock.boot_ms()
        if self._pid in ended:
            if code := ended[self._pid]:
                log.error("event=snapshot_failed reason=%s", quoted(f"ended with {code}"))
            self._pid = 0
        if self._pid:
            if now_ms - self._started_ms > _WRITE_S * 1000:
                send_signal(self._pid, signal.SIGKILL)
            return
        if now_ms - self._saved_ms < EVERY_MS:
            return
        self._saved_ms = self._started_ms = now_ms
        try:
            self._pid = fork_aside(
                self._write,
                name="snapshot",
                title=f"gwsmtp: snapshot [{name}]",
                seconds=_WRITE_S,
                lifeline_fd=lifeline_fd,
                keep=(log_fd,),
            )
        except OSError as error:
            log.error("event=snapshot_failed reason=%s", quoted(str(error)))

    def save(self) -> None:
        """Writes one now, at the stop; the last word. Never raises for the file's sake."""
        if self._pid:
            send_signal(self._pid, signal.SIGKILL)
            try:
                os.waitpid(self._pid, 0)
            except ChildProcessError:
                pass
            self._pid = 0
        try:
            self._write()
        except OSError as error:
            log.error("event=snapshot_failed reason=%s", quoted(f"{self._path}: {error}"))

    def _write(self) -> None:
        data = pack(self._table, self._clock.boot_ms(), self._wall_ms())
        path = self._path
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.rename(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _wall_ms(self) -> int:
        return int(self._clock.now() * 1000)


def _read(path: Path) -> bytes:
    """All of a regular file that is ours. Raises OSError, TableError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise TableError("not a file of ours")
        if status.st_size > LONGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return file.read()
