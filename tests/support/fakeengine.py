"""A scan engine of the tests' own, in threads: it answers, waits, or talks nonsense as told.

    with FakeEngine() as engine:
        engine.mode = "wait"                 # until ``engine.let_go()``, then all are accepted
        engine.wait_for_requests(1)

Speaks scan/PROTOCOL.md over TCP; nothing of gwsmtp.

Limits: one request at a time on a connection; modes are looked at when a request comes.
"""

import contextlib
import socket
import threading
from typing import Any, Literal

import msgpack

from tests.support.listening import ThreadedServer
from tests.support.wait import wait_for

Mode = Literal[
    "accept",
    "wait",
    "silent",
    "garbage",
    "nonsense",
    "error",
    "close",
    "half",
    "mute",
    "rude",
]
"""``silent`` never answers a request; ``mute`` says no hello, ``rude`` garbage instead; ``garbage``
is no MessagePack, ``nonsense`` is MessagePack that no engine says; ``error`` is its own word for
failing; ``close`` ends the connection, ``half`` does in the middle of a verdict."""

_GARBAGE = b"\xc1" + bytes(range(256)) * 4  # no type of MessagePack begins so


class FakeEngine(ThreadedServer):
    """``requests`` holds every scan request that came, without its body."""

    def __init__(self, mode: Mode = "accept") -> None:
        super().__init__()
        self.mode: Mode = mode
        self.requests: list[dict[str, Any]] = []
        self._may_go = threading.Event()

    def let_go(self) -> None:
        """Accepts whatever waits, and all that comes in mode ``wait``."""
        self._may_go.set()

    def hold(self) -> None:
        """From now on mode ``wait`` waits again."""
        self._may_go.clear()

    def break_off(self) -> None:
        """Ends every connection; whoever comes again meets the mode of now."""
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """As in ThreadedServer; nobody is left waiting."""
        self._may_go.set()
        super().stop()

    def wait_for_requests(self, count: int, deadline_s: float = 10) -> None:
        """Returns once ``count`` requests have come."""
        wait_for(
            lambda: len(self.requests) >= count,
            lambda: f"{count} requests to the engine, {len(self.requests)} have come",
            deadline_s,
        )

    def serve(self, sock: socket.socket) -> None:
        """One connection of a gateway."""
        if self.mode == "rude":
            sock.sendall(_GARBAGE)
        elif self.mode != "mute":
            _send(sock, type="hello", version=1, role="engine", name="fake")
        unpacker = msgpack.Unpacker(max_buffer_size=2**31 - 1)
        while data := sock.recv(65536):
            unpacker.feed(data)
            for message in unpacker:
                if message["type"] == "ping":
                    _send(sock, type="pong", id=message["id"])
                elif message["type"] == "scan":
                    message.pop("body", None)
                    self.requests.append(message)
                    if not self._answer(sock, message["id"]):
                        return

    def _answer(self, sock: socket.socket, id_: int) -> bool:
        """Whether the connection goes on."""
        mode = self.mode
        if mode == "wait":
            self._may_go.wait(60)
        elif mode == "garbage":
            sock.sendall(_GARBAGE)
            return True
        elif mode == "nonsense":
            _send(sock, type="verdict", id=id_, action="forward-to-my-friend")
            return True
        elif mode == "error":
            _send(sock, type="error", id=id_, reason="the scanner fell over")
            return True
        elif mode in ("silent", "mute"):
            return True
        elif mode == "close":
            return False
        elif mode == "half":
            sock.sendall(msgpack.packb({"type": "verdict", "id": id_, "action": "accept"})[:-3])
            return False
        _send(sock, type="verdict", id=id_, action="accept")
        return True


def _send(sock: socket.socket, **message: object) -> None:
    sock.sendall(msgpack.packb(message))
