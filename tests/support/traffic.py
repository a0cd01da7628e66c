"""Clients that send numbered messages while a gateway is reloaded, signalled or killed.

    with Traffic(gateway.address) as traffic:
        gateway.signal(signal.SIGHUP)
        traffic.wait_for_more(20)
    traffic.check(sink)

Every message has a sender of its own; ``heard`` holds what each was answered at its dot. A client
whose session is ended with 421 4.3.2 where a command is answered comes again, as a real one does;
any other end of a session is in ``dropped``.
"""

import random
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

from tests.support.rawclient import RawClient
from tests.support.wait import wait_for

TO = "user@example.test"
_THINKS_S = 0.005
SHUTTING_DOWN = b"421 4.3.2 "


class _ComeAgain(Exception):
    """The server ended the session as it may."""


class Receiver(Protocol):
    """Who tells what has arrived."""

    def by_sender(self) -> Mapping[str, Sequence[object]]:
        """All messages, grouped by the sender of their envelope."""
        ...


class Traffic:
    """``clients`` threads; each session sends up to ``per_session`` messages."""

    def __init__(
        self, address: str, clients: int = 4, per_session: int = 6, most: int = 8000
    ) -> None:
        self._address = address
        self._per_session = per_session
        self._most = most // clients
        self._is_over = threading.Event()
        self._count = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(clients)]
        self.heard: dict[str, bytes] = {}
        self.dropped: list[str] = []
        self.turned_away = 0
        self.sessions = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    @property
    def accepted(self) -> list[str]:
        """Senders of the messages that were answered 250."""
        return [name for name, answer in list(self.heard.items()) if answer[:3] == b"250"]

    def wait_for_more(self, count: int = 10) -> None:
        """Waits until so many messages more have been accepted."""
        wanted = len(self.accepted) + count
        wait_for(
            lambda: len(self.accepted) >= wanted or self.dropped,
            lambda: f"{count} messages more; there are {len(self.accepted)}, {self.dropped}",
            20,
        )

    def wait_for_answers(self, count: int = 10) -> None:
        """Waits until so many messages more have been answered, whatever it was."""

        def answers() -> int:
            return sum(1 for answer in list(self.heard.values()) if answer)

        wanted = answers() + count
        wait_for(
            lambda: answers() >= wanted or self.dropped,
            lambda: f"{count} answers more; there are {answers()}, {self.dropped}",
            20,
        )

    def wait_until_unanswered(self) -> None:
        """Waits until every client waits for the answer to a message."""
        wait_for(
            lambda: sum(not answer for answer in list(self.heard.values())) >= len(self._threads),
            lambda: f"{len(self._threads)} messages without an answer, {self.dropped}",
            20,
        )

    def check(self, sink: Receiver, *, may_drop: bool = False, may_hear: bytes = b"250") -> None:
        """Promise 1: what was answered 250 is there once, nothing is there twice, and nothing that
        was not sent; and unless ``may_drop``, no session was dropped and nothing unanswered.

        ``may_hear``: what all other answers must begin with; what was answered so is not there.
        """
        seen = {name: len(found) for name, found in sink.by_sender().items()}
        lost = [name for name in self.accepted if name not in seen]
        assert not lost, f"answered 250 and lost: {lost}"
        doubled = [name for name, count in seen.items() if count > 1]
        assert not doubled, f"delivered twice: {doubled}"
        assert set(seen) <= set(self.heard)
        if not may_drop:
            assert not self.dropped, self.dropped[:5]
            assert set(seen) == set(self.accepted)
            others = {name: self.heard[name] for name in self.heard.keys() - seen.keys()}
            odd = {name: said for name, said in others.items() if not said.startswith(may_hear)}
            assert not odd, f"neither 250 nor {may_hear!r}: {odd}"

    def _run(self, client: int) -> None:
        rng, number = random.Random(client), 0
        while not self._is_over.is_set() and number < self._most:
            try:
                with RawClient(self._address, timeout_s=30) as connection:
                    with self._count:
                        self.sessions += 1
                    self._talk(connection, "greeting", b"", b"220")
                    self._talk(connection, "EHLO", b"EHLO client.example\r\n", b"250")
                    for _ in range(rng.randint(1, self._per_session)):
                        if self._is_over.is_set() or number >= self._most:
                            break
                        self._send(connection, f"c{client}-{number}@client.example", rng)
                        number += 1
                        self._is_over.wait(_THINKS_S)  # leaves the machine to those under test
                    self._talk(connection, "QUIT", b"QUIT\r\n", b"221")
            except _ComeAgain:
                self.turned_away += 1
            except (OSError, AssertionError) as e:
                self.dropped.append(f"client {client}, message {number}: {e!r}")
                number += 1
                self._is_over.wait(0.02)

    def _talk(self, connection: RawClient, what: str, octets: bytes, expected: bytes) -> None:
        try:
            connection.send(octets)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is over; what the server said first can be read all the same
        reply = connection.read_reply().raw
        if reply.startswith(SHUTTING_DOWN):
            assert connection.read_to_end() == b"", "more after 421"
            raise _ComeAgain
        assert reply.startswith(expected), f"{reply!r} to {what}"

    def _send(self, connection: RawClient, sender: str, rng: random.Random) -> None:
        self._talk(connection, "MAIL", b"MAIL FROM:<%s>\r\n" % sender.encode(), b"250")
        for line in (b"RCPT TO:<%s>\r\n" % TO.encode(), b"DATA\r\n"):
            connection.send(line)
            reply = connection.read_reply()
            assert reply.code in (250, 354), f"{reply!r} in the middle of a transaction"
        self.heard[sender] = b""
        connection.send(b"Subject: x\r\n\r\n")
        for _ in range(rng.choice((1, 1, 1, 3))):
            connection.send(b"line\r\n" * rng.choice((1, 50, 2000)))
        connection.send(b".\r\n")
        self.heard[sender] = connection.read_reply().raw


def waits_in_the_backlog(address: str) -> socket.socket:
    """A connection that is made but not greeted; fails if it is."""
    host, _, port = address.rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=0.3)
    try:
        greeting = client.recv(100)
    except TimeoutError:
        client.settimeout(20)
        return client
    client.close()
    raise AssertionError(f"was greeted with {greeting!r}")
