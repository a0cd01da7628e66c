"""Ready lines of the log, collected and written in batches."""

import os
from typing import Final

BATCH_OCTETS: Final = 65536


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
        if self._octets >= BATCH_OCTETS:
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
