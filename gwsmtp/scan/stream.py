"""One connection of the scan protocol in a gevent process, seen from either end.

A MessageStream owns a connected socket (unix or TCP). Reading happens in a callback of the event
loop: no greenlet reads, none is made for a message. What is sent within one turn of the loop goes
out in one system call. Descriptors come and go on unix sockets only; where they are taken, received
ones wait, in their order, until ``take_descriptor`` claims them, and are closed with the stream.

Contract: used from one thread, the hub's. No method blocks. ``on_message`` and ``on_closed`` are
called from the hub or, for a ``close`` of ours, from its caller; they must not block, may send,
may close. ``on_closed`` is called exactly once. Whatever happens inside (a fault of the system, a
bug in a callback) ends this stream and nothing else.

Limits: nobody waits in ``send``: a sender that could be much faster than its peer asks ``backlog``
first and waits for ``on_room``; beyond ``max_backlog`` the stream is closed.
"""

import logging
import os
import socket  # for constants and types only: the sockets come from outside
from array import array
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

from gevent import get_hub

from gwsmtp.net.wire import plain
from gwsmtp.scan.wire import Decoder

log = logging.getLogger(__name__)

Message = TypeVar("Message")

_READ, _WRITE = 1, 2  # libev's EV_READ and EV_WRITE
_PORTION = 128 * 1024
_GATHER = 256  # buffers of one sendmsg; the system's limit is 1024
_DESCRIPTORS_AT_ONCE = 32
_ANCILLARY = socket.CMSG_SPACE(_DESCRIPTORS_AT_ONCE * array("i").itemsize)
_MAX_UNCLAIMED = 64

ROOM = 1024 * 1024
"""Octets of backlog below which ``on_room`` is called."""


class MessageStream(Generic[Message]):
    """See the module. ``start`` after the owner is ready to be called."""

    __slots__ = (
        "_decoder",
        "_descriptors",
        "_finishing",
        "_is_flush_due",
        "_is_reading",
        "_loop",
        "_max_backlog",
        "_on_closed",
        "_on_message",
        "_out",
        "_portion",
        "_reader",
        "_sock",
        "_takes_descriptors",
        "_view",
        "_writer",
        "_writer_active",
        "backlog",
        "closed",
        "is_unix",
        "on_room",
        "received",
    )

    def __init__(
        self,
        sock: socket.socket,
        decoder: Decoder[Message],
        on_message: Callable[[Message], None],
        on_closed: Callable[[str], None],
        max_backlog: int = 16 * 1024 * 1024,
        *,
        takes_descriptors: bool = False,
    ) -> None:
        self.is_unix = sock.family == socket.AF_UNIX
        self._sock = plain(sock)
        self._sock.setblocking(False)
        # Without room for them the kernel closes descriptors that come.
        self._takes_descriptors = takes_descriptors and self.is_unix
        self._decoder = decoder
        self._on_message = on_message
        self._on_closed = on_closed
        self._max_backlog = max_backlog
        self._loop = get_hub().loop
        self._reader = self._loop.io(self._sock.fileno(), _READ)
        self._writer = self._loop.io(self._sock.fileno(), _WRITE)
        self._writer_active = False
        self._portion = bytearray(_PORTION)
        self._view = memoryview(self._portion)
        self._descriptors: deque[int] = deque()
        self._out: deque[tuple[bytes | memoryview, int | None]] = deque()
        self._is_reading = False
        self._is_flush_due = False
        self._finishing = ""
        self.backlog = 0
        self.received = 0
        self.closed = False
        self.on_room: Callable[[], None] | None = None

    def start(self) -> None:
        """Begins to read."""
        if not self.closed:
            self._reader.start(self._guarded, self._receive)

    def send(self, data: bytes | memoryview, descriptor: int | None = None) -> bool:
        """Queues ``data``; the descriptor, which is ours from now on, goes with its first octet.

        False when the stream is closed.
        """
        if self.closed:
            if descriptor is not None:
                os.close(descriptor)
            return False
        self._out.append((data, descriptor))
        self.backlog += len(data)
        if self.backlog > self._max_backlog:
            self.close("the peer does not read")
            return False
        if not (self._is_reading or self._is_flush_due or self._writer_active):
            self._is_flush_due = True
            self._loop.run_callback(self._guarded, self._flush)
        return True

    def take_descriptor(self) -> int | None:
        """The next descriptor received, the caller's to close."""
        return self._descriptors.popleft() if self._descriptors else None

    def finish(self, reason: str) -> None:
        """Closes as soon as everything queued is sent."""
        if not self._out:
            self.close(reason)
        else:
            self._finishing = reason

    def close(self, reason: str) -> None:
        """Ends the stream now; what is queued is lost."""
        if self.closed:
            return
        self.closed = True
        for watcher in (self._reader, self._writer):
            watcher.stop()
            watcher.close()
        self._sock.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        for _, queued in self._out:
            if queued is not None:
                os.close(queued)
        self._out.clear()
        self.backlog = 0
        try:
            self._on_closed(reason)
        except Exception:  # a boundary like the one below
            log.exception("scan stream: error in on_closed")

    def _guarded(self, step: Callable[[], None]) -> None:
        # The top of every call from the loop. An exception that got out of here would silently
        # stop the watcher and leave everybody waiting: so it is a boundary, and ends the stream.
        try:
            step()
        except Exception:
            log.exception("scan stream: internal error")
            self.close("internal error")

    def _receive(self) -> None:
        try:
            if self._takes_descriptors:
                size, ancillary, flags, _ = self._sock.recvmsg_into(
                    [self._portion], _ANCILLARY, socket.MSG_CMSG_CLOEXEC
                )
                if (ancillary or flags & socket.MSG_CTRUNC) and not self._keep(ancillary, flags):
                    self.close("nonsense: too many descriptors")
                    return
            else:
                size = self._sock.recv_into(self._portion)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"read failed: {error.strerror or error}")
            return
        if not size:
            self.close("closed by the peer")
            return
        self.received += size
        self._is_reading = True
        try:
            for message in self._decoder.feed(self._view[:size]):
                self._on_message(message)
                if self.closed:
                    return
        finally:
            self._is_reading = False
        if self._decoder.error is not None:
            self.close(f"nonsense: {self._decoder.error}")
        elif self._out and not self._writer_active:
            self._flush()

    def _keep(self, ancillary: list[tuple[int, int, bytes]], flags: int) -> bool:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._descriptors.extend(numbers)
        return not flags & socket.MSG_CTRUNC and len(self._descriptors) <= _MAX_UNCLAIMED

    def _flush(self) -> None:
        self._is_flush_due = False
        out = self._out
        while out and not self.closed:
            first, descriptor = out[0]
            try:
                if descriptor is not None:
                    rights = array("i", [descriptor])
                    sent = self._sock.sendmsg(
                        [first], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                    )
                    os.close(descriptor)
                    out[0] = (first, None)
                elif len(out) == 1:
                    sent = self._sock.send(first)
                else:
                    buffers = [first]
                    for data, attached in islice(out, 1, _GATHER):
                        if attached is not None:
                            break
                        buffers.append(data)
                    sent = self._sock.sendmsg(buffers)
            except (BlockingIOError, InterruptedError):
                if not self._writer_active:
                    self._writer_active = True
                    self._writer.start(self._guarded, self._flush)
                return
            except OSError as error:
                self.close(f"write failed: {error.strerror or error}")
                return
            self._forget(sent)
        if self.closed:
            return
        if self._writer_active:
            self._writer_active = False
            self._writer.stop()
        if self._finishing:
            self.close(self._finishing)

    def _forget(self, sent: int) -> None:
        out = self._out
        self.backlog -= sent
        while sent:
            data, _ = out[0]
            size = len(data)
            if sent < size:
                out[0] = (memoryview(data)[sent:], None)
                break
            out.popleft()
            sent -= size
        if self.on_room is not None and self.backlog < ROOM:
            self.on_room()
