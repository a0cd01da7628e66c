"""Bytes in, bytes out: the buffered connection under a conversation.

Contract: used by one greenlet. ``receive`` sends what is queued before it waits, so that the
replies to a pipelined group leave in one write (RFC 2920 3.2).
"""

from gevent import socket

from gwsmtp.trial import mischief
from gwsmtp.trial.mischief import Ended

MAX_LINE_OCTETS = 2048
MAX_OVERLONG_OCTETS = 1024 * 1024  # of one line that is dropped unread
IDLE_TIMEOUT_S = 300.0  # RFC 5321 4.5.3.2.7


class Channel:
    """``input`` is what was received and not yet used; whoever uses it removes it."""

    __slots__ = ("_output", "input", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.input = bytearray()
        self._output: list[bytes] = []

    def receive(self) -> bytes:
        """More octets; TimeoutError after 5 min, Ended where the client has closed."""
        self.flush()
        data: bytes = self.sock.recv(262144)
        if not data:
            raise Ended("client closed")
        return data

    def read_line(self) -> tuple[bytes | None, int]:
        """The next line without its CRLF, and its length; None for one that is too long."""
        searched = 0
        dropped = 0
        while (end := self.input.find(b"\r\n", searched)) < 0:
            if len(self.input) > MAX_LINE_OCTETS:
                dropped += len(self.input) - 1
                del self.input[:-1]
            if dropped > MAX_OVERLONG_OCTETS:
                raise Ended("line without end")
            searched = max(0, len(self.input) - 1)
            self.input += self.receive()
        line = bytes(self.input[:end])
        del self.input[: end + 2]
        octets = dropped + len(line)
        return (line if octets <= MAX_LINE_OCTETS else None), octets

    def queue(self, wire: bytes) -> None:
        """Takes octets to be sent before the next wait."""
        self._output.append(wire)

    def flush(self) -> None:
        """Sends what is queued."""
        if self._output:
            wire = b"".join(self._output)
            self._output.clear()
            self.sock.sendall(wire)

    def finish(self, reason: str) -> Ended:
        """Sends what is queued, ends the connection in order; the caller raises what it gets."""
        wire = b"".join(self._output)
        self._output.clear()
        mischief.close(self.sock, wire)
        return Ended(reason)
