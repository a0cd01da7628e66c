"""Rows 36-40 and what holds always (DEFENCE), on a real gateway with short timers."""

import select
import shutil
import time
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

CONNECTION_S, COMMAND_S, DATA_COMMAND_S, PAYLOAD_S = 2, 1, 3, 1
TIMERS = {
    "client_connection_timeout": CONNECTION_S,
    "client_protocol_timeout": COMMAND_S,
    "client_data_command_timeout": DATA_COMMAND_S,
    "client_data_payload_timeout": PAYLOAD_S,
}
TIMEOUT = b"421 4.4.2 Timeout, closing connection\r\n"


class House:
    """A gateway between an engine and a sink of the tests' own."""

    def __init__(self, gateway: Gateway, engine: FakeEngine, sink: RawSink) -> None:
        self.gateway = gateway
        self.engine = engine
        self.sink = sink

    def client(self) -> RawClient:
        return RawClient(self.gateway.address)

    def greeted(self) -> RawClient:
        client = self.client()
        client.greet()
        return client

    def expect_timeout(self, client: RawClient, seconds: float, phase: str, since: float) -> None:
        """The client hears of its timeout after ``seconds`` and is left; so says the log."""
        ended_before = len(events(self.gateway, "session"))
        assert client.read_to_end() == TIMEOUT
        assert seconds - 0.05 < time.monotonic() - since < seconds + 5
        client.close()
        assert self.ended(ended_before)["reason"] == f"timeout: {phase}"

    def message(self, sender: str) -> Line:
        """The log's line of the message from ``sender``."""

        def lines() -> list[Line]:
            return [m for m in events(self.gateway, "message") if m["from"] == f"<{sender}>"]

        return wait_for(lines, f"the line of {sender}'s message in the log")[0]

    def ended(self, ended_before: int) -> Line:
        wait_for(
            lambda: len(events(self.gateway, "session")) > ended_before,
            "the session's line in the log",
        )
        return events(self.gateway, "session")[-1]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = open_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    with RawSink() as sink, FakeEngine() as engine:
        settings = {
            "protocol": {**TIMERS, "size_limit_bytes": 10_000},
            "scan": {"engines": [{"name": "fake", "address": engine.address}]},
            "workers": {"count": 1},
        }
        with Gateway(folder, sink.address, settings) as gateway:
            yield House(gateway, engine, sink)


def stays_silent(client: RawClient, seconds: float) -> bool:
    """Whether the server says nothing for so long; the end of the connection is something."""
    return not select.select([client.sock], [], [], seconds)[0]


def dribble(client: RawClient, octets: bytes, interval_s: float) -> None:
    """Sends one octet after another until the server says something."""
    for octet in octets:
        client.send(bytes([octet]))
        if not stays_silent(client, interval_s):
            return


def test_row_37_runs_from_the_greeting_to_the_first_complete_command(house: House) -> None:
    with house.client() as client:
        assert client.read_reply().code == 220
        begun = time.monotonic()
        dribble(client, b"EHLO an.endless.name." + b"x" * 50, 0.2)
        house.expect_timeout(client, CONNECTION_S, "first command", begun)


def test_row_38_runs_to_the_next_complete_command_and_octets_do_not_extend_it(
    house: House,
) -> None:
    with house.greeted() as client:
        for _ in range(4):  # complete commands do
            assert stays_silent(client, COMMAND_S * 0.5)
            assert client.command("NOOP").code == 250
        begun = time.monotonic()
        dribble(client, b"NOOP " + b"x" * 100, 0.1)
        house.expect_timeout(client, COMMAND_S, "command", begun)


def test_row_39_takes_the_place_of_row_38_between_rcpt_and_data(house: House) -> None:
    with house.greeted() as client:
        client.command("MAIL FROM:<a@client.example>")
        client.command("RCPT TO:<user@example.test>")
        begun = time.monotonic()
        assert stays_silent(client, COMMAND_S * 1.5)
        house.expect_timeout(client, DATA_COMMAND_S, "DATA command", begun)


def test_row_39_runs_from_354_to_the_first_octet(house: House) -> None:
    with house.greeted() as client:
        client.begin_data("b@client.example", ["user@example.test"])
        begun = time.monotonic()
        assert stays_silent(client, PAYLOAD_S * 1.5)
        house.expect_timeout(client, DATA_COMMAND_S, "start of message data", begun)


def test_row_40_begins_anew_with_any_octet_and_silence_loses_the_message(house: House) -> None:
    house.engine.mode = "accept"
    with house.greeted() as client:
        client.begin_data("drops@client.example", ["user@example.test"])
        # The first dot is no content yet, but it is an octet.
        dribble(client, b"..x\r\n.\r", PAYLOAD_S * 0.6)
        client.send(b"\n")
        assert client.read_reply().code == 250
        client.begin_data("stops@client.example", ["user@example.test"])
        client.send(b"half a message\r\n")
        house.expect_timeout(client, PAYLOAD_S, "message data", time.monotonic())
    lost = house.message("stops@client.example")
    assert lost["outcome"] == "lost"
    assert len(house.sink.by_sender()["drops@client.example"]) == 1
    assert "stops@client.example" not in house.sink.by_sender()


def test_time_that_we_spend_scanning_is_in_no_timer(house: House) -> None:
    house.engine.hold()
    house.engine.mode = "wait"
    with house.greeted() as client:
        client.begin_data("slow@client.example", ["user@example.test"])
        client.send(b"x\r\n.\r\n")
        assert stays_silent(client, max(TIMERS.values()) + 0.5)
        house.engine.let_go()
        assert client.read_reply().code == 250
        assert client.command("NOOP").code == 250


@pytest.fixture
def untimed(house: House) -> Iterator[Gateway]:
    folder = open_folder()
    settings = {"protocol": {**TIMERS, "inbound_timeouts": False}}
    with Gateway(folder, house.sink.address, settings) as gateway:
        yield gateway
    shutil.rmtree(folder, ignore_errors=True)


def test_row_36_off_leaves_every_timer_out(untimed: Gateway) -> None:
    gateway = untimed
    clients = [RawClient(gateway.address) for _ in range(4)]
    silent, idle, before_data, in_data = clients
    assert silent.read_reply().code == 220
    for client in (idle, before_data, in_data):
        client.greet()
    assert before_data.pipeline(["MAIL FROM:<>", "RCPT TO:<user@example.test>"])[1].code == 250
    in_data.begin_data("", ["user@example.test"])
    in_data.send(b"half a message\r\n")
    assert not select.select([c.sock for c in clients], [], [], max(TIMERS.values()) + 0.5)[0]
    in_data.send(b".\r\n")
    assert in_data.read_reply().code == 250
    assert before_data.command("DATA").code == 354
    assert idle.command("NOOP").code == 250
    assert silent.command("EHLO client.example").code == 250
    for client in clients:
        client.close()


def test_far_more_than_size_ends_the_session(house: House) -> None:
    with house.greeted() as client:
        client.begin_data("flood@client.example", ["user@example.test"])
        client.send(b"x" * 39_000 + b"\r\n")
        assert stays_silent(client, 0.2)
        client.send(b"x" * 2_000)
        ended_before = len(events(house.gateway, "session"))
        assert client.read_to_end().startswith(b"421 4.7.0 Far more data than allowed")
    assert house.ended(ended_before)["reason"] == "far more data than SIZE"


def test_a_hundred_commands_without_a_message_end_the_session(house: House) -> None:
    house.engine.mode = "accept"
    with house.greeted() as client:
        # RCPT does not count, and a message begins the count anew.
        for _ in range(2):
            replies = client.pipeline(["NOOP"] * 90)
            assert {reply.code for reply in replies} == {250}
            sent = client.send_message("many@client.example", ["user@example.test"] * 50, b"x\r\n")
            assert sent.code == 250
        ended_before = len(events(house.gateway, "session"))
        client.send(b"NOOP\r\n" * 101)
        assert {client.read_reply().code for _ in range(100)} == {250}
        assert client.read_to_end().startswith(b"421 4.7.0 ")
    assert house.ended(ended_before)["reason"] == "too many commands without a message"


def test_a_mail_loop_is_refused_and_goes_nowhere(house: House) -> None:
    house.engine.mode = "accept"
    asked = len(house.engine.requests)
    hop = b"RECEIVED: from a by b;\r\n\ttoday\r\n"
    with house.greeted() as client:
        to = ["user@example.test"]
        reply = client.send_message("loop@client.example", to, hop * 101 + b"\r\nbody\r\n")
        assert reply.raw == b"554 5.4.6 Too many hops, mail loop suspected\r\n"
        assert len(house.engine.requests) == asked
        passes = client.send_message("far@client.example", to, hop * 100 + b"\r\n" + hop * 9)
        assert passes.code == 250
    assert "loop@client.example" not in house.sink.by_sender()
    refused = house.message("loop@client.example")
    assert (refused["outcome"], refused["cause"]) == ("rejected", "loop")
    assert len(house.sink.by_sender()["far@client.example"]) == 1
