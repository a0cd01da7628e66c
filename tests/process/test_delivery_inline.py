"""Delivery in line on real processes: a next hop that misbehaves at every stage, and what the
client hears (DESIGN, One message, 4, 7 and 8, as long as there is no queue).

Every case ends with a message that must pass: nothing a next hop does may last. Each message has a
sender of its own, by which the next hop's journal is read: ``message`` means it has seen the dot.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.process.line import (
    FRESH,
    IN_DOUBT,
    LARGE,
    NOT_NOW,
    SMALL,
    Line,
    one_folder,
    running_line,
    shown,
)
from tests.support.eventlog import events
from tests.support.rawclient import RawClient
from tests.support.wait import wait_for

pytestmark = pytest.mark.full


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


COMMANDS = ("greeting", "ehlo", "mail", "rcpt", "data")
ACTIONS = {
    "later": "450 4.2.1 not now",
    "never": "554 5.7.9 never",
    "421": "421 4.3.2 closing",
    "3xx": "raw 333 what\\r\\n",
    "no-code": "raw hello\\r\\n",
    "hang": "hang",
    "close": "close",
    "reset": "reset",
    "garbage": "garbage",
    "flood": "flood",
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("stage", COMMANDS)
def test_before_the_dot_on_a_new_connection(line: Line, stage: str, action: str) -> None:
    sender = line.sender()
    line.hop.misbehave(FRESH, f"{stage}={ACTIONS[action]}")
    heard = line.send(sender)
    if (stage, action) == ("ehlo", "never"):  # RFC 5321 3.2: then HELO
        assert heard.startswith("250 ")
        assert (line.dots(sender), line.filed(sender)) == (1, 1)
    else:
        is_refusal = action == "never" and stage != "greeting"
        assert heard.startswith("554 5.7.9 never" if is_refusal else NOT_NOW)
        assert line.dots(sender) == 0


@pytest.mark.parametrize("action", ["later", "never", "421", "3xx", "close", "reset", "garbage"])
@pytest.mark.parametrize("stage", ["rset", "mail", "rcpt", "data"])
def test_a_pooled_connection_that_fails_once_is_replaced(
    line: Line, stage: str, action: str
) -> None:
    """What the host says is its answer; what is no answer is asked once more, elsewhere."""
    line.recover()
    sender = line.sender()
    line.hop.misbehave(f"{stage}#1={ACTIONS[action]}")
    heard = line.send(sender)
    is_answer = action in ("later", "never") and stage != "rset"
    if action == "3xx" and stage in ("mail", "rcpt"):
        assert heard.startswith(NOT_NOW)
        assert line.dots(sender) == 0
    elif is_answer:
        assert heard.startswith(ACTIONS["never"] if action == "never" else NOT_NOW)
        assert line.dots(sender) == 0
    else:
        assert heard.startswith("250 ")
        assert (line.dots(sender), line.filed(sender)) == (1, 1)


@pytest.mark.parametrize(
    ("action", "heard"),
    [
        ("450 4.2.2 full", "450 4.2.2 full"),
        ("452 full", "452 4.0.0 full"),
        ("554 5.6.0 no such content", "554 5.6.0 no such content"),
        ("550-5.7.1 two\\n550 5.7.1 lines", "550 5.7.1 two lines"),
        ("raw 554 bad \\xff\\x00 text\\r\\n", "554 5.0.0 bad   text"),
        (f"554 5.6.0 {'x' * 1000}", f"554 5.6.0 {'x' * 400}"),
        ("raw 354 go on\\r\\n", IN_DOUBT),
        ("close", IN_DOUBT),
        ("reset", IN_DOUBT),
        ("garbage", IN_DOUBT),
        ("flood", IN_DOUBT),
    ],
    ids=lambda text: text[:12],
)
def test_after_the_dot_and_not_taken(line: Line, action: str, heard: str) -> None:
    """The host's last word is ours; without one nobody may send the message a second time."""
    sender = line.sender()
    line.hop.misbehave(f"end={action}")
    reply = line.send(sender)
    assert reply.startswith(heard)
    assert "\n" not in reply
    assert len(reply) <= 411
    assert (line.dots(sender), line.filed(sender)) == (1, 0)


@pytest.mark.parametrize("action", ["close", "reset", "garbage", "flood"])
def test_taken_but_the_answer_is_lost(line: Line, action: str) -> None:
    """RFC 1047: the client has to try again, we never do."""
    sender = line.sender()
    line.hop.misbehave(f"filed={action}")
    assert line.send(sender).startswith(IN_DOUBT)
    wait_for(lambda: line.filed(sender), "the message in the Maildir")
    assert (line.dots(sender), line.filed(sender)) == (1, 1)


@pytest.mark.parametrize(
    ("action", "heard"),
    [
        ("250 queued as X1", "250 2.0.0 queued as X1"),
        ("251 2.1.5 forwarded", "251 2.1.5 forwarded"),
        ("250 4.7.1 confused", "250 2.0.0 confused"),
        ("raw 250\\r\\n", "250 2.0.0 no reason given"),
        ("drip 250 2.0.0 ok", "250 2.0.0 ok"),
    ],
)
def test_taken_in_the_hosts_own_words(line: Line, action: str, heard: str) -> None:
    sender = line.sender()
    line.hop.misbehave(f"filed={action}")
    assert line.send(sender) == heard
    assert (line.dots(sender), line.filed(sender)) == (1, 1)


@pytest.mark.parametrize("stage", ["body", "end"])
def test_a_host_that_hangs_with_the_dot_and_dies(line: Line, stage: str) -> None:
    """Its final reply has ten minutes; its end is the end of waiting."""
    sender = line.sender()
    line.hop.misbehave(f"{stage}=hang")
    with RawClient(line.gateway.address) as client:
        client.greet()
        client.begin_data(sender, ["user@example.test"])
        client.send(SMALL + b".\r\n")
        wait_for(lambda: line.hop.entries()[-1]["event"] == "action", "the host hangs")
        line.hop.kill()
        assert shown(client.read_reply()).startswith(IN_DOUBT)
    assert line.filed(sender) == 0
    line.hop.misbehave()
    line.hop.start()


@pytest.mark.parametrize("action", ["421 4.3.2 closing", "hang", "close", "reset"])
@pytest.mark.parametrize("mode", ["", FRESH])
def test_a_host_that_fails_in_the_middle_of_a_large_body(
    line: Line, action: str, mode: str
) -> None:
    sender = line.sender()
    line.hop.misbehave(*([mode] if mode else []), f"body={action}")
    assert line.send(sender, LARGE).startswith(NOT_NOW)
    assert line.dots(sender) == 0


def test_a_host_that_is_down(line: Line) -> None:
    """Refused connections; after some in a row it is left alone for a moment, then found again."""
    line.hop.stop()
    for _ in range(5):
        assert line.send(line.sender()).startswith(NOT_NOW)
    line.hop.start()
    wait_for(lambda: line.send(line.sender()).startswith("250 "), "the host is used again")


@pytest.mark.parametrize(
    ("rules", "heard"),
    [
        (["rcpt:bad*=550 5.1.1 nobody"], NOT_NOW),
        (["rcpt:bad*=450 4.2.1 full"], NOT_NOW),
        (["rcpt:bad*=550 5.1.1 nobody", "rcpt=450 4.2.1 full"], NOT_NOW),
        (["rcpt=450 4.2.1 full"], NOT_NOW),
        (["rcpt:bad*=550 5.1.1 nobody", "rcpt=550 5.7.1 policy"], "550 5.7.1 policy"),
    ],
)
@pytest.mark.parametrize("mode", ["", FRESH, "ehlo=502 5.5.1 no"])
def test_two_recipients(line: Line, rules: list[str], heard: str, mode: str) -> None:
    """All accepted or all refused; anything else ends before the dot."""
    sender = line.sender()
    modes = {"": [], FRESH: [FRESH]}.get(mode, [FRESH, mode])  # the last: a host without pipelining
    line.hop.misbehave(*modes, *rules)
    reply = line.send(sender, SMALL, "user@example.test", "bad@example.test")
    assert reply.startswith(heard)
    assert line.dots(sender) == 0
    line.hop.misbehave(*modes)
    reply = line.send(sender, SMALL, "user@example.test", "bad@example.test")
    assert reply.startswith("250 ")
    (entry,) = [one for one in line.hop.entries("message") if one["sender"] == sender]
    assert entry["recipients"] == ["user@example.test", "bad@example.test"]


def test_a_storm_loses_and_doubles_nothing(line: Line) -> None:
    """Many clients, failures everywhere: whoever heard 250 has one copy there, whoever was put off
    before the dot has none, and in doubt is at most one of them.
    """
    stages = ("rset", "mail", "rcpt", "data", "body", "end", "filed")
    actions = ("450 4.2.1 not now", "421 4.3.2 closing", "close", "reset", "garbage")
    numbers = count(3, 2)
    line.hop.misbehave(*(f"{s}#{next(numbers)}={a}" for a in actions for s in stages))
    senders = [line.sender() for _ in range(120)]
    with ThreadPoolExecutor(8) as clients:
        heard = dict(zip(senders, clients.map(line.send, senders), strict=True))
    wrong = []
    for sender, reply in heard.items():
        dots, filed = line.dots(sender), line.filed(sender)
        if reply.startswith("250 "):
            is_right = (dots, filed) == (1, 1)
        elif reply.startswith(NOT_NOW):
            is_right = dots == 0
        else:
            is_right = dots <= 1
        if not is_right:
            wrong.append(f"{sender}: heard {reply}, {dots} dots, {filed} filed")
    assert not wrong, "\n".join(wrong)
    assert sum(reply.startswith("250 ") for reply in heard.values()) > 60


def test_the_log_tells_the_same_as_the_clients_were_told(line: Line) -> None:
    """One line a message, with the outcome and the reply; runs last, over all of the above."""
    line.recover()
    wait_for(
        lambda: events(line.gateway, "message")[-1]["reply"].startswith("250 "),
        "the last message's line",
    )
    outcomes = {"2": "accepted", "4": "deferred", "5": "rejected"}
    for message in events(line.gateway, "message"):
        assert message["outcome"] == outcomes[message["reply"][0]], message
    assert not [text for text in line.gateway.log_lines() if "level=ERROR" in text]
