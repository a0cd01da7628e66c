"""Replies of a next hop: complete ones, bounded ones, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base.errors import RemoteProtocolError
from gwsmtp.protocol.client import HopReply, ReplyReader, offered_extensions


def read_all(reader: ReplyReader) -> list[HopReply]:
    found = []
    while (reply := reader.next_reply()) is not None:
        found.append(reply)
    return found


@given(st.lists(st.integers(1, 12), max_size=40))
def test_chunking_changes_nothing(cuts: list[int]) -> None:
    wire = b"220 hi\r\n250-a.test\r\n250-SIZE 10\r\n250 PIPELINING\r\n354\r\n550 5.1.1 no\n"
    reader, found, rest = ReplyReader(), [], wire
    for cut in [*cuts, len(wire)]:
        reader.feed(rest[:cut])
        rest = rest[cut:]
        found += read_all(reader)
    assert [(reply.code, reply.lines) for reply in found] == [
        (220, ["hi"]),
        (250, ["a.test", "SIZE 10", "PIPELINING"]),
        (354, [""]),
        (550, ["5.1.1 no"]),
    ]
    assert not reader.has_leftover


@given(st.binary(max_size=300))
def test_any_bytes_are_a_reply_or_a_protocol_error(data: bytes) -> None:
    reader = ReplyReader()
    reader.feed(data)
    try:
        read_all(reader)
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize("wire", [b"hello\r\n", b"99 x\r\n", b"250x\r\n", b"650 x\r\n", b"\r\n"])
def test_what_is_no_reply(wire: bytes) -> None:
    reader = ReplyReader()
    reader.feed(wire)
    with pytest.raises(RemoteProtocolError):
        reader.next_reply()


@pytest.mark.parametrize("wire", [b"250 " + b"x" * 5000, b"250-x\r\n" * 201])
def test_replies_are_bounded(wire: bytes) -> None:
    reader = ReplyReader()
    reader.feed(wire)
    with pytest.raises(RemoteProtocolError):
        reader.next_reply()


def test_leftover_is_seen() -> None:
    reader = ReplyReader()
    reader.feed(b"250 ok\r\n250-mo")
    assert reader.next_reply() is not None
    assert reader.has_leftover


def test_kinds_of_reply() -> None:
    assert HopReply(250, [b"2.0.0 ok"]).is_positive
    assert HopReply(451, [b"4.3.0 later"]).is_temporary
    refusal = HopReply(550, [b"5.7.1 no", b"5.7.1 never"])
    assert refusal.is_permanent
    assert refusal.enhanced == "5.7.1"
    assert str(refusal.as_ours()) == "550 5.7.1 no never"
    assert str(refusal) == "550 5.7.1 no 5.7.1 never"


def test_extensions_of_an_ehlo_reply() -> None:
    reply = HopReply(250, [b"host", b"SIZE 1000", b"pipelining"])
    assert offered_extensions(reply) == {"SIZE": "1000", "PIPELINING": ""}
