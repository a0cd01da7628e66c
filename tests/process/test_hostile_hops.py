"""A next hop that says too much, too slowly or what nobody asked for, and what the client hears.

What it says is bounded in time (one second for a reply here) and in memory, and never the cause of
a second delivery. Refusals and lost connections are ``test_delivery_inline``'s. Every case ends
with a message that must pass.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.limits.slots import Role
from tests.process.line import (
    FRESH,
    IN_DOUBT,
    LARGE,
    NOT_NOW,
    SETTINGS,
    SMALL,
    Line,
    one_folder,
    running_line,
)
from tests.support.gateway import Gateway
from tests.support.processes import children
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink

pytestmark = pytest.mark.full

WITHIN_S = 8
"""A pooled connection that fails, a new one that fails: each a second or so, and the machine's."""
CODES = {"greeting": 220, "ehlo": 250, "mail": 250, "rcpt": 250, "data": 354}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with one_folder() as path:
        yield path


@pytest.fixture(scope="module")
def whole_line(folder: Path) -> Iterator[Line]:
    with running_line(folder) as one:
        yield one


@pytest.fixture
def line(whole_line: Line) -> Iterator[Line]:
    yield whole_line
    whole_line.recover()


def send_in_time(line: Line, sender: str, content: bytes = SMALL, *to: str) -> str:
    began = time.monotonic()
    heard = line.send(sender, content, *to)
    took_s = time.monotonic() - began
    assert took_s < WITHIN_S, f"{heard} after {took_s:.1f} s"
    return heard


ENDLESS = {
    "line": "line",
    "half a line": "raw CODE",
    "half a reply": r"raw CODE-more\r\n",
    "no line end": "raw CODE ok",
    "drip": f"drip CODE {'x' * 60}",
    "drip of lines": "drip " + r"CODE-x\n" * 12 + "CODE x",
    "longer line": rf"raw CODE {'x' * 5000}\r\n",
    "more lines": r"raw " + r"CODE-x\r\n" * 300 + r"CODE x\r\n",
    "more octets": r"raw " + rf"CODE-{'x' * 4000}\r\n" * 20 + r"CODE x\r\n",
}


@pytest.mark.parametrize("action", ENDLESS)
@pytest.mark.parametrize("stage", CODES)
def test_a_reply_without_end_before_the_dot(line: Line, stage: str, action: str) -> None:
    sender = line.sender()
    line.hop.misbehave(FRESH, f"{stage}={ENDLESS[action]}".replace("CODE", str(CODES[stage])))
    assert send_in_time(line, sender).startswith(NOT_NOW)
    assert line.dots(sender) == 0


@pytest.mark.parametrize("action", ["line", "longer line", "more lines", "more octets"])
@pytest.mark.parametrize("stage", ["end", "filed"])
def test_a_reply_without_end_after_the_dot(line: Line, stage: str, action: str) -> None:
    """Nobody sends it a second time, whether the host took it or not."""
    sender = line.sender()
    line.hop.misbehave(f"{stage}={ENDLESS[action]}".replace("CODE", "250"))
    assert send_in_time(line, sender).startswith(IN_DOUBT)
    assert (line.dots(sender), line.filed(sender)) == (1, stage == "filed")


def test_replies_of_many_lines_are_replies(line: Line) -> None:
    sender = line.sender()
    long = "".join(rf"CODE-{number} of many\n" for number in range(150)) + "CODE last"
    rules = [f"{stage}={long}".replace("CODE", str(code)) for stage, code in CODES.items()]
    line.hop.misbehave(FRESH, *rules, r"filed=250-2.0.0 taken\n250 2.0.0 as X1")
    assert send_in_time(line, sender) == "250 2.0.0 taken as X1"
    assert (line.dots(sender), line.filed(sender)) == (1, 1)


def test_controls_in_a_reply_are_no_harm(line: Line) -> None:
    sender = line.sender()
    line.hop.misbehave(FRESH, r"mail=raw 250 \x00\x1b[2J\xff\r\n", "rcpt=550 5.1.1 no")
    assert send_in_time(line, sender) == "550 5.1.1 no"
    line.hop.misbehave(r"mail=raw 550 5.7.1 \x00a\x1b[2J\xffb\x7f\r\n")
    assert send_in_time(line, sender) == "550 5.7.1 a [2J b"
    assert line.dots(sender) == 0


# Replies nobody asked for ------------------------------------------------------------------


MODES = {
    "alone": (FRESH, []),
    "two recipients": (FRESH, ["user@example.test", "second@example.test"]),
    "without pipelining": (rf"{FRESH}|ehlo=250-h\n250 SIZE", []),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("more", ["250 2.0.0 more", "354 go on", "550 5.1.1 no", "421 bye"])
@pytest.mark.parametrize("stage", CODES)
def test_a_reply_too_many_never_delivers_by_mistake(
    line: Line, stage: str, more: str, mode: str
) -> None:
    """It cannot be told from a genuine one that comes early; but nothing is taken for the 354 or
    for the last word that is not.
    """
    rules, to = MODES[mode]
    sender = line.sender()
    line.hop.misbehave(rf"{stage}#1=raw {CODES[stage]} 2.0.0 ok\r\n{more}\r\n", *rules.split("|"))
    heard = send_in_time(line, sender, SMALL, *to)
    if heard.startswith("250 "):
        assert (line.dots(sender), line.filed(sender)) == (1, 1)
    else:
        assert heard.startswith((NOT_NOW, "550 5.1.1 no"))
        assert line.dots(sender) == 0


@pytest.mark.parametrize("more", ["250 2.0.0 more", "554 5.6.0 no", "421 4.3.2 bye", "junk", "2"])
def test_what_follows_the_last_word_is_not_for_the_next_message(line: Line, more: str) -> None:
    first, second = line.sender(), line.sender()
    line.hop.misbehave(rf"filed#1=raw 250 2.0.0 first\r\n{more}\r\n", "filed=250 2.0.0 second")
    assert send_in_time(line, first) == "250 2.0.0 first"
    assert send_in_time(line, second) == "250 2.0.0 second"
    for sender in (first, second):
        assert (line.dots(sender), line.filed(sender)) == (1, 1)


def test_what_is_said_while_idle_is_for_no_message() -> None:
    """On a connection that waits for its next message: it is given up, nothing is shifted."""
    with (
        one_folder() as folder,
        RawSink() as sink,
        Gateway(folder, sink.address, SETTINGS) as gateway,
        RawClient(gateway.address) as client,
    ):
        client.greet()
        strays = [
            b"250 2.0.0 more\r\n",
            b"354 go on\r\n",
            b"550 5.1.1 no\r\n",
            b"421 bye\r\n",
            b"2",
        ]
        for number, stray in enumerate([*strays, b"250-x\r\n" * 2000], 1):
            sender = f"s{number}@client.example"
            reply = client.send_message(sender, ["user@example.test"], SMALL)
            assert reply.raw == b"250 2.0.0 Taken\r\n"
            sink.speak(stray)
        assert len(sink.messages) == 6
        assert sink.connections == 6
        # Nothing more was asked where it had spoken: the answer would be a lottery.
        assert not [line for _, line in sink.commands if line.startswith(b"RSET")]
        assert all(len(found) == 1 for found in sink.by_sender().values())


@pytest.mark.parametrize("early", ["250 2.0.0 taken", "354 go on", "554 5.6.0 no", "junk"])
def test_a_last_word_in_the_middle_of_a_large_body(line: Line, early: str) -> None:
    sender = line.sender()
    line.hop.misbehave(FRESH, rf"body=raw {early}\r\n")
    assert send_in_time(line, sender, LARGE).startswith(NOT_NOW)
    assert line.dots(sender) == 0


# Memory ------------------------------------------------------------------------------------


def peak_octets(line: Line) -> int:
    """The most memory that the worker has had."""
    (worker,) = children(line.gateway, Role.WORKER)
    status = Path(f"/proc/{worker.pid}/status").read_text("ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def test_what_a_host_says_is_not_kept(line: Line) -> None:
    """64 MiB each time, of which a worker has 128 KiB at once."""
    line.recover()
    before = peak_octets(line)
    for action in ("flood", "line"):
        for stage in ("greeting", "ehlo", "mail", "data"):
            line.hop.misbehave(FRESH, f"{stage}={action}")
            assert send_in_time(line, line.sender()).startswith(NOT_NOW)
        line.hop.misbehave(f"end={action}")
        assert send_in_time(line, line.sender()).startswith(IN_DOUBT)
    assert peak_octets(line) - before < 4 * 1024 * 1024


def test_none_of_it_is_a_bug_of_ours(line: Line) -> None:
    """Runs last, over all of the above."""
    assert not [text for text in line.gateway.log_lines() if "level=ERROR" in text]
