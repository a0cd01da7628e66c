"""A Maildir that only grows: one message, one file, exactly the octets received.

Contract: ``file`` blocks (write, two fsyncs) and is called through a thread pool; any number of
threads and processes may file into one Maildir at once, since names are unique and a file comes
into ``new`` by rename. When ``file`` returns the message survives a power cut; when it raises
OSError, nothing is in ``new``.

Line ends stay CRLF, although many Maildirs hold LF: a file is compared octet by octet with what
was sent, and every reader of mail takes both. For the same reason Return-Path and Delivered-To are
written only when asked for.

Limits: nobody tidies ``tmp`` after a crash, nobody reads ``cur``, there are no quotas.
"""

import itertools
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from gwsmtp.base.clock import SystemClock


class Maildir:
    """The folder ``path`` with ``tmp``, ``new`` and ``cur`` in it."""

    def __init__(self, path: Path, *, with_envelope: bool = False) -> None:
        self.path = path
        self._with_envelope = with_envelope
        self._clock = SystemClock()
        self._numbers = itertools.count(1)
        host = socket.gethostname().replace("/", r"\057").replace(":", r"\072")
        self._host = host or "localhost"

    def create(self) -> None:
        """Makes what is missing of the four folders; OSError where it cannot."""
        for folder in (self.path, *(self.path / name for name in ("tmp", "new", "cur"))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def file(self, content: bytes, sender: str, recipients: Sequence[str]) -> Path:
        """Files one message for all its recipients and returns its path; blocks, raises OSError."""
        now_us = int(self._clock.now() * 1_000_000)
        name = (
            f"{now_us // 1_000_000}.M{now_us % 1_000_000:06d}P{os.getpid()}"
            f"Q{next(self._numbers)}.{self._host}"
        )
        unfinished = self.path / "tmp" / name
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                if self._with_envelope:
                    _write_all(fd, _envelope(sender, recipients))
                _write_all(fd, content)
                os.fsync(fd)
            finally:
                os.close(fd)
            finished = self.path / "new" / name
            unfinished.rename(finished)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        self._sync_new()
        return finished

    def _sync_new(self) -> None:
        fd = os.open(self.path / "new", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _envelope(sender: str, recipients: Sequence[str]) -> bytes:
    fields = [f"Return-Path: <{sender}>", *(f"Delivered-To: {rcpt}" for rcpt in recipients)]
    return "".join(f"{field}\r\n" for field in fields).encode("utf-8", "surrogateescape")
