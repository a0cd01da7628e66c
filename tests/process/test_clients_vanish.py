"""Clients that vanish at every stage, by an orderly end or a reset, beside one that is served.

Before its final dot there is no message. Behind it, who is reset before our own dot is gone and
nothing is delivered (DESIGN, One message, 8); an orderly end may be a half-close, so its message
is delivered once; and who goes while the next hop answers has lost the answer, not the message.
``test_clients_gone`` has those in the middle of the data and while the scan waits.
"""

import shutil
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from gwsmtp.limits.slots import Role, Total
from tests.support.eventlog import Line, events
from tests.support.fakeengine import FakeEngine
from tests.support.gateway import Gateway, open_folder
from tests.support.processes import children, totals
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.unread import wait_until_read
from tests.support.usage import calm_usage
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

TO = ["user@example.test"]
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
LARGE = CONTENT + (b"z" * 998 + b"\r\n") * 300
"""A draft in a file."""


class Way:
    """A gateway with one worker whose engine and next hop answer when they are let go."""

    def __init__(self, gateway: Gateway, engine: FakeEngine, sink: RawSink) -> None:
        self.gateway = gateway
        self.engine = engine
        self.sink = sink
        (worker,) = children(gateway, Role.WORKER)
        self.worker = worker.pid
        self._source = ""
        self._numbers = count(1)

    def client(self) -> RawClient:
        """From an address that no one else has."""
        self._source = f"127.0.6.{next(self._numbers)}"
        return RawClient(self.gateway.address, self._source)

    def session(self) -> Line:
        """The line of that client in the log; fails if there are two."""

        def found() -> list[Line]:
            return [one for one in events(self.gateway, "session") if one["peer"] == self._source]

        wait_for(found, lambda: f"the line of {self._source}\n{self.gateway.log_tail()}")
        (line,) = found()
        return line

    def messages(self, sid: str) -> list[Line]:
        return [one for one in events(self.gateway, "message") if one["sid"] == sid]

    def check(self) -> None:
        """Nobody is there any more, the same worker lives, and the next message passes."""
        calm_usage(self.gateway)
        self.engine.mode = "accept"
        self.sink.messages.clear()
        with RawClient(self.gateway.address) as client:
            client.greet()
            assert client.send_message("next@client.example", TO, CONTENT).code == 250
            assert client.quit().code == 221
        assert [message.sender for message in self.sink.messages] == ["next@client.example"]
        assert [child.pid for child in children(self.gateway, Role.WORKER)] == [self.worker]
        assert not [line for line in self.gateway.log_lines() if "level=ERROR" in line]


@pytest.fixture(scope="module")
def whole_way() -> Iterator[Way]:
    folder = open_folder()
    try:
        with RawSink() as sink, FakeEngine() as engine:
            settings = {
                "scan": {"engines": [{"name": "fake", "address": engine.address}]},
                "workers": {"count": 1},
            }
            with Gateway(folder, sink.address, settings) as gateway:
                yield Way(gateway, engine, sink)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def way(whole_way: Way) -> Iterator[Way]:
    whole_way.sink.messages.clear()
    yield whole_way
    whole_way.sink.let_go()
    whole_way.engine.let_go()
    whole_way.check()


def at_once(client: RawClient) -> None:
    """Before a greeting is read."""


def greeted(client: RawClient) -> None:
    assert client.read_reply().code == 220


def after_half_a_command(client: RawClient) -> None:
    greeted(client)
    client.send(b"EHLO client.exam")
    wait_until_read(client)


def after_ehlo(client: RawClient) -> None:
    client.greet()


def after_mail(client: RawClient) -> None:
    client.greet()
    assert client.command("MAIL FROM:<v@client.example>").code == 250


def after_rcpt(client: RawClient) -> None:
    after_mail(client)
    assert client.command("RCPT TO:<user@example.test>").code == 250


def after_data(client: RawClient) -> None:
    after_rcpt(client)
    assert client.command("DATA").code == 354


def in_the_data(client: RawClient) -> None:
    after_data(client)
    client.send(CONTENT + b".")
    wait_until_read(client)


def in_a_large_body(client: RawClient) -> None:
    after_data(client)
    client.send(LARGE)
    wait_until_read(client)


def in_a_chunk(client: RawClient) -> None:
    after_rcpt(client)
    client.send(b"BDAT 1000 LAST\r\nhalf of it\r\n.\r\n")
    wait_until_read(client)


def between_chunks(client: RawClient) -> None:
    after_rcpt(client)
    client.send(b"BDAT 4\r\nx: y")
    assert client.read_reply().code == 250


STAGES: dict[Callable[[RawClient], None], str] = {
    at_once: "CONNECT",
    greeted: "CONNECT",
    after_half_a_command: "CONNECT",
    after_ehlo: "HELO",
    after_mail: "MAIL",
    after_rcpt: "RCPT",
    after_data: "DATA",
    in_the_data: "DATA",
    in_a_large_body: "DATA",
    in_a_chunk: "DATA",
    between_chunks: "DATA",
}
HAS_DATA = {after_data, in_the_data, in_a_large_body, in_a_chunk, between_chunks}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_before_the_final_dot(way: Way, stage: Callable[[RawClient], None], end: str) -> None:
    lost = totals(way.gateway)[Total.MESSAGES_LOST]
    asked = len(way.engine.requests)
    client = way.client()
    stage(client)
    getattr(client, end)()
    line = way.session()
    assert line["after"] == STAGES[stage]
    if end == "close" and stage is not at_once:
        assert line["reason"] == "closed by client"
    else:  # a reset, or a greeting that nobody takes and that makes one
        assert line["reason"] == "closed by client" or line["reason"].startswith("lost: ")
    messages = way.messages(line["sid"])
    assert len(messages) == (stage in HAS_DATA)
    for message in messages:
        assert (message["outcome"], message["cause"]) == ("lost", line["reason"])
    assert totals(way.gateway)[Total.MESSAGES_LOST] == lost + len(messages)
    assert len(way.engine.requests) == asked
    assert way.sink.messages == []


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_while_the_scan_runs(way: Way, content: bytes, end: str) -> None:
    way.engine.hold()
    way.engine.mode = "wait"
    asked = len(way.engine.requests)
    client = way.client()
    client.greet()
    client.begin_data("scan@client.example", TO)
    client.send(content + b".\r\n")
    way.engine.wait_for_requests(asked + 1)
    getattr(client, end)()
    way.engine.let_go()
    line = way.session()
    (message,) = way.messages(line["sid"])
    if end == "close":
        assert message["outcome"] == "accepted"
        assert [one.sender for one in way.sink.messages] == ["scan@client.example"]
    else:
        assert (message["outcome"], message["cause"]) == ("lost", "client vanished")
        assert line["reason"].startswith("lost: ")
        assert way.sink.messages == []
    assert line["after"] == "END-OF-DATA"


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_while_the_next_hop_answers(way: Way, content: bytes, end: str) -> None:
    """It has the message by then: delivered once, and the log says so whoever has heard it."""
    way.sink.hold()
    client = way.client()
    client.greet()
    client.begin_data("hop@client.example", TO)
    client.send(content + b".\r\n")
    way.sink.wait_for_messages(1)
    getattr(client, end)()
    way.sink.let_go()
    line = way.session()
    (message,) = way.messages(line["sid"])
    assert (message["outcome"], message["reply"]) == ("accepted", "250 2.0.0 Taken")
    assert [one.sender for one in way.sink.messages] == ["hop@client.example"]
    assert line["after"] == "END-OF-DATA"
    assert line["reason"] == "closed by client" or line["reason"].startswith("lost: ")
