"""A next hop that is stopped (SIGSTOP) at each stage, and goes on, does not, or dies.

Its kernel accepts and buffers for it all the while, so nothing looks broken: only time tells. One
gateway gives a reply a second, the other one the default minute. Nothing is delivered twice or
lost, and what was put off before its dot is not delivered when the host wakes up and reads what
was left for it.
"""

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.process.line import FRESH, IN_DOUBT, LARGE, NOT_NOW, SETTINGS, SMALL, Line
from tests.support.corpus import without_trace
from tests.support.gateway import Gateway, open_folder
from tests.support.nexthop import NextHop
from tests.support.traffic import Traffic
from tests.support.unread import unread_at
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

BEFORE_DOT = ("greeting", "ehlo", "mail", "rcpt", "data")
BEHIND_DOT = ("end", "filed")
PAUSE = "delay 0.2"
"""Between the journal's word that a stage is reached and the answer: time to be stopped in."""
LONGER = "delay 1"
"""The same where a test is nothing without the stop; it runs on while it stands still."""
FULL_OCTETS = 50_000


class Place:
    """Two gateways with one next hop."""

    def __init__(self, hop: NextHop, hasty: Gateway, patient: Gateway) -> None:
        self.hop = hop
        self.hasty = Line(hasty, hop, "hasty")
        self.patient = Line(patient, hop, "patient")

    def stop_hop(self) -> None:
        """Returns when it stands still."""
        self.hop.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.hop.pid}/stat")
        wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "its stop")

    def go_on(self) -> None:
        self.hop.signal(signal.SIGCONT)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop_hop()
        try:
            yield
        finally:
            self.go_on()

    def reach(self, stage: str, does: str, line: Line, content: bytes = SMALL) -> "Sending":
        """Sends a message and returns when the hop has come to ``stage``, where it ``does`` that.

        On a new connection, but for its body.
        """
        before = len(self._actions(stage))
        fresh = [] if stage == "body" else [FRESH]
        self.hop.misbehave(*fresh, f"{stage}={does}")
        sending = Sending(line, content)
        wait_for(
            lambda: len(self._actions(stage)) > before,
            lambda: f"{stage} reached; the journal's end is {self.hop.entries()[-5:]}",
        )
        return sending

    def _actions(self, stage: str) -> list[dict[str, Any]]:
        return [one for one in self.hop.entries("action") if one["stage"] == stage]

    def expect_nothing_late(self, sender: str) -> None:
        """What was left for it in buffers has been read to the end, and was no message."""
        text = f"<{sender}>"

        def is_over() -> bool:
            asked = {one["session"] for one in self.hop.entries("command") if text in one["line"]}
            return asked <= {one["session"] for one in self.hop.entries("closed")}

        wait_for(lambda: not unread_at(self.hop.address), "the hop's reading of what was left")
        wait_for(is_over, lambda: f"the end of {sender}'s connections: {self.hop.entries()[-9:]}")
        assert (self.hasty.dots(sender), self.hasty.filed(sender)) == (0, 0)


class Sending:
    """One message on its way, in a thread of its own."""

    def __init__(self, line: Line, content: bytes = SMALL) -> None:
        self._line = line
        self.sender = line.sender()
        self._thread = ThreadPoolExecutor(1)
        self.reply = self._thread.submit(line.send, self.sender, content)
        self._thread.shutdown(wait=False)

    def expect(self, reply: str) -> None:
        """Fails unless it is answered so."""
        assert self.reply.result(30).startswith(reply), self.reply

    def expect_delivered(self) -> None:
        """Once."""
        self.expect("250 ")
        assert (self._line.dots(self.sender), self._line.filed(self.sender)) == (1, 1)


@pytest.fixture(scope="module")
def whole_place() -> Iterator[Place]:
    hasty_folder, patient_folder = open_folder(), open_folder()
    patience = {"workers": SETTINGS["workers"]}
    try:
        with (
            NextHop(hasty_folder) as hop,
            Gateway(hasty_folder, hop.address, SETTINGS) as hasty,
            Gateway(patient_folder, hop.address, patience) as patient,
        ):
            yield Place(hop, hasty, patient)
    finally:
        shutil.rmtree(hasty_folder)
        shutil.rmtree(patient_folder)


@pytest.fixture
def place(whole_place: Place) -> Iterator[Place]:
    """Afterwards both gateways deliver at once again."""
    yield whole_place
    whole_place.hasty.recover()
    whole_place.patient.recover()


@pytest.mark.parametrize("stage", [*BEFORE_DOT, "body", *BEHIND_DOT])
def test_goes_on_in_time(place: Place, stage: str) -> None:
    sending = place.reach(stage, PAUSE, place.patient)
    with place.stopped():
        pass
    sending.expect_delivered()


@pytest.mark.parametrize("stage", BEFORE_DOT)
def test_outlasts_our_patience_before_the_dot(place: Place, stage: str) -> None:
    sending = place.reach(stage, "delay 1.5", place.hasty)
    with place.stopped():
        sending.expect(NOT_NOW)
    place.hop.misbehave()
    place.expect_nothing_late(sending.sender)


def test_while_idle(place: Place) -> None:
    """The connection kept for the next message and a new one both seem to work."""
    place.hasty.recover()
    with place.stopped():
        sending = Sending(place.hasty)
        sending.expect(NOT_NOW)
    place.expect_nothing_late(sending.sender)


def test_while_idle_and_goes_on(place: Place) -> None:
    place.patient.recover()
    with place.stopped():
        sending = Sending(place.patient)
        wait_for(lambda: unread_at(place.hop.address), "something for the hop to read")
    sending.expect_delivered()


def test_in_a_large_body_and_goes_on(place: Place) -> None:
    """More than any buffer holds: our writes stop too."""
    sending = place.reach("body", LONGER, place.patient, LARGE)
    with place.stopped():
        wait_for(lambda: unread_at(place.hop.address) > FULL_OCTETS, "a full buffer")
    sending.expect_delivered()
    (file,) = place.hop.by_sender()[sending.sender]
    content = (place.hop.maildir / "new" / file).read_bytes()
    assert without_trace(content)[1] == LARGE


def test_outlasts_our_patience_in_a_large_body(place: Place) -> None:
    sending = place.reach("body", "delay 1.5", place.hasty, LARGE)
    with place.stopped():
        sending.expect(NOT_NOW)
    place.expect_nothing_late(sending.sender)


@pytest.mark.parametrize("stage", BEHIND_DOT)
def test_outlasts_every_reply_behind_the_dot(place: Place, stage: str) -> None:
    """There our patience is ten minutes, even where every other reply has a second."""
    sending = place.reach(stage, LONGER, place.hasty)
    with place.stopped(), pytest.raises(TimeoutError):
        sending.reply.result(1.5)
    sending.expect_delivered()


@pytest.mark.parametrize("stage", [*BEFORE_DOT, *BEHIND_DOT])
def test_is_killed_while_it_stands_still(place: Place, stage: str) -> None:
    """Put off before the dot; behind it in doubt, and never tried again."""
    sending = place.reach(stage, "delay 5", place.patient)
    place.stop_hop()
    place.hop.kill()
    is_behind = stage in BEHIND_DOT
    try:
        sending.expect(IN_DOUBT if is_behind else NOT_NOW)
    finally:
        place.hop.misbehave()
        place.hop.start()
    line, sender = place.patient, sending.sender
    assert (line.dots(sender), line.filed(sender)) == (is_behind, stage == "filed")


def test_again_and_again_under_traffic(place: Place) -> None:
    """Who is put off has nothing there; who heard 250 has it once; nobody loses a session."""
    traffic = Traffic(place.hasty.gateway.address)
    with ExitStack() as clients:
        with place.stopped():  # beyond our patience, before anybody has sent a dot
            clients.enter_context(traffic)
            traffic.wait_for_answers(8)
        for _ in range(3):
            traffic.wait_for_more(5)
            with place.stopped():
                pass
        traffic.wait_for_more(15)
    traffic.check(Only(place.hop, "c"), may_hear=NOT_NOW.encode())
    assert len(traffic.heard) > len(traffic.accepted)


class Only:
    """What a next hop has of senders whose names begin so: the others' it had before."""

    def __init__(self, hop: NextHop, beginning: str) -> None:
        self._hop = hop
        self._beginning = beginning

    def by_sender(self) -> dict[str, list[str]]:
        found = self._hop.by_sender()
        return {name: files for name, files in found.items() if name.startswith(self._beginning)}


def test_none_of_it_is_a_bug_of_ours(place: Place) -> None:
    """Runs last."""
    for line in (place.hasty, place.patient):
        assert not [text for text in line.gateway.log_lines() if "level=ERROR" in text]
