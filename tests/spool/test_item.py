"""The file format: what was written is read, and nothing else is believed."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.spool.item import (
    MAX_TEXT,
    Envelope,
    ItemDamaged,
    Mark,
    RecipientEntry,
    RecipientState,
    StateLine,
    encode_front,
    encode_lines,
    parse_envelope,
    parse_head,
    parse_lines,
)

TIMES = st.floats(0, 1e11)
ENVELOPES = st.builds(
    Envelope,
    session_id=st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True),
    number=st.integers(1, 10**6),
    client_ip=st.text(max_size=40),
    helo=st.text(max_size=300),
    sender=st.text(max_size=300),
    recipients=st.lists(
        st.builds(RecipientEntry, st.text(min_size=1), st.sampled_from(RecipientState)), max_size=9
    ).map(tuple),
    received_at=TIMES,
    is_8bit=st.booleans(),
    is_utf8=st.booleans(),
    mail_dsn=st.text(max_size=30),
    rcpt_dsn=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
    reason=st.text(max_size=20),
    is_headers_only=st.booleans(),
    held_at=TIMES,
    queued_at=st.floats(1, 1e11),
)
LINES = st.lists(
    st.builds(
        StateLine,
        at=TIMES,
        mark=st.sampled_from(Mark),
        recipients=st.lists(st.integers(0, 20), max_size=5).map(tuple),
        next_at=TIMES,
        hop=st.text(max_size=20),
        text=st.text(max_size=MAX_TEXT),
    ),
    max_size=6,
)


def read(front: bytes) -> Envelope:
    head = parse_head(front)
    return parse_envelope(head, front[head.envelope_at : head.trace_at])


@given(ENVELOPES, st.integers(0, 10**6), st.integers(0, 10**12))
def test_an_envelope_comes_back_as_it_was(envelope: Envelope, trace: int, body: int) -> None:
    front = encode_front(envelope, trace, body)
    assert asdict(read(front)) == asdict(envelope)
    head = parse_head(front)
    assert (head.trace_at, head.body_at - head.trace_at) == (len(front), trace)
    assert head.lines_at == head.body_at + body + 1


@given(ENVELOPES, st.data())
def test_one_changed_octet_is_seen(envelope: Envelope, data: st.DataObject) -> None:
    front = bytearray(encode_front(envelope, 1234, 5678))
    place = data.draw(st.integers(0, len(front) - 1))
    front[place] ^= data.draw(st.integers(1, 255))
    try:
        head = parse_head(bytes(front))
        found = parse_envelope(head, bytes(front[head.envelope_at : head.trace_at]))
    except ItemDamaged:
        return
    # What is left are the lengths of trace and body, which the size of the file holds to account.
    assert asdict(found) == asdict(envelope)


@given(LINES)
def test_lines_come_back_as_they_were(lines: list[StateLine]) -> None:
    assert parse_lines(encode_lines(lines)) == lines


@given(LINES, st.data())
def test_a_torn_line_is_none_and_the_others_stay(
    lines: list[StateLine], data: st.DataObject
) -> None:
    octets = encode_lines(lines)
    cut = data.draw(st.integers(0, len(octets)))
    whole = octets[:cut].count(b"\n")
    assert parse_lines(octets[:cut]) == lines[:whole]
    # As it goes on behind a crash: on a line of its own.
    more = [StateLine(1.0, Mark.DELIVERED, (0,))]
    assert parse_lines(octets[:cut] + b"\n" + encode_lines(more)) == [
        *lines[: whole + (cut > 0 and octets[cut : cut + 1] == b"\n")],
        *more,
    ]


@given(st.binary(max_size=300))
def test_anything_else_is_damaged_or_no_line(octets: bytes) -> None:
    with pytest.raises(ItemDamaged):
        read(octets)
    assert parse_lines(octets) == []


def envelope_for(*addresses: str) -> Envelope:
    return Envelope(
        session_id="bcd",
        number=1,
        client_ip="192.0.2.1",
        helo="h",
        sender="s@x",
        recipients=tuple(map(RecipientEntry, addresses)),
        received_at=1.0,
    )


def test_what_happened_to_whom() -> None:
    envelope = envelope_for("a", "b", "c")
    envelope.apply(StateLine(5.0, Mark.DEFERRED, (0, 1), 65.0, "hop", "450 later"))
    envelope.apply(StateLine(6.0, Mark.DEFERRED, (1,), 300.0, "hop", "451 later"))
    envelope.apply(StateLine(7.0, Mark.DELIVERED, (0,), 0, "hop", "250 ok"))
    envelope.apply(StateLine(8.0, Mark.REFUSED, (2, 99), 0, "hop", "550 no"))
    a, b, c = envelope.recipients
    assert (a.state, a.attempts, a.reply) == (RecipientState.DELIVERED, 1, "250 ok")
    assert (b.state, b.attempts, b.tried_at, b.next_at) == (RecipientState.PENDING, 2, 6.0, 300.0)
    assert c.state is RecipientState.REFUSED
    assert envelope.pending() == [1]


def test_release_gives_all_but_the_delivered_another_life() -> None:
    envelope = envelope_for("a", "b", "c", "d")
    envelope.apply(StateLine(5.0, Mark.DELIVERED, (0,)))
    envelope.apply(StateLine(5.0, Mark.REFUSED, (1,)))
    envelope.apply(StateLine(5.0, Mark.EXPIRED, (2,)))
    envelope.apply(StateLine(5.0, Mark.DEFERRED, (3,), 99.0))
    envelope.apply(StateLine(6.0, Mark.HELD, text="refused-by-host"))
    assert (envelope.reason, envelope.held_at) == ("refused-by-host", 6.0)
    envelope.apply(StateLine(9.0, Mark.RELEASED))
    assert envelope.pending() == [1, 2, 3]
    assert [(one.attempts, one.next_at) for one in envelope.recipients[1:]] == [(0, 0.0)] * 3
    assert envelope.queued_at == 9.0
    envelope.apply(StateLine(10.0, Mark.REFUSED, (0,)))
    assert envelope.pending() == [1, 2, 3], "what is delivered stays so"
    assert envelope.recipients[0].state is RecipientState.DELIVERED
