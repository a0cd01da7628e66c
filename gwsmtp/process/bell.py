"""The queue's bell: one datagram on a unix socket wakes the queue process for one item.

A hint only: the queue looks into the spool from time to time anyway, so a bell that nobody hears
(no queue lives, its socket is full) delays an item by seconds and loses nothing.
"""

import os
import socket
from pathlib import Path
from typing import Final

from gwsmtp.process.context import bell_path
from gwsmtp.spool.files import ITEM_ID

_LONGEST: Final = 256


class Bell:
    """The side that rings. Neither blocks nor raises."""

    __slots__ = ("_path", "_socket")

    def __init__(self, run: Path, name: str) -> None:
        self._path = str(bell_path(run, name))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self, item_id: str) -> None:
        """There is a new item in the spool."""
        try:
            self._socket.sendto(item_id.encode(), self._path)
        except OSError:
            pass

    def close(self) -> None:
        """Rings no more."""
        self._socket.close()


def heard(fd: int) -> list[str]:
    """The ids that were rung for on the non-blocking socket ``fd``; anything else is left out."""
    found: list[str] = []
    while True:
        try:
            text = os.read(fd, _LONGEST).decode("ascii", "replace")
        except (BlockingIOError, InterruptedError):
            return found
        if ITEM_ID.fullmatch(text):
            found.append(text)
