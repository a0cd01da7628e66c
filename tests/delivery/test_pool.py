"""Connections kept and reused: which are fit to be, which are not."""

from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from gwsmtp.delivery.hop import HopFailure
from gwsmtp.delivery.pool import HopPool
from gwsmtp.directory.domains import SmtpHost
from tests.delivery.hops import pool


class Hop:
    """Accepts, greets and answers EHLO with ``ehlo``; ``sockets`` are its ends of connections."""

    def __init__(self) -> None:
        self.ehlo = b"250 hop\r\n"
        self.sockets: list[socket.socket] = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        # Without this, what is said next waits for the acknowledgement of what was said before.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.listen()
        self.host = SmtpHost("127.0.0.1", self._listener.getsockname()[1])
        self._greenlet = gevent.spawn(self._serve)

    def _serve(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self.sockets.append(sock)
            sock.sendall(b"220 hop\r\n")
            sock.recv(1000)
            sock.sendall(self.ehlo)

    def close(self) -> None:
        self._greenlet.kill()
        for sock in (*self.sockets, self._listener):
            sock.close()


@pytest.fixture
def connections() -> Iterator[HopPool]:
    one = pool()
    yield one
    one.close()


@pytest.fixture
def hop() -> Iterator[Hop]:
    one = Hop()
    yield one
    one.close()


def test_an_idle_connection_is_used_again(hop: Hop, connections: HopPool) -> None:
    first = connections.acquire(hop.host)
    connections.release(first)
    assert connections.acquire(hop.host) is first
    connections.discard(first)


@pytest.mark.parametrize("stray", [b"250 2.0.0 late\r\n", b"421 4.3.2 bye\r\n", b"2"])
def test_a_connection_that_spoke_while_idle_is_never_used_again(
    hop: Hop, connections: HopPool, stray: bytes
) -> None:
    first = connections.acquire(hop.host)
    connections.release(first)
    hop.sockets[0].sendall(stray)
    second = connections.acquire(hop.host)
    assert second is not first
    assert second.is_fresh
    connections.discard(second)


def test_a_connection_that_was_closed_while_idle_is_never_used_again(
    hop: Hop, connections: HopPool
) -> None:
    first = connections.acquire(hop.host)
    connections.release(first)
    hop.sockets[0].close()
    second = connections.acquire(hop.host)
    assert second is not first
    connections.discard(second)


def test_a_connection_that_has_more_to_say_is_not_kept(hop: Hop, connections: HopPool) -> None:
    first = connections.acquire(hop.host)
    hop.sockets[0].sendall(b"250 nobody asked\r\n")
    connections.release(first)
    second = connections.acquire(hop.host)
    assert second is not first
    connections.discard(second)


def test_a_line_behind_the_ehlo_reply_is_a_failure(hop: Hop, connections: HopPool) -> None:
    hop.ehlo = b"250 hop\r\n250 and more\r\n"
    with pytest.raises(HopFailure, match="unasked"):
        connections.acquire(hop.host)
