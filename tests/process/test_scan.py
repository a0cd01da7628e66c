"""Every message is scanned: what the engine refuses, and what happens without a verdict (SETTINGS
row 5 and 2.8), with an engine that is down, slow, or answers nonsense.
"""

import base64
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gwsmtp.limits.slots import Role
from tests.support.corpus import without_trace
from tests.support.eventlog import Line, events, wait_for_events
from tests.support.fakeengine import FakeEngine, Mode
from tests.support.gateway import Gateway, open_folder
from tests.support.processes import children, killed_at_sight, wait_for_child
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

# In two pieces each, so that nobody's scanner takes this file for what it describes.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE" + b"-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
HARMLESS = b"Subject: hello\r\n\r\nhello\r\n"
PADDING = (b"y" * 998 + b"\r\n") * 300  # a draft in a file, passed as a descriptor
HEADER = b"X-Gwsmtp-Scan: not scanned\r\n"
WITHOUT_VERDICT = {"delay": "451 4.3.0", "allow": "250 ", "reject": "554 5.3.0"}
OUTCOMES = {"delay": "deferred", "allow": "accepted", "reject": "rejected"}


def in_mime(content: bytes) -> bytes:
    """``content`` base64 in the second part of a MIME message."""
    return (
        b"Subject: parts\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\nsee attachment\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(content).replace(b"\n", b"\r\n")
        + b"--b--\r\n"
    )


class Place:
    """A gateway between clients and a sink that takes everything."""

    def __init__(self, gateway: Gateway, sink: RawSink, action: str = "delay") -> None:
        self.gateway = gateway
        self.sink = sink
        self.action = action

    def send(self, content: bytes = HARMLESS) -> str:
        """The reply to the end of data."""
        with RawClient(self.gateway.address) as client:
            client.greet()
            reply = client.send_message("a@client.example", ["user@example.test"], content)
            assert client.quit().code == 221
        return reply.raw.decode().rstrip("\r\n")

    def ask(self, content: bytes = HARMLESS) -> tuple[str, Line, list[bytes]]:
        """Sends a message: the reply, its line in the log, and what arrived of it."""
        logged, arrived = len(events(self.gateway, "message")), len(self.sink.messages)
        reply = self.send(content)
        wait_for(lambda: len(events(self.gateway, "message")) > logged, "the message's log line")
        (line,) = events(self.gateway, "message")[logged:]
        return reply, line, [message.payload for message in self.sink.messages[arrived:]]

    def expect_no_verdict(self) -> Line:
        """Sends a message that must be treated as row 5 says; its log line."""
        reply, line, arrived = self.ask()
        assert reply.startswith(WITHOUT_VERDICT[self.action]), self.gateway.log_tail()
        assert (line["verdict"], line["outcome"]) == ("none", OUTCOMES[self.action])
        assert line["cause"]
        if self.action == "allow":
            (content,) = arrived
            assert content.count(HEADER) == 1
            trace, rest = without_trace(content.replace(HEADER, b""))
            assert trace
            assert rest == HARMLESS
        else:
            assert arrived == []
        return line

    def expect_verdicts(self, deadline_s: float = 20) -> None:
        """Messages are scanned again before long, and then pass without the header."""

        def is_scanned() -> bool:
            _, line, arrived = self.ask()
            return line["verdict"] == "accept" and HEADER not in arrived[0]

        wait_for(is_scanned, lambda: f"a verdict\n{self.gateway.log_tail()}", deadline_s)


@pytest.fixture(scope="module")
def everything() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def make_place(
    stack: ExitStack, action: str, *, engine: str = "", deadline_s: int = 120, workers: int = 1
) -> Place:
    folder = open_folder()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    sink = stack.enter_context(RawSink())
    scan: dict[str, object] = {"deadline": deadline_s}
    if engine:
        scan["engines"] = [{"name": "fake", "address": engine}]
    settings = {
        "interface": {"name": "test", "scan_failure_action": action},
        "scan": scan,
        "workers": {"count": workers},
    }
    return Place(stack.enter_context(Gateway(folder, sink.address, settings)), sink, action)


def test_no_embedded_engine_runs_beside_an_external_one() -> None:
    folder = open_folder()
    try:
        with RawSink() as sink, FakeEngine() as engine:
            scan = {"engines": [{"name": "outside", "address": engine.address}]}
            with Gateway(folder, sink.address, {"scan": scan}) as gateway:
                assert Place(gateway, sink).send().startswith("250 ")
                assert children(gateway, Role.ENGINE) == []
    finally:
        shutil.rmtree(folder)


# The embedded engine -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(everything: ExitStack) -> Place:
    return make_place(everything, "delay", workers=2)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (HARMLESS + EICAR + b"\r\n", "EICAR"),
        (EICAR, "EICAR"),
        (in_mime(EICAR), "EICAR"),
        (in_mime(PADDING + EICAR), "EICAR"),
        (HARMLESS + PADDING + EICAR + b"\r\n", "EICAR"),
        (HARMLESS + GTUBE + b"\r\n", "GTUBE"),
        (in_mime(b"so\n" + GTUBE + b"\n"), "GTUBE"),
    ],
    ids=["plain", "alone", "base64", "base64-large", "large", "gtube", "gtube-base64"],
)
def test_refused(embedded: Place, content: bytes, rule: str) -> None:
    reply, line, arrived = embedded.ask(content)
    assert reply.startswith("554 5.7.1 ")
    assert reply.endswith(f"[{line['sid']}]")
    assert rule in reply
    assert (line["verdict"], line["outcome"], line["cause"]) == ("reject", "rejected", rule)
    assert arrived == []
    embedded.expect_verdicts(deadline_s=1)


def test_nearly_refused(embedded: Place) -> None:
    for content in (HARMLESS + EICAR[:-1] + b"\r\n", in_mime(EICAR[1:]), HARMLESS + PADDING):
        reply, line, arrived = embedded.ask(content)
        assert reply.startswith("250 ")
        assert line["verdict"] == "accept"
        assert [without_trace(one)[1] for one in arrived] == [content]


@pytest.mark.parametrize("action", WITHOUT_VERDICT)
def test_embedded_engine_stopped_and_killed(running: ExitStack, action: str) -> None:
    """Stopped: row 5 after the deadline. Killed: the message waits for the next one, or row 5.
    Killed as often as it comes: row 5. Left in peace: every message has its verdict again.
    """
    place = make_place(running, action, deadline_s=1)
    pid = wait_for_child(place.gateway, Role.ENGINE)
    place.expect_verdicts()
    os.kill(pid, signal.SIGSTOP)
    place.expect_no_verdict()
    os.kill(pid, signal.SIGCONT)
    place.expect_verdicts()
    os.kill(pid, signal.SIGKILL)
    assert place.ask()[0].startswith(("250 ", WITHOUT_VERDICT[action]))
    with killed_at_sight(place.gateway, Role.ENGINE) as killed:
        for _ in range(2):
            place.expect_no_verdict()
    assert len(killed) > 1
    assert place.gateway.exit_code is None
    place.expect_verdicts()


def test_embedded_engine_killed_with_messages_in_flight(running: ExitStack) -> None:
    """What was in flight is offered once more: nobody notices."""
    place = make_place(running, "reject", deadline_s=60)
    pid = wait_for_child(place.gateway, Role.ENGINE)
    place.expect_verdicts()
    with ExitStack() as clients:
        os.kill(pid, signal.SIGSTOP)
        waiting = [clients.enter_context(RawClient(place.gateway.address)) for _ in range(10)]
        for client in waiting:
            client.greet()
            client.begin_data("a@client.example", ["user@example.test"])
            client.send(HARMLESS + b".\r\n")
        os.kill(pid, signal.SIGKILL)
        assert [client.read_reply().code for client in waiting] == [250] * 10
    assert wait_for_child(place.gateway, Role.ENGINE, pid) != pid
    assert len(place.sink.messages) == 11
    assert not [message for message in place.sink.messages if HEADER in message.payload]
    wait_for_events(place.gateway, "message", 11)
    reply, line, _ = place.ask(HARMLESS + EICAR + b"\r\n")
    assert (reply[:9], line["cause"]) == ("554 5.7.1", "EICAR")


# Somebody else's engine ----------------------------------------------------------------------


@pytest.fixture(scope="module", params=WITHOUT_VERDICT)
def with_engine(
    request: pytest.FixtureRequest, everything: ExitStack
) -> Iterator[tuple[Place, FakeEngine]]:
    with ExitStack() as stack:
        engine = stack.enter_context(FakeEngine())
        yield make_place(stack, request.param, engine=engine.address, deadline_s=1), engine


@pytest.mark.parametrize("mode", ["error", "garbage", "nonsense", "close", "silent"])
def test_external_engine_without_a_verdict(
    with_engine: tuple[Place, FakeEngine], mode: Mode
) -> None:
    place, engine = with_engine
    engine.mode = "accept"
    place.expect_verdicts()
    engine.mode = mode
    asked = len(engine.requests)
    place.expect_no_verdict()
    # A lost connection is worth one more try; a late answer or the engine's own word is not.
    assert len(engine.requests) - asked == (1 if mode in ("error", "silent") else 2)
    engine.mode = "accept"
    place.expect_verdicts()


@pytest.mark.parametrize(
    ("mode", "action"),
    [("down", "delay"), ("down", "allow"), ("down", "reject"), ("mute", "delay")],
)
def test_external_engine_that_was_never_there(
    running: ExitStack, mode: str, action: str, tmp_path: Path
) -> None:
    """Nobody listens there, or nobody says hello: from the first message on."""
    if mode == "mute":
        address = running.enter_context(FakeEngine("mute")).address
    else:
        address = f"unix:{tmp_path}/nobody"
    place = make_place(running, action, engine=address, deadline_s=1)
    for _ in range(2):
        place.expect_no_verdict()
