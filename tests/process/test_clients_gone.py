"""Clients that vanish, or merely stop talking, while their message is on its way (DESIGN, One
message, 8): who resets is gone and nothing is delivered, who half-closes waits for the answer.
"""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventlog import Line, events
from tests.support.fakeengine import FakeEngine
from tests.support.gateway import Gateway, open_folder
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

CONTENT = b"Subject: hello\r\n\r\nhello\r\n"
LARGE = CONTENT + (b"z" * 998 + b"\r\n") * 300


class Way:
    """A gateway whose engine answers when it is let go."""

    def __init__(self, gateway: Gateway, engine: FakeEngine, sink: RawSink) -> None:
        self.gateway = gateway
        self.engine = engine
        self.sink = sink

    def begin(self, sender: str, content: bytes = CONTENT) -> RawClient:
        """A client whose message waits for its verdict."""
        self.engine.hold()
        self.engine.mode = "wait"
        asked = len(self.engine.requests)
        client = RawClient(self.gateway.address)
        client.greet()
        client.begin_data(sender, ["user@example.test"])
        client.send(content + b".\r\n")
        self.engine.wait_for_requests(asked + 1)
        return client

    def logged(self, sender: str) -> Line:
        """The log's line of the message from ``sender``; fails if there are two."""

        def lines() -> list[Line]:
            return [m for m in events(self.gateway, "message") if m["from"] == f"<{sender}>"]

        wait_for(lines, f"the message line of {sender}")
        (line,) = lines()
        return line

    def delivered(self, sender: str) -> int:
        return len(self.sink.by_sender().get(sender, []))

    def expect_service(self) -> None:
        """Somebody else's message passes."""
        self.engine.mode = "accept"
        before = self.delivered("next@client.example")
        with RawClient(self.gateway.address) as client:
            client.greet()
            reply = client.send_message("next@client.example", ["user@example.test"], CONTENT)
            assert reply.code == 250
            client.quit()
        assert self.delivered("next@client.example") == before + 1


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = open_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def way(folder: Path) -> Iterator[Way]:
    with RawSink() as sink, FakeEngine() as engine:
        settings = {
            "scan": {"engines": [{"name": "fake", "address": engine.address}]},
            "workers": {"count": 1},
        }
        with Gateway(folder, sink.address, settings) as gateway:
            yield Way(gateway, engine, sink)


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
def test_reset_while_the_scan_waits(way: Way, content: bytes) -> None:
    sender = f"gone-{len(content)}@client.example"
    way.begin(sender, content).reset()
    way.engine.let_go()
    assert way.logged(sender)["outcome"] == "lost"
    assert way.logged(sender)["verdict"] == "accept"
    way.expect_service()
    assert way.delivered(sender) == 0
    # The next hop was asked and left without a dot, or was not asked at all.
    assert way.sink.unfinished <= 2


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
def test_half_close_while_the_scan_waits(way: Way, content: bytes) -> None:
    sender = f"half-{len(content)}@client.example"
    with way.begin(sender, content) as client:
        client.sock.shutdown(socket.SHUT_WR)
        way.engine.let_go()
        assert client.read_reply().code == 250
        assert client.read_to_end() == b""
    assert way.delivered(sender) == 1
    assert way.logged(sender)["outcome"] == "accepted"


def test_half_close_right_behind_quit(way: Way) -> None:
    """The whole session in one piece, nothing of it lost: as some clients and all scripts do."""
    way.engine.mode = "accept"
    with RawClient(way.gateway.address) as client:
        client.read_reply()
        client.send(
            b"EHLO script.example\r\nMAIL FROM:<piece@client.example>\r\n"
            b"RCPT TO:<user@example.test>\r\nDATA\r\n" + CONTENT + b".\r\nQUIT\r\n"
        )
        client.sock.shutdown(socket.SHUT_WR)
        assert [client.read_reply().code for _ in range(6)] == [250, 250, 250, 354, 250, 221]
        assert client.read_to_end() == b""
    assert way.delivered("piece@client.example") == 1


@pytest.mark.parametrize("end", ["reset", "close", "half-close"])
@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
def test_end_in_the_middle_of_the_data(way: Way, content: bytes, end: str) -> None:
    """Without its final dot there is no message, whatever looks like one at the end."""
    way.engine.mode = "accept"
    asked = len(way.engine.requests)
    sender = f"middle-{end}-{len(content)}@client.example"
    client = RawClient(way.gateway.address)
    client.greet()
    client.begin_data(sender, ["user@example.test"])
    client.send(content + b".\r")
    if end == "reset":
        client.reset()
    elif end == "close":
        client.close()
    else:
        client.sock.shutdown(socket.SHUT_WR)
        assert client.read_to_end() == b""
        client.close()
    assert way.logged(sender)["outcome"] == "lost"
    assert way.logged(sender)["verdict"] == "-"
    assert len(way.engine.requests) == asked
    way.expect_service()
    assert way.delivered(sender) == 0


def test_the_session_of_a_vanished_client_is_reported_once(way: Way) -> None:
    sender = "reported@client.example"
    before = len(events(way.gateway, "session"))
    way.begin(sender).reset()
    way.engine.let_go()
    sid = way.logged(sender)["sid"]
    wait_for(lambda: len(events(way.gateway, "session")) > before, "the session's line")
    (line,) = [one for one in events(way.gateway, "session") if one["sid"] == sid]
    assert line["after"] == "END-OF-DATA"
    assert line["reason"].startswith("lost")
