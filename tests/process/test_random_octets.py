"""Octets at random, live: on both listeners, within TLS, as commands and as content.

The same ones in every run. Whatever comes, each of our lines is one of a reply, no worker ends, no
session ends for a bug of ours, and nothing is delivered that no transaction of the stream holds.
"""

import random
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from gwsmtp.limits.slots import Role
from tests.support.eventlog import events
from tests.support.gateway import Gateway, open_folder
from tests.support.pki import Authority
from tests.support.processes import children
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.tlsclient import by_starttls, client_context, over_ssl
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

ROUNDS = 120
REPLIES = re.compile(rb"(?:[2-5]\d\d-[ -~]*\r\n)*[2-5]\d\d [ -~]*\r\n")
RECORDS = re.compile(rb"(?:\x15\x03[\x00-\x04]\x00\x02..)*", re.DOTALL)
RECOVERY = re.compile(
    RECORDS.pattern + rb"(?:454 4\.7\.0 [ -~]*\r\n)*(?:221 [ -~]*\r\n)?", re.DOTALL
)
WORDS = (
    *(b"EHLO", b"HELO", b"MAIL FROM:<", b"RCPT TO:<", b"DATA", b"BDAT ", b"STARTTLS", b"RSET"),
    *(b"NOOP", b"VRFY ", b"HELP", b"AUTH PLAIN ", b"@", b"a@client.example", b"user@example.test"),
    *(b">", b"<", b" SIZE=", b" BODY=8BITMIME", b"LAST", b"\r\n", b"\r\n", b"\r\n", b"\r\n"),
    *(b"\n", b"\r", b"\0", b" ", b"\t", b"\xff", b"\x80", b"\xc3\xa9", b"999999999999", b"0"),
)
ENVELOPE = (
    b"EHLO a.example\r\nMAIL FROM:<r@client.example>\r\nRCPT TO:<user@example.test>\r\nDATA\r\n"
)


class Place:
    """A gateway with both listeners, its sink, and the workers it began with."""

    def __init__(self, gateway: Gateway, sink: RawSink, context: ssl.SSLContext) -> None:
        self.gateway = gateway
        self.sink = sink
        self.context = context
        self.workers = self._workers()
        self.sessions = 0

    def _workers(self) -> set[int]:
        return {child.pid for child in children(self.gateway, Role.WORKER)}

    def hear(self, client: RawClient, octets: bytes, cuts: list[int]) -> bytes:
        """What is said to ``octets`` and behind them an end; cut into writes."""
        self.sessions += 1
        try:
            client.send_chunks(octets, cuts)
            # Of the connection itself: TLS's own would take the deciphering with it.
            socket.socket.shutdown(client.sock, socket.SHUT_WR)
        except OSError:
            pass  # it has closed already; what it said can be read all the same
        try:
            return client.read_to_end()
        finally:
            client.close()

    def check(self, delivered: int) -> None:
        """All sessions are in the log with a reason, and the same workers serve."""
        wait_for(
            lambda: len(events(self.gateway, "session")) >= self.sessions,
            lambda: f"{self.sessions} sessions in the log\n{self.gateway.log_tail()}",
        )
        sessions = events(self.gateway, "session")
        assert len(sessions) == self.sessions
        assert not [line for line in sessions if line["reason"] in ("", "internal error")]
        wrong = ("level=ERROR", "Traceback", "trace=")
        assert not [line for line in self.gateway.log_lines() if any(one in line for one in wrong)]
        assert self._workers() == self.workers
        assert len(self.sink.messages) == delivered
        self.sink.messages.clear()
        with RawClient(self.gateway.address) as client:
            client.greet()
            to = ["user@example.test"]
            assert client.send_message("good@client.example", to, b"x\r\n").code == 250
            assert client.quit().code == 221
        self.sessions += 1
        self.sink.messages.clear()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = open_folder()
    try:
        files = Authority().issue(folder, "gw")
        settings = {"ssl": files.on_both_listeners}
        with RawSink() as sink, Gateway(folder, sink.address, settings) as gateway:
            yield Place(gateway, sink, client_context(files.ca))
    finally:
        shutil.rmtree(folder)


def noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((1, 10, 100, 1000, 5000)))


def nearly_smtp(rng: random.Random) -> bytes:
    return b"".join(rng.choice(WORDS) for _ in range(rng.randint(1, 200)))


def broken_smtp(rng: random.Random) -> bytes:
    """A whole session with some of its octets changed, left out or doubled."""
    octets = bytearray(ENVELOPE + b"Subject: x\r\n\r\nhello\r\n.\r\nNOOP\r\nQUIT\r\n")
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(octets))
        octets[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
    return bytes(octets)


def content(rng: random.Random) -> bytes:
    """Noise as a message that never ends: CRLF, a dot and what follows would be its end."""
    return ENVELOPE + rng.randbytes(rng.randint(1, 20_000)).replace(b".", b",")


KINDS: list[Callable[[random.Random], bytes]] = [noise, nearly_smtp, broken_smtp, content]


def pieces(rng: random.Random, octets: bytes) -> list[int]:
    return sorted(rng.randrange(len(octets) + 1) for _ in range(rng.choice((0, 0, 1, 5))))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("way", ["in clear", "within TLS"])
def test_where_commands_are_expected(
    place: Place, way: str, kind: Callable[[random.Random], bytes]
) -> None:
    rng = random.Random(f"{kind.__name__} {way}")
    taken = 0
    for _ in range(ROUNDS):
        octets = kind(rng)
        if way == "in clear":
            client = RawClient(place.gateway.address)
        else:
            client = by_starttls(place.gateway.address, place.context)
        heard = place.hear(client, octets, pieces(rng, octets))
        replies = REPLIES.findall(heard)
        assert b"".join(replies) == heard, f"{heard!r} to {octets!r}"
        taken += sum(b"Taken" in reply for reply in replies)
    place.check(delivered=taken)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("way", ["ssl", "starttls"])
def test_where_a_handshake_is_expected(
    place: Place, way: str, kind: Callable[[random.Random], bytes]
) -> None:
    """On the SSL listener nothing but an alert is said, and behind STARTTLS row 42 at most."""
    rng = random.Random(f"{kind.__name__} {way}")
    for _ in range(ROUNDS // 2):
        octets = kind(rng)
        if way == "ssl":
            client = RawClient(place.gateway.ssl_address)
        else:
            client = RawClient(place.gateway.address)
            client.greet()
            assert client.command("STARTTLS").code == 220
        heard = place.hear(client, octets, pieces(rng, octets))
        may_be = RECORDS if way == "ssl" else RECOVERY
        assert may_be.fullmatch(heard), f"{heard!r} to {octets!r}"
    place.check(delivered=0)


@pytest.mark.parametrize("at", ["hello", "records"])
def test_in_the_middle_of_tls(place: Place, at: str) -> None:
    """A genuine client's octets with some of them changed, before or after the handshake."""
    rng = random.Random(at)
    for _ in range(ROUNDS // 2):
        if at == "hello":
            outgoing = ssl.MemoryBIO()
            tls = place.context.wrap_bio(
                ssl.MemoryBIO(), outgoing, server_hostname="gw.example.test"
            )
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            octets = bytearray(outgoing.read())
            for _ in range(rng.randint(1, 5)):
                octets[rng.randrange(len(octets))] = rng.randrange(256)
            heard = place.hear(RawClient(place.gateway.ssl_address), bytes(octets), [])
            assert heard[:1] in (b"", b"\x15", b"\x16"), f"{heard!r} to {octets!r}"
        else:
            client = over_ssl(place.gateway.ssl_address, place.context)
            client.greet()
            plain = socket.socket(fileno=client.sock.detach())
            plain.settimeout(20)
            client.sock = plain
            heard = place.hear(client, b"\x17\x03\x03\x00\x20" + rng.randbytes(32), [])
            assert b"250" not in heard
    place.check(delivered=0)
