"""Accepts connections in a worker: one accept per wake-up, so that workers share a listener fairly.

The listener is non-blocking and shared by all workers; who loses the race for a connection gets
EAGAIN and goes on. Left to themselves, persistent sessions may all meet in the worker that wakes
first (seen: 19 and 1), so a worker that has more than its share (``limits.balance``) stops watching
for 50 ms, or until it is below: looked at every 5 ms, and whenever a session of its own ends. After
50 ms it takes one all the same: the others may hang.

Called by the event loop: nothing here waits.
"""

import _socket
import errno
import logging
import socket as std_socket
from collections.abc import Callable
from typing import Final

from gevent import get_hub

from gwsmtp.base.clock import monotonic
from gwsmtp.base.peer import Peer, peer_of
from gwsmtp.base.quoting import quoted
from gwsmtp.net.bpf import detach
from gwsmtp.net.wire import Wire

log = logging.getLogger(__name__)

_READ: Final = 1
EXHAUSTED_PAUSE_S: Final = 0.1
YIELD_S: Final = 0.05
LOOK_S: Final = 0.005
_LOOKS: Final = round(YIELD_S / LOOK_S)
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Handler = Callable[[Wire, Peer], None]
MayAccept = Callable[[float], bool]
"""(monotonic seconds) -> whether this worker may take one session more."""
IsFiltered = Callable[[], bool]
"""Whether what is accepted may have inherited a filter of the kernel's (``net.bpf``)."""


class Acceptor:
    """Watches one listening socket; ``handler`` is called with each new connection.

    At any time it is watching, resting (out of descriptors), yielding (others have fewer sessions)
    or held (by ``hold``, before ``start`` and after ``stop``).
    """

    def __init__(
        self,
        listener: std_socket.socket,
        handler: Handler,
        may_accept: MayAccept,
        is_filtered: IsFiltered,
    ) -> None:
        # What is accepted inherits it: one system call a connection less.
        listener.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_NODELAY, 1)
        self._listener = listener
        # Asked once: each costs a conversion to an enumeration.
        self._kind = (int(listener.family), int(listener.type), listener.proto)
        self._handler = handler
        self._may_accept = may_accept
        self._is_filtered = is_filtered
        self._loop = get_hub().loop
        self._watcher = self._loop.io(listener.fileno(), _READ)
        self._timer = self._loop.timer(EXHAUSTED_PAUSE_S)
        self._look = self._loop.timer(LOOK_S, LOOK_S)
        self._looks_left = 0
        self._is_held = True
        self._is_stopped = False

    def start(self) -> None:
        """Begins to accept, or goes on after ``hold``."""
        if self._is_stopped:
            return
        self._is_held = False
        self._watcher.start(self._accept)

    def hold(self) -> None:
        """Accepts nobody until ``start``; who connects waits in the backlog."""
        self._is_held = True
        self._looks_left = 0
        for watcher in (self._watcher, self._timer, self._look):
            watcher.stop()

    def stop(self) -> None:
        """Stops accepting for good and lets go of the listener, so that a backlog nobody reads is
        not left to clients once the last process has closed it.
        """
        if self._is_stopped:
            return
        self.hold()
        self._is_stopped = True
        for watcher in (self._watcher, self._timer, self._look):
            watcher.close()
        self._listener.close()

    def session_ended(self) -> None:
        """The worker has one session less: it may be its turn again."""
        if self._looks_left and self._may_accept(monotonic()):
            self._resume()

    def _accept(self) -> None:
        if not self._may_accept(monotonic()):
            self._yield()
            return
        self._take()

    def _take(self) -> None:
        listener = self._listener
        try:
            fd, address = listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno in _EXHAUSTED:
                self._rest(e)
            return  # anything else: the client has gone again (ECONNABORTED and its like)
        family, kind, proto = self._kind
        sock = _socket.socket(family, kind, proto, fileno=fd)
        try:
            if self._is_filtered():
                detach(sock)
            wire, peer = Wire(sock), peer_of(address)
        except (OSError, ValueError, IndexError):
            sock.close()
            return
        self._handler(wire, peer)

    def _yield(self) -> None:
        """Leaves the next connections to the others."""
        self._watcher.stop()
        self._looks_left = _LOOKS
        self._look.start(self._look_again)

    def _look_again(self) -> None:
        self._looks_left -= 1
        if self._may_accept(monotonic()):
            self._resume()
        elif self._looks_left <= 0:
            self._resume()
            self._take()

    def _rest(self, error: OSError) -> None:
        """Out of descriptors or memory: trying again at once would burn the processor."""
        cause = quoted(str(error.strerror))
        log.warning("event=accept-paused seconds=%s cause=%s", EXHAUSTED_PAUSE_S, cause)
        self._watcher.stop()
        self._timer.stop()
        self._timer.start(self._resume)

    def _resume(self) -> None:
        self._looks_left = 0
        self._look.stop()
        if not self._is_held:
            self._watcher.start(self._accept)
