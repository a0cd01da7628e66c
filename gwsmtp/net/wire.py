"""A connected socket on gevent's loop: waits first and reads then, writes at once.

In SMTP an answer is never there yet when one wants to read it. gevent's own ``recv`` reads first,
so that nearly every read costs a failed system call and an exception; its ``sendall`` asks for the
size of the socket's buffer each time. Both together were a third of a message's cost here.

Owns a plain, non-blocking socket and the one deadline of its waits. Used by one greenlet at a
time; blocks that greenlet only. OSError is passed on, PeerTimeout comes from the deadline.
"""

import _socket
from typing import Final

import gevent
import greenlet
from gevent import monkey, socket

from gwsmtp.net.deadline import Deadline

PlainSocket = _socket.socket
"""The type below both the standard library's and gevent's socket."""

_READ: Final = 1
_WRITE: Final = 2
_SHUT_WR: Final = 1
_PEEK: Final = 2  # MSG_PEEK
_POLLIN: Final = 0x01
_HUNG_UP: Final = 0x10 | 0x08  # POLLHUP and POLLERR, reported without being asked for

READ_OCTETS: Final = 65536

# The real poll: gevent's would switch greenlets, and this one is asked with a timeout of zero.
_poll = monkey.get_original("select", "poll")


class Wire:
    """See the module. ``deadline`` is armed by whoever reads."""

    __slots__ = ("_arrival", "_leave", "_recv", "_send", "_sock", "deadline", "fd")

    def __init__(self, sock: PlainSocket) -> None:
        sock.setblocking(False)
        hub = gevent.get_hub()
        self._sock = sock
        self.fd = sock.fileno()
        self._recv = sock.recv
        self._send = sock.send
        self._arrival = hub.loop.io(self.fd, _READ)
        self._leave = hub.switch
        self.deadline = Deadline()

    def read(self, octets: int = READ_OCTETS) -> bytes:
        """What has come, at most ``octets``; b"" when the peer has ended its side."""
        arrival, leave, resume = self._arrival, self._leave, greenlet.getcurrent().switch
        while True:
            # As the hub's own wait does, without its Waiter: nobody but this watcher, and the
            # deadline that throws, switches to a greenlet that waits here.
            arrival.start(resume)
            try:
                leave()
            finally:
                arrival.stop()
            try:
                return self._recv(octets)
            except BlockingIOError:
                continue

    def peek(self, octets: int) -> bytes:
        """Like ``read``, but what has come is still there to be read. Does not wait for more than
        it was shown before: who is not content reads that first.
        """
        while True:
            gevent.get_hub().wait(self._arrival)
            try:
                return self._recv(octets, _PEEK)
            except BlockingIOError:
                continue

    def write(self, data: bytes, seconds: float, phase: str) -> None:
        """Sends everything; the peer must take it within ``seconds``."""
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._write_rest(memoryview(data)[sent:], seconds, phase)

    def write_nowait(self, data: bytes) -> int:
        """Sends what the socket takes at once; returns how much that was; never raises."""
        try:
            return self._send(data)
        except OSError:
            return 0

    def _write_rest(self, data: memoryview, seconds: float, phase: str) -> None:
        hub = gevent.get_hub()
        watcher = hub.loop.io(self.fd, _WRITE)
        self.deadline.arm(seconds, phase)
        try:
            while data:
                hub.wait(watcher)
                try:
                    sent = self._send(data)
                except BlockingIOError:
                    continue
                data = data[sent:]
        finally:
            self.deadline.disarm()
            watcher.close()

    def has_input(self) -> bool:
        """Whether octets, or the peer's end, wait to be read. Does not block."""
        return bool(self._look(_POLLIN))

    def is_gone(self) -> bool:
        """Whether the connection is reset or closed in both directions; a mere end of file is a
        half-close. Does not block.
        """
        return bool(self._look(0) & _HUNG_UP)

    def _look(self, events: int) -> int:
        poll = _poll()
        poll.register(self.fd, events)
        found = poll.poll(0)
        return int(found[0][1]) if found else 0

    def end_writing(self) -> None:
        """Says that nothing more will come from us."""
        self._sock.shutdown(_SHUT_WR)

    def close(self) -> None:
        """Closes at once; may be called again."""
        if self.fd >= 0:
            self.fd = -1
            self.deadline.close()
            self._arrival.close()
            self._sock.close()


def plain(sock: socket.socket) -> PlainSocket:
    """The same connection without gevent's wrapper, which is of no more use afterwards."""
    return _socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
