"""Bytes received and not yet parsed.

Remembers where it stands instead of cutting its front off line by line, so that a pipelined group
costs one copy in all. Only a line end of CRLF ends a line; the caller learns of a bare LF at once.
"""

from typing import Final

NO_LINE: Final = -1


class ReceiveBuffer:
    """One side's unread input; ``data`` from ``position`` on is unread."""

    __slots__ = ("data", "position")

    def __init__(self) -> None:
        self.data = b""
        self.position = 0

    def __len__(self) -> int:
        return len(self.data) - self.position

    def append(self, data: bytes) -> None:
        """Adds what was received."""
        if self.position >= len(self.data):
            self.data = data
        else:
            self.data = self.data[self.position :] + data
        self.position = 0

    def take_all(self) -> bytes:
        """Everything unread, taken out."""
        rest = self.data[self.position :] if self.position else self.data
        self.data = b""
        self.position = 0
        return rest

    def clear(self) -> None:
        """Forgets everything unread."""
        self.data = b""
        self.position = 0
