"""An item as it is read from disk: its envelope brought up to date, its body by ``pread``.

All but ``StoredBody`` of a small message blocks on the disk; a gevent process reads through
``net.offload``.
"""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from gwsmtp.base.errors import SpoolError
from gwsmtp.spool.draft import MEMORY_OCTETS, PIECE_OCTETS
from gwsmtp.spool.item import ItemDamaged, parse_envelope, parse_head, parse_lines


class StoredBody:
    """The body of an item, a ``base.seams.MessageBody``; open as long as its item is."""

    __slots__ = ("_data", "_fd", "_offset", "size")

    def __init__(self, fd: int, offset: int, size: int, data: bytes | None) -> None:
        self._fd = fd
        self._offset = offset
        self._data = data
        self.size = size

    @property
    def data(self) -> bytes | None:
        """The body where it is small enough to have been read, else None."""
        return self._data

    def open_readonly(self) -> int:
        """Never: the file holds more than the body."""
        raise SpoolError("the body of an item has no file of its own")

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces; blocks on the disk; raises SpoolError."""
        if self._data is not None:
            yield self._data
            return
        done = 0
        while done < self.size:
            piece = _read(self._fd, self._offset + done, min(PIECE_OCTETS, self.size - done))
            if not piece:
                raise SpoolError(f"a body ends at {done} of {self.size} octets")
            yield piece
            done += len(piece)


class Item:
    """An item that is open for reading; close it, or use it as a context manager."""

    __slots__ = ("_fd", "body", "envelope", "id", "trace")

    def __init__(self, item_id: str, fd: int) -> None:
        """Reads all but a large body; takes ``fd`` over only where it does not raise."""
        self.id = item_id
        size = os.fstat(fd).st_size
        start = _read(fd, 0, PIECE_OCTETS)
        head = parse_head(start)
        if head.lines_at > size:
            raise ItemDamaged(f"it has {size} octets instead of {head.lines_at}")
        self.envelope = parse_envelope(head, _part(fd, start, head.envelope_at, head.trace_at))
        self.trace = _part(fd, start, head.trace_at, head.body_at)
        body = None
        if head.body_octets <= MEMORY_OCTETS:
            body = _part(fd, start, head.body_at, head.body_at + head.body_octets)
        self.body = StoredBody(fd, head.body_at, head.body_octets, body)
        for line in parse_lines(_part(fd, start, head.lines_at, size)):
            self.envelope.apply(line)
        self._fd = fd

    def close(self) -> None:
        """Lets go of the file; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _read(fd: int, offset: int, octets: int) -> bytes:
    try:
        return os.pread(fd, octets, offset)
    except OSError as e:
        raise SpoolError(f"cannot read an item: {e}") from e


def _part(fd: int, start: bytes, begin: int, end: int) -> bytes:
    """Octets ``begin`` to ``end``, out of ``start`` where they are in it."""
    if end <= len(start):
        return start[begin:end]
    found = bytearray()
    while begin + len(found) < end:
        piece = _read(fd, begin + len(found), end - begin - len(found))
        if not piece:
            raise ItemDamaged(f"it ends before octet {end}")
        found += piece
    return bytes(found)
