"""Accepts connections in a worker: one accept per wake-up, so that workers share a listener fairly.

The listener is non-blocking and shared by all workers; who loses the race for a connection gets
EAGAIN and goes on. Called by the event loop: nothing here waits.
"""

import _socket
import errno
import logging
import socket as std_socket
from collections.abc import Callable
from typing import Final

from gevent import get_hub

from gwsmtp.base.logs import quoted
from gwsmtp.base.peer import Peer, peer_of
from gwsmtp.net.wire import Wire

log = logging.getLogger(__name__)

_READ: Final = 1
EXHAUSTED_PAUSE_S: Final = 0.1
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Handler = Callable[[Wire, Peer], None]


class Acceptor:
    """Watches one listening socket; ``handler`` is called with each new connection."""

    def __init__(self, listener: std_socket.socket, handler: Handler) -> None:
        # What is accepted inherits it: one system call a connection less.
        listener.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_NODELAY, 1)
        self._listener = listener
        self._handler = handler
        self._loop = get_hub().loop
        self._watcher = self._loop.io(listener.fileno(), _READ)
        self._pause: object | None = None
        self._is_stopped = True

    def start(self) -> None:
        """Begins to accept."""
        self._is_stopped = False
        self._watcher.start(self._accept)

    def stop(self) -> None:
        """Stops accepting for good and lets go of the listener, so that a backlog nobody reads is
        not left to clients once the last process has closed it.
        """
        self._is_stopped = True
        self._watcher.stop()
        self._watcher.close()
        self._listener.close()

    def _accept(self) -> None:
        listener = self._listener
        try:
            fd, address = listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno in _EXHAUSTED:
                self._rest(e)
            return  # anything else: the client has gone again (ECONNABORTED and its like)
        sock = _socket.socket(listener.family, listener.type, listener.proto, fileno=fd)
        try:
            wire, peer = Wire(sock), peer_of(address)
        except (OSError, ValueError, IndexError):
            sock.close()
            return
        self._handler(wire, peer)

    def _rest(self, error: OSError) -> None:
        """Out of descriptors or memory: trying again at once would burn the processor."""
        cause = quoted(str(error.strerror))
        log.warning("event=accept-paused seconds=%s cause=%s", EXHAUSTED_PAUSE_S, cause)
        self._watcher.stop()
        timer = self._loop.timer(EXHAUSTED_PAUSE_S)
        timer.start(self._resume)
        self._pause = timer

    def _resume(self) -> None:
        self._pause = None
        if not self._is_stopped:
            self._watcher.start(self._accept)
