"""The payload rule: any chunking, any mixture of line ends, one message in is one message out."""

import re

from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.protocol.data import ChunkDecoder, DataDecoder, DotStuffer, dot_stuffed

PIECES = st.sampled_from([b"\r\n", b".", b"a", b"\r", b"\n", b"\0", b"\r\n.", b"..", b"\r\n.\r"])
WIRE = st.lists(PIECES, max_size=40).map(b"".join)
CUTS = st.lists(st.integers(1, 9), max_size=60)


def reference(wire: bytes) -> tuple[bytes, int, bytes]:
    """The rule written as it reads: content, its size as sent, what follows."""
    sent = unstuffed(wire)
    end = -2 if wire.startswith(b".\r\n") else wire.find(b"\r\n.\r\n")
    lone = {b"\r\n": b"\r\n", b"\n": b"\r\n", b"\r": b" ", b"\0": b" "}
    content = re.sub(rb"\r\n|[\r\n\0]", lambda found: lone[found.group()], sent)
    return content, len(sent), wire[end + 5 :]


def unstuffed(wire: bytes) -> bytes:
    end = -2 if wire.startswith(b".\r\n") else wire.find(b"\r\n.\r\n")
    lines = wire[: end + 2].split(b"\r\n")
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


def decode(wire: bytes, cuts: list[int]) -> tuple[bytes, DataDecoder, bytes]:
    decoder = DataDecoder()
    content, rest = b"", wire
    for cut in [*cuts, len(wire)]:
        if decoder.reached_end():
            break
        content += decoder.feed(rest[:cut])
        rest = rest[cut:]
    return content, decoder, decoder.rest + rest


@given(WIRE, CUTS)
def test_decoding_is_the_rule_in_any_chunking(body: bytes, cuts: list[int]) -> None:
    wire = body + b"\r\n.\r\nQUIT\r\n"
    content, decoder, rest = decode(wire, cuts)
    assert decoder.reached_end()
    assert (content, decoder.size, rest) == reference(wire)


@given(WIRE, CUTS)
def test_normalised_content_has_only_crlf(body: bytes, cuts: list[int]) -> None:
    content, decoder, _ = decode(body + b"\r\n.\r\n", cuts)
    assert b"\0" not in content
    assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
    assert (decoder.bare_newlines > 0) == (content != unstuffed(body + b"\r\n.\r\n"))


@given(WIRE, CUTS, CUTS)
def test_one_message_in_is_one_message_out(body: bytes, cuts: list[int], again: list[int]) -> None:
    content, _, _ = decode(body + b"\r\n.\r\n", cuts)
    onward = dot_stuffed(content) + b".\r\n"
    repeated, decoder, rest = decode(onward, again)
    assert (repeated, decoder.bare_newlines, rest) == (content, 0, b"")


@given(WIRE, CUTS)
def test_stuffing_in_pieces_is_stuffing_at_once(body: bytes, cuts: list[int]) -> None:
    content, _, _ = decode(body + b"\r\n.\r\n", [])
    stuffer, out, rest = DotStuffer(), b"", content
    for cut in [*cuts, len(content)]:
        out += stuffer.feed(rest[:cut])
        rest = rest[cut:]
    out += stuffer.finish()
    assert out == dot_stuffed(content) + b".\r\n"


def test_empty_message() -> None:
    content, decoder, rest = decode(b".\r\n", [])
    assert (content, decoder.size, rest) == (b"", 0, b"")


def test_unfinished_last_line_is_completed() -> None:
    stuffer = DotStuffer()
    assert stuffer.feed(b"x") + stuffer.finish() == b"x\r\n.\r\n"


def test_smuggling_sequences_do_not_end_data() -> None:
    for sequence in (
        b"\n.\n",
        b"\r.\r",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\r\n\0.\r\n",
    ):
        decoder = DataDecoder()
        decoder.feed(b"text" + sequence + b"MAIL FROM:<evil@example.test>\r\n")
        assert not decoder.reached_end(), sequence


def test_longest_line_is_seen_across_pieces() -> None:
    decoder = DataDecoder()
    for _ in range(4):
        decoder.feed(b"x" * 1000)
    decoder.feed(b"\r\nshort\r\n.\r\n")
    assert decoder.longest_line == 4000


def test_bare_newlines_are_counted() -> None:
    decoder = DataDecoder()
    decoder.feed(b"a\nb\rc\0d\r\n.\r\n")
    assert decoder.bare_newlines == 3


@given(WIRE, CUTS)
def test_chunks_are_the_rule_without_dots_in_any_chunking(body: bytes, cuts: list[int]) -> None:
    decoder, content, rest = ChunkDecoder(), b"", body
    for cut in cuts:
        content += decoder.feed(rest[:cut], is_last=False)
        rest = rest[cut:]
    content += decoder.feed(rest, is_last=True)
    lone = {b"\r\n": b"\r\n", b"\n": b"\r\n", b"\r": b" ", b"\0": b" "}
    assert content == re.sub(rb"\r\n|[\r\n\0]", lambda found: lone[found.group()], body)
    assert decoder.size == len(body)
    assert (decoder.bare_newlines > 0) == (content != body)


@given(WIRE, CUTS)
def test_a_message_in_chunks_is_one_message_out(body: bytes, cuts: list[int]) -> None:
    content = ChunkDecoder().feed(body, is_last=True)
    stuffed = dot_stuffed(content)
    ended = stuffed if not stuffed or stuffed.endswith(b"\r\n") else stuffed + b"\r\n"
    again, decoder, rest = decode(ended + b".\r\nQUIT\r\n", cuts)
    assert decoder.reached_end()
    assert (again.removesuffix(b"\r\n"), rest) == (content.removesuffix(b"\r\n"), b"QUIT\r\n")
