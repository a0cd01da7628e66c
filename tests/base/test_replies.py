import re

import pytest

from gwsmtp.base import replies
from gwsmtp.base.reply import Reply

CONSTANTS = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}
REFERENCE = "bcdfghjklm"
MADE = {
    "greeting": replies.greeting("gw.example.test ESMTP ready"),
    "helo": replies.helo("gw.example.test"),
    "ehlo": replies.ehlo("gw.example.test", ["PIPELINING", "SIZE 10"]),
    "trial_greeting": replies.trial_greeting("trial.invalid"),
    "too_many_connections": replies.too_many_connections(REFERENCE),
    "making_room": replies.making_room(REFERENCE),
    "over_limit": replies.over_limit(REFERENCE),
    "penalised": replies.penalised(REFERENCE),
    "rate_exceeded": replies.rate_exceeded(REFERENCE),
    "handshakes_exceeded": replies.handshakes_exceeded(REFERENCE),
    "relay_denied": replies.relay_denied(REFERENCE),
    "content_rejected": replies.content_rejected("EICAR found", REFERENCE),
    "content_deferred": replies.content_deferred("Grey", REFERENCE),
}
CATALOGUE = CONSTANTS | MADE
WITHOUT_ENHANCED = {"greeting", "trial_greeting", "helo", "ehlo", "START_MAIL"}  # RFC 2034 4


@pytest.mark.parametrize("name", CATALOGUE)
def test_enhanced_code_agrees_with_the_code(name: str) -> None:
    reply = CATALOGUE[name]
    if name in WITHOUT_ENHANCED:
        assert reply.enhanced == ""
    else:
        assert re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", reply.enhanced)
        assert reply.enhanced[0] == str(reply.code)[0]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_line_is_short_printable_text(name: str) -> None:
    reply = CATALOGUE[name]
    assert all(reply.lines)
    for line in reply.wire.removesuffix(b"\r\n").split(b"\r\n"):
        assert len(line) + 2 <= 512  # RFC 5321 4.5.3.1.5
        assert re.fullmatch(rb"[2345]\d\d[ -][\x20-\x7e]+", line)
        assert line == line.rstrip()


@pytest.mark.parametrize("name", CATALOGUE)
def test_exactly_221_and_421_close(name: str) -> None:
    assert CATALOGUE[name].closes == (CATALOGUE[name].code in (221, 421))


def test_text_names_no_software_and_no_version() -> None:
    for reply in CONSTANTS.values():
        assert not re.search(r"gwsmtp|python|\d+\.\d+(?!\.)", reply.text, re.IGNORECASE)


def test_no_two_constants_say_the_same_but_where_it_is_meant() -> None:
    """The log shows the reply: equal ones could not be told apart. A discarded message must look
    exactly like one that was taken.
    """
    wires = [reply.wire for name, reply in CONSTANTS.items() if name != "DISCARDED"]
    assert len(wires) == len(set(wires))
    assert replies.DISCARDED == replies.NOOP


def test_every_factory_is_tried_here() -> None:
    made_there = {
        name
        for name, value in vars(replies).items()
        if callable(value) and getattr(value, "__module__", "") == replies.__name__
    }
    assert made_there == set(MADE)


def test_ehlo_has_one_line_a_keyword() -> None:
    wire = replies.ehlo("gw.example.test", iter(["PIPELINING", "SIZE 10"])).wire
    assert wire == b"250-gw.example.test\r\n250-PIPELINING\r\n250 SIZE 10\r\n"
    assert replies.ehlo("gw.example.test", []).wire == b"250 gw.example.test\r\n"


def test_greeting_carries_the_banner() -> None:
    assert replies.greeting("gw.example.test").wire == b"220 gw.example.test\r\n"


def test_verdict_without_text_gets_a_plain_one() -> None:
    assert (
        replies.content_rejected("", REFERENCE).text == f"Message refused by content [{REFERENCE}]"
    )
    assert replies.content_deferred("", REFERENCE).text == (
        f"Message deferred by content [{REFERENCE}]"
    )


def test_refusals_that_an_administrator_is_asked_about_carry_the_reference() -> None:
    for name in ("relay_denied", "content_rejected", "content_deferred"):
        assert MADE[name].text.endswith(f" [{REFERENCE}]")
