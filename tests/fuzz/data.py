"""Target: DataDecoder and DotStuffer alone, against ``reference``."""

from gwsmtp.protocol import data as codec
from tests.fuzz import reference
from tests.fuzz.cutting import pieces, split
from tests.fuzz.fragments import PAYLOAD, expanded, full_table

FRAGMENTS = PAYLOAD
MOST_HELD_BACK = 6
"""The four octets that may begin an end of data; a bare CR and a CRLF may be two more."""

_TABLE = full_table(FRAGMENTS)
_END = b"\r\n.\r\n"


def check(wire: bytes, steering: bytes) -> None:
    """Raises when a decoder or a stuffer disagrees with the reference."""
    decoder = codec.DataDecoder()
    content = rest = b""
    for piece in pieces(wire, steering):
        if decoder.reached_end():
            rest += piece
        else:
            content += decoder.feed(piece)
    expected = reference.payload(wire)
    assert decoder.reached_end() == (expected is not None), f"end of {wire!r}"
    if expected is None:
        _check_unfinished(wire, content)
        return
    found = (content, decoder.rest + rest, decoder.size, decoder.bare_newlines)
    wanted = (expected.content, expected.rest, len(expected.sent), expected.bare)
    assert found == wanted, f"{wire!r} is {wanted}, decoded as {found}"
    assert reference.bare_newlines(content) == 0, f"bare CR, LF or NUL in {content!r}"
    _check_stuffing(content, steering)


def _check_unfinished(wire: bytes, content: bytes) -> None:
    finished = reference.payload(wire + _END)
    assert finished is not None
    wanted = finished.content
    assert wanted.startswith(content), f"{wire!r} so far is {wanted!r}, decoded as {content!r}"
    held = len(wanted) - len(content)
    assert held <= MOST_HELD_BACK, f"{held} octets of {wire!r} are held back"


def _check_stuffing(content: bytes, steering: bytes) -> None:
    onward = codec.dot_stuffed(content) + b".\r\n"
    again = reference.payload(onward)
    assert again is not None, f"{content!r} stuffed has no end"
    assert (again.content, again.rest) == (content, b""), f"{content!r} is stuffed as {onward!r}"
    decoder = codec.DataDecoder()
    decoded = decoder.feed(onward)
    assert decoder.reached_end(), f"{onward!r} is not decoded to its end"
    assert (decoded, decoder.rest) == (content, b""), f"{onward!r} is decoded as {decoded!r}"
    stuffer = codec.DotStuffer()
    in_pieces = b"".join([stuffer.feed(piece) for piece in pieces(content, steering)])
    in_pieces += stuffer.finish()
    assert in_pieces == onward, f"in pieces {in_pieces!r}, at once {onward!r}"


def raw(data: bytes) -> None:
    """Octets as they are."""
    steering, wire = split(data)
    check(wire, steering)


def fragments(data: bytes) -> None:
    """Octets made of fragments."""
    steering, chosen = split(data)
    check(expanded(chosen, _TABLE), steering)
