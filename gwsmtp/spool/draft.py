"""A message while it comes in: memory first, then a file without a name.

Up to 128 KiB, and as long as all drafts of the worker together stay below
``workers.draft_memory``, a draft is a list of byte strings. Beyond that it moves into an O_TMPFILE
in the spool's file system: such a file needs no clean-up whatever dies, and can later be adopted
by the spool with one link. Where the file system has no O_TMPFILE the file is made with a name
and unlinked at once.

Used by one greenlet of a worker. ``append`` blocks on the disk only through ``offload``, which the
worker gives; ``chunks`` blocks on the disk itself. Raises SpoolError when the disk does not take
the octets; the draft is of no more use then, but ``close`` is still due.
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from gwsmtp.base.errors import SpoolError

MEMORY_OCTETS: Final = 131072
PIECE_OCTETS: Final = 262144

Offload = Callable[[Callable[[], None]], None]
"""Runs a function where blocking is allowed and waits for it; passes its exception on."""


class DraftBudget:
    """The memory that all drafts of one worker share, in octets."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Draft:
    """One message's content; a ``base.seams.MessageBody``."""

    __slots__ = ("_budget", "_directory", "_fd", "_in_memory", "_offload", "_parts", "_size")

    def __init__(self, directory: Path, budget: DraftBudget, offload: Offload) -> None:
        self._directory = directory
        self._budget = budget
        self._offload = offload
        self._parts: list[bytes] = []
        self._in_memory = 0
        self._size = 0
        self._fd = -1

    @property
    def size(self) -> int:
        """Octets appended."""
        return self._size

    @property
    def data(self) -> bytes | None:
        """The content where it is in memory, None where it is in a file; call when complete."""
        if self._fd >= 0:
            return None
        if len(self._parts) != 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0]

    def append(self, data: bytes) -> None:
        """Takes the next octets."""
        self._parts.append(data)
        self._size += len(data)
        self._in_memory += len(data)
        self._budget.used += len(data)
        if self._fd < 0:
            if self._size > MEMORY_OCTETS or self._budget.used > self._budget.limit:
                self._flush()
        elif self._in_memory >= PIECE_OCTETS:
            self._flush()

    def finish(self) -> None:
        """Writes what a draft in a file still holds in memory."""
        if self._fd >= 0 and self._in_memory:
            self._flush()

    def open_readonly(self) -> int:
        """A new read-only descriptor of the draft's file, the caller's to close."""
        if self._fd < 0:
            raise SpoolError("a draft in memory has no file")
        try:
            return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise SpoolError(f"cannot open a draft again: {e}") from e

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces; read by ``pread``, so that any number of readers may go on."""
        if self._fd < 0:
            yield from self._parts
            return
        offset = 0
        while offset < self._size:
            try:
                piece = os.pread(self._fd, PIECE_OCTETS, offset)
            except OSError as e:
                raise SpoolError(f"cannot read a draft: {e}") from e
            if not piece:
                raise SpoolError(f"a draft ends at {offset} of {self._size} octets")
            yield piece
            offset += len(piece)

    def close(self) -> None:
        """Gives memory and file back; may be called again."""
        self._budget.used -= self._in_memory
        self._in_memory = 0
        self._parts = []
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _flush(self) -> None:
        try:
            self._offload(self._write)
        except OSError as e:
            raise SpoolError(f"cannot write a draft below {self._directory}: {e}") from e
        self._budget.used -= self._in_memory
        self._in_memory = 0
        self._parts = []

    def _write(self) -> None:
        if self._fd < 0:
            self._fd = _nameless_file(self._directory)
        data = memoryview(b"".join(self._parts))
        while data:
            written = os.write(self._fd, data)
            data = data[written:]


def _nameless_file(directory: Path) -> int:
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except IsADirectoryError:  # a kernel or file system that does not know O_TMPFILE
        pass
    except OSError as e:
        if e.errno != errno.EOPNOTSUPP:
            raise
    fd, name = tempfile.mkstemp(prefix="draft-", dir=directory)
    Path(name).unlink()
    return fd
