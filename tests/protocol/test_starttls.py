"""STARTTLS in the machine (RFC 3207): where it may stand, and that nothing of before counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base import replies
from gwsmtp.base.errors import LocalProtocolError
from gwsmtp.base.reply import Reply
from gwsmtp.protocol import events
from gwsmtp.protocol.extensions import Offer, StartTls
from gwsmtp.protocol.server import ServerProtocol
from gwsmtp.protocol.state import State

OFFERED = Offer(1000, starttls=StartTls.OFFERED)
ACTIVE = Offer(1000, starttls=StartTls.ACTIVE)
OK = Reply(250, "2.0.0", "Ok")


def machine(*lines: bytes, offer: Offer = OFFERED) -> ServerProtocol:
    """A machine that has answered 250 to all ``lines``."""
    protocol = ServerProtocol(offer)
    protocol.reply(replies.greeting("gw"))
    for line in lines:
        protocol.receive(line + b"\r\n")
        assert protocol.next_event() is not None
        protocol.reply(OK)
    protocol.take_output()
    return protocol


BEGUN = (b"EHLO c", b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@example.test>")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_is_legal_wherever_a_name_was_given(count: int) -> None:
    protocol = machine(*BEGUN[:count])
    protocol.receive(b"starttls \r\n")
    assert protocol.next_event() is events.START_TLS
    protocol.reply(replies.START_TLS)
    assert protocol.state is State.HANDSHAKE
    assert protocol.next_event() is None


@pytest.mark.parametrize(
    ("lines", "offer", "line", "reply"),
    [
        ((), OFFERED, b"STARTTLS", replies.SEND_HELO_FIRST),
        (BEGUN[:1], OFFERED, b"STARTTLS now", replies.NO_ARGUMENTS),
        (BEGUN[:1], OFFERED, b"STARTTLSX", replies.UNKNOWN_COMMAND),
        (BEGUN[:1], OFFERED, b"STAR TTLS", replies.UNKNOWN_COMMAND),
        (BEGUN[:1], ACTIVE, b"STARTTLS", replies.TLS_ACTIVE),
        (BEGUN[:1], Offer(1000), b"STARTTLS", replies.NOT_OFFERED),
        (BEGUN[:1], Offer(1000), b"STARTTLS now", replies.NOT_OFFERED),
        (BEGUN[:1], OFFERED, b"STARTTLS \xc3\xa4", replies.BAD_ARGUMENTS),
    ],
)
def test_what_is_refused(lines: tuple[bytes, ...], offer: Offer, line: bytes, reply: Reply) -> None:
    protocol = machine(*lines, offer=offer)
    protocol.receive(line + b"\r\n")
    event = protocol.next_event()
    assert isinstance(event, events.Invalid)
    assert event.reply == reply
    state = protocol.state
    protocol.reply(event.reply)
    assert protocol.state is state


def test_a_refused_one_goes_on_with_what_follows() -> None:
    protocol = machine(b"EHLO c")
    protocol.receive(b"STARTTLS\r\nNOOP\r\n")
    protocol.next_event()
    protocol.reply(replies.TLS_UNAVAILABLE)
    assert protocol.next_event() is events.NOOP
    assert protocol.discarded == 0


@given(st.binary(max_size=200), st.sampled_from(BEGUN))
def test_whatever_follows_in_clear_is_dropped(rest: bytes, line: bytes) -> None:
    protocol = machine(b"EHLO c")
    protocol.receive(b"STARTTLS\r\n" + rest)
    protocol.next_event()
    protocol.reply(replies.START_TLS)
    assert protocol.discarded == len(rest)
    assert not protocol.has_input
    assert protocol.next_event() is None
    protocol.begin_tls(ACTIVE)
    assert protocol.state is State.CONNECTED
    protocol.receive(b"MAIL FROM:<a@b.test>\r\n")
    event = protocol.next_event()
    assert isinstance(event, events.Invalid)
    assert event.reply == replies.SEND_HELO_FIRST


def test_behind_tls_the_other_offer_counts() -> None:
    protocol = machine(b"EHLO c")
    protocol.receive(b"STARTTLS\r\n")
    protocol.next_event()
    protocol.reply(replies.START_TLS)
    protocol.begin_tls(ACTIVE)
    protocol.receive(b"EHLO c\r\nSTARTTLS\r\n")
    assert isinstance(protocol.next_event(), events.Hello)
    protocol.reply(OK)
    event = protocol.next_event()
    assert isinstance(event, events.Invalid)
    assert event.reply == replies.TLS_ACTIVE


def test_tls_before_the_greeting_leaves_it_to_be_said() -> None:
    protocol = ServerProtocol(OFFERED)
    protocol.begin_tls(ACTIVE)
    protocol.reply(replies.greeting("gw"))
    assert protocol.state is State.CONNECTED


def test_tls_anywhere_else_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        machine(*BEGUN).begin_tls(ACTIVE)
