"""Engines that misbehave on demand, bodies, and waiting, for the tests of scanning."""

import os
import socket as stdlib_socket
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import msgpack
import pytest
from gevent import Greenlet, socket

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.errors import ScanUnavailable
from gwsmtp.scan.connection import Timings
from gwsmtp.scan.outcome import ScanRequest
from gwsmtp.scan.pool import ScanPool

QUICK = Timings(
    connect=2.0,
    hello=0.3,
    ping=0.1,
    sweep=0.02,
    first_retry=0.02,
    last_retry=0.1,
    failover=2.0,
)


def wait_for(condition: Callable[[], object], missing: str, timeout_s: float = 10.0) -> None:
    """Lets the loop run until ``condition`` holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"missing after {timeout_s} s: {missing}"
        gevent.sleep(0.002)


def open_descriptors() -> dict[str, str]:
    """What this process has open, by number."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            pass  # the one that listed the directory
    return found


class MemoryBody:
    """A body in memory."""

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data
        self.size = len(data)

    def open_readonly(self) -> int:
        raise AssertionError("a body in memory has no file")

    def chunks(self) -> Iterator[bytes]:
        raise AssertionError("a body in memory is not read in chunks")


class FileBody:
    """A body in a file; its own descriptor stands at an offset that must not matter."""

    data = None

    def __init__(self, path: Path, data: bytes, claimed_size: int | None = None) -> None:
        path.write_bytes(data)
        self._path = path
        self.size = len(data) if claimed_size is None else claimed_size

    def open_readonly(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def chunks(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while chunk := file.read(256 * 1024):
                yield chunk


def request(
    body: bytes | MemoryBody | FileBody = b"Subject: x\r\n\r\nHello\r\n",
    *,
    sender: str = "a@example.org",
    number: int = 1,
) -> ScanRequest:
    """A request with everything in it."""
    return ScanRequest(
        "bcdfghjklm",
        number,
        "demo",
        "192.0.2.7",
        40000,
        "client.example",
        sender,
        ("b@example.test", "c@example.test"),
        MemoryBody(body) if isinstance(body, bytes) else body,
        b"Received: from client.example\r\n",
    )


def make_pool(*addresses: str, deadline_s: float = 10.0, timings: Timings = QUICK) -> ScanPool:
    """A pool that has begun to connect."""
    pool = ScanPool(addresses, "demo", deadline_s, SystemClock(), timings=timings)
    pool.start()
    return pool


HELLO: dict[str, Any] = {
    "type": "hello",
    "version": 1,
    "role": "engine",
    "name": "fake",
    "capabilities": ["fd"],
}


class Conversation:
    """An engine's end of one connection, spoken by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.descriptors: list[int] = []
        self._unpacker = msgpack.Unpacker(max_buffer_size=2**31 - 1)

    def send(self, *messages: dict[str, Any]) -> None:
        """Sends messages in one write."""
        self.sock.sendall(b"".join(msgpack.packb(message) for message in messages))

    def receive(self) -> dict[str, Any]:
        """The next message; EOFError when there is none."""
        while True:
            for message in self._unpacker:
                assert isinstance(message, dict)
                return message
            if self.sock.family == socket.AF_UNIX:
                data, ancillary, _, _ = self.sock.recvmsg(
                    65536, stdlib_socket.CMSG_SPACE(64), stdlib_socket.MSG_CMSG_CLOEXEC
                )
                for _, _, numbers in ancillary:
                    self.descriptors.extend(array("i", numbers))
            else:
                data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._unpacker.feed(data)

    def greet(self) -> dict[str, Any]:
        """Both hellos; the gateway's is returned."""
        self.send(HELLO)
        return self.receive()

    def request(self) -> dict[str, Any]:
        """The next message that is no ping; pings are answered."""
        while True:
            message = self.receive()
            if message["type"] != "ping":
                return message
            self.send({"type": "pong", "id": message["id"]})

    def wait_for_close(self) -> None:
        """Reads until the gateway closes."""
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionError):
            pass

    def close(self) -> None:
        """Closes socket and descriptors."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()
        os.close(self.sock.detach())


class FakeEngine:
    """A listener whose connections are handed to ``script``, one greenlet each."""

    def __init__(self, path: Path | None, script: Callable[[Conversation], None]) -> None:
        if path is None:
            self.listener = socket.socket(socket.AF_INET)
            self.listener.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            self.address = f"unix:{path}"
        self.listener.listen(64)
        self.script = script
        self.connections = 0
        self.errors: list[BaseException] = []
        self._greenlets: list[Greenlet[..., None]] = [gevent.spawn(self._accept)]

    def _accept(self) -> None:
        while True:
            sock, _ = self.listener.accept()
            self.connections += 1
            self._greenlets.append(gevent.spawn(self._talk, Conversation(sock)))

    def _talk(self, conversation: Conversation) -> None:
        try:
            self.script(conversation)
        except (EOFError, ConnectionError):
            pass
        except AssertionError as error:
            self.errors.append(error)
        finally:
            conversation.close()

    def close(self) -> None:
        """Ends every conversation; fails if one of them was surprised."""
        gevent.killall(self._greenlets)
        os.close(self.listener.detach())
        assert not self.errors, self.errors


def accept_all(conversation: Conversation) -> None:
    """A script: a good engine."""
    conversation.greet()
    while True:
        message = conversation.request()
        conversation.send({"type": "verdict", "id": message["id"], "action": "accept"})


def accept(message: dict[str, Any]) -> dict[str, Any]:
    """The verdict that lets a message through."""
    return {"type": "verdict", "id": message["id"], "action": "accept"}


def refuse(pool: ScanPool, **kwargs: Any) -> str:
    """The cause of a scan that gives no verdict."""
    with pytest.raises(ScanUnavailable) as caught:
        pool.scan(request(**kwargs))
    assert pool.in_flight == 0
    return str(caught.value)
