"""The log's descriptor: opened by the master, inherited by its children, opened anew on USR1.

The master alone may create files in ``paths.log``, so it opens the file and hands copies of the new
descriptor to its children over ``process.control``; each puts it in the place of the old one. All
open it with O_APPEND and write whole batches, so lines of many processes never mix, and a line goes
either to the old file or to the new one.

Limits: between the rename and the moment a child has taken the new descriptor (milliseconds) its
lines go to the renamed file; who compresses that at once loses them (``delaycompress``).
"""

import logging
import os
from pathlib import Path

from gwsmtp.base import logs
from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.process.context import Settings

log = logging.getLogger(__name__)

_STREAMS = {None: 2, "": 2, "-": 2, "stderr": 2, "stdout": 1}


class LogFile:
    """``fd`` is what everybody writes to; standard error before ``open``."""

    def __init__(self, clock: Clock) -> None:
        self.fd = 2
        self._path: Path | None = None
        self._clock = clock

    @property
    def is_file(self) -> bool:
        """False for standard output and error, which nobody reopens."""
        return self._path is not None

    def open(self, config: Settings) -> None:
        """Opens what ``logging.to`` names, also another than before. Raises HaltMaster; then
        everything stays as it was.
        """
        before, to = self.fd, config.logging.to
        path = None if to in _STREAMS else config.paths.log / str(to)
        if path is None:
            self.fd = _STREAMS[None if to is None else str(to)]
        elif path != self._path:
            self.fd = _opened(path)
        self._path = path
        logs.setup("master", config.logging.level, self.fd, self._clock)
        if before > 2 and before != self.fd:
            os.close(before)

    def reopen(self) -> bool:
        """Opens the file by its name again, under the same descriptor; False, with an ERROR, when
        it cannot be: then the old one stays.
        """
        if self._path is None:
            return False
        try:
            fd = _opened(self._path)
        except HaltMaster as halt:
            log.error("event=log_not_reopened reason=%s", quoted(halt.reason))
            return False
        os.dup2(fd, self.fd, inheritable=False)
        os.close(fd)
        return True


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        fd = os.open(
            path, flags, 0o640
        )  # O_NONBLOCK: a FIFO that nobody reads is an error, no wait
    except OSError as error:
        raise HaltMaster(
            ExitCode.CANNOT_CREATE, f"cannot write the log {path}: {error.strerror}"
        ) from error
    os.set_blocking(fd, True)
    return fd
