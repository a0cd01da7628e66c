"""The log: ``key=value`` lines, one file descriptor, written in batches.

Two ways lead here. Everything rare goes through the standard library's ``logging`` and is written
at once. The two hot lines, one a session and one a message, are formatted by hand and collected
(a stdlib record costs 10.6 µs, a hand-made line below 2): ``flush`` writes them in one go, called
by a worker's timer every 200 ms, at 64 KiB, before every record of WARNING or above, and at exit.

Limits: a SIGKILL loses at most the lines of the last 200 ms. Writing to a pipe whose reader stands
still blocks the process, as it does for every program under that reader.
"""

import logging
import os
import sys
from typing import Literal

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock

_BATCH_OCTETS = 65536
LogLevel = Literal["debug", "info", "warning", "error"]


class LineWriter:
    """Collects ready lines and writes them to ``fd``; used from one thread of one process.

    A full disk or a closed reader never stops mail: what cannot be written is counted, and the
    count is written as soon as writing works again.
    """

    __slots__ = ("_lines", "_lost", "_octets", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lines: list[str] = []
        self._octets = 0
        self._lost = 0

    def add(self, line: str) -> None:
        """Takes one line with its line end; writes when 64 KiB are together."""
        self._lines.append(line)
        self._octets += len(line)
        if self._octets >= _BATCH_OCTETS:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected; never raises."""
        if not self._lines:
            return
        count = len(self._lines)
        data = "".join(self._lines).encode("utf-8", "backslashreplace")
        self._lines.clear()
        self._octets = 0
        if self._lost:
            data = f'level=ERROR msg="log lines lost" count={self._lost}\n'.encode() + data
        try:
            while data:
                written = os.write(self.fd, data)
                data = data[written:]
        except OSError:
            self._lost += count
        else:
            self._lost = 0


class LineHandler(logging.Handler):
    """Bridges ``logging`` to the LineWriter: same stream, order kept, written at once."""

    def __init__(self, writer: LineWriter, process: str, clock: Clock) -> None:
        super().__init__()
        self._writer = writer
        self._process = process
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record as one line; a traceback becomes one escaped value."""
        try:
            message = record.getMessage()
            # A message that is pairs already ("event=... key=...") stays as it is.
            body = message if message.startswith("event=") else f"msg={quoted(message)}"
            if record.exc_info:
                trace = logging.Formatter().formatException(record.exc_info)
                body = f"{body} trace={quoted(trace)}"
            self._writer.add(
                f"{self._clock.iso()} {self._process} level={record.levelname} "
                f"logger={record.name} {body}\n"
            )
            self._writer.flush()
        except Exception:
            self.handleError(record)


def setup(process: str, level: LogLevel, fd: int = 2, clock: Clock | None = None) -> LineWriter:
    """Points the root logger of this process at ``fd``; called once at the start of a process and
    again after a fork, with the child's own name (``worker-0``). Returns the writer of hot lines.
    """
    sys.stderr.flush()
    writer = LineWriter(fd)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(LineHandler(writer, process, clock or SystemClock()))
    root.setLevel(level.upper())
    return writer
