"""The log: ``key=value`` lines, one file descriptor, written in batches.

Two ways lead here. Everything rare goes through the standard library's ``logging`` and is written
at once. The two hot lines, one a session and one a message, are formatted by hand and collected
(a stdlib record costs 10.6 µs, a hand-made line below 2): ``flush`` writes them in one go, called
by a worker's timer every 200 ms, at 64 KiB, before every record of WARNING or above, and at exit.

Limits: a SIGKILL loses at most the lines of the last 200 ms. Writing to a pipe whose reader stands
still blocks the process, as it does for every program under that reader.
"""

import logging
import sys
from typing import Literal

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.lines import LineWriter
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock

LogLevel = Literal["debug", "info", "warning", "error"]


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
