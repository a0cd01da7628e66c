"""What octets mean, read slowly and without any code of gwsmtp: the yardstick of the targets.

``payload`` reads the octets after a 354, ``replies`` what a server wrote, ``hop_replies`` what a
next hop wrote. Each splits the whole input at once; nothing here knows of pieces. A comparison
that fails raises AssertionError.
"""

import re
from typing import NamedTuple

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([ -])[\x20-\x7e]*")
_HOP_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
LONGEST_REPLY_LINE = 510  # RFC 5321 4.5.3.1.5, without CRLF


class Payload(NamedTuple):
    """``sent`` is the content as the client meant it, ``content`` the same with CRLF line ends
    alone (SETTINGS 2.20), ``bare`` how many octets that changed, ``rest`` what follows the end.
    """

    sent: bytes
    content: bytes
    bare: int
    rest: bytes


def payload(wire: bytes) -> Payload | None:
    """The payload ``wire`` begins with; None while CRLF.CRLF is missing (RFC 5321 4.1.1.4)."""
    end = (b"\r\n" + wire).find(b"\r\n.\r\n")
    if end < 0:
        return None
    lines = wire[:end].split(b"\r\n")
    sent = b"\r\n".join(line[1:] if line[:1] == b"." else line for line in lines)
    return Payload(sent, normal(sent), bare_newlines(sent), wire[end + 3 :])


def normal(sent: bytes) -> bytes:
    """A line end is CRLF, whether it was one or a bare LF; other CR and NUL are a blank."""
    lines = sent.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\0", b" ")
    return lines.replace(b"\n", b"\r\n")


def bare_newlines(sent: bytes) -> int:
    """How many CR, LF and NUL are no part of a CRLF."""
    return sum(map(sent.count, (b"\r", b"\n", b"\0"))) - 2 * sent.count(b"\r\n")


def replies(output: bytes) -> list[int]:
    """The codes of the replies in ``output``; it must be whole replies in printable ASCII."""
    if not output:
        return []
    assert output.endswith(b"\r\n"), f"the output is no whole line: {output[-80:]!r}"
    codes = []
    going_on = b""
    for line in output[:-2].split(b"\r\n"):
        found = _REPLY_LINE.fullmatch(line)
        assert found and len(line) <= LONGEST_REPLY_LINE, f"no reply line: {line[:600]!r}"
        code, mark = found.groups()
        assert going_on in (b"", code), f"one reply with two codes: {line!r}"
        going_on = code if mark == b"-" else b""
        if mark == b" ":
            codes.append(int(code))
    assert not going_on, f"a reply without its last line: {output[-80:]!r}"
    return codes


class HopReplies(NamedTuple):
    """The complete replies as (code, texts), ``is_refused`` whether what follows them is not to be
    listened to; if not, ``leftover`` is what follows them.
    """

    found: list[tuple[int, list[bytes]]]
    is_refused: bool
    leftover: bytes


def hop_replies(octets: bytes, most_octets: int, most_lines: int, most_of_reply: int) -> HopReplies:
    """Replies of a next hop, lines ended by LF or CRLF; refused is what is no reply, a line of
    over ``most_octets`` (CR included), a reply of over ``most_lines`` lines, and one whose lines
    but the last have over ``most_of_reply`` octets.
    """
    found: list[tuple[int, list[bytes]]] = []
    texts: list[bytes] = []
    taken = position = going_on = 0
    *lines, unfinished = octets.split(b"\n")
    for line in lines:
        position += len(line) + 1
        match = _HOP_LINE.fullmatch(line.removesuffix(b"\r"))
        if match is None or len(line) > most_octets:
            return HopReplies(found, True, b"")
        code, mark, text = match.groups()
        texts.append(text or b"")
        if mark != b"-":
            found.append((int(code), texts))
            texts = []
            taken = position
            going_on = 0
            continue
        going_on += len(line)
        if len(texts) >= most_lines or going_on > most_of_reply:
            return HopReplies(found, True, b"")
    if len(unfinished) > most_octets:
        return HopReplies(found, True, b"")
    return HopReplies(found, False, octets[taken:])
