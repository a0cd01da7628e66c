"""A TCP server of plain threads on loopback, what the recorder and the raw sink have in common.

Standard library only and nothing of gwsmtp: it judges gwsmtp, so it must not share its errors.
"""

import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

_JOIN_S = 5.0


class ThreadedServer(ABC):
    """One thread accepts, one thread serves each connection; ``stop`` ends them all."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_stopping = False
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> None:
        """Begins to accept."""
        self._acceptor.start()

    def stop(self) -> None:
        """Ends everything; fails if a thread does not end."""
        self._is_stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept, which close does not
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in (self._acceptor, *self._threads):
            thread.join(_JOIN_S)
            assert not thread.is_alive(), f"{type(self).__name__}: a thread does not end"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def serve(self, sock: socket.socket) -> None:
        """Serves one connection; it is closed afterwards. OSError may escape."""

    def track(self, sock: socket.socket) -> None:
        """Has ``stop`` shut down one more socket, which ``serve`` has opened."""
        with self._lock:
            self._sockets.add(sock)
            if self._is_stopping:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def untrack(self, sock: socket.socket) -> None:
        """Closes a socket that was tracked."""
        with self._lock:
            self._sockets.discard(sock)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.track(sock)
            thread = threading.Thread(target=self._run, args=(sock,), daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        try:
            self.serve(sock)
        except OSError:
            pass
        finally:
            self.untrack(sock)
