"""Target: ClientProtocol with any octets of a next hop, for as many commands as it answers.

Held: RemoteProtocolError alone is raised, and for the inputs the reference refuses; the replies are
the reference's in any pieces; what is passed on is a legal reply of ours.
"""

from collections.abc import Iterable

from gwsmtp.base.errors import RemoteProtocolError
from gwsmtp.protocol import client as module
from gwsmtp.protocol.client import ClientProtocol, HopReply
from tests.fuzz import reference
from tests.fuzz.cutting import pieces, split
from tests.fuzz.fragments import HOP, expanded, full_table

FRAGMENTS = HOP
MOST_OCTETS, MOST_LINES, MOST_OF_REPLY = 4096, 200, 65536
"""What a next hop may say in a line, in lines and in all of them; larger limits in the client are a
finding.
"""
_READ_OCTETS = 65536
"""More never comes at once from a socket."""

_MOST_REPLIES = 2000
"""More than an input has room for."""
_TABLE = full_table(FRAGMENTS)


def _read(octets: Iterable[bytes]) -> tuple[list[HopReply], str, bool]:
    """The replies, why the rest was refused ("" if not), whether some was left."""
    protocol = ClientProtocol()
    protocol.awaited += ["NOOP"] * _MOST_REPLIES
    found = []
    try:
        for piece in octets:
            protocol.receive(piece)
            while (reply := protocol.next_reply()) is not None:
                found.append(reply)
    except RemoteProtocolError as error:
        return found, str(error), False
    return found, "", protocol.has_unread


def _small(pieces: Iterable[bytes]) -> Iterable[bytes]:
    for piece in pieces:
        for at in range(0, len(piece), _READ_OCTETS):
            yield piece[at : at + _READ_OCTETS]


def check(octets: bytes, steering: bytes) -> None:
    """Raises when ClientProtocol does not read ``octets`` as the reference does."""
    found, refusal, has_leftover = _read(_small((octets,)))
    replies = [(reply.code, [text.encode() for text in reply.lines]) for reply in found]
    again, again_refusal, again_leftover = _read(_small(pieces(octets, steering)))
    in_pieces = [(reply.code, [text.encode() for text in reply.lines]) for reply in again]
    assert replies == in_pieces, f"pieces change {replies} to {in_pieces}"
    # Its words go to the log and may quote what happened to be there.
    assert bool(refusal) == bool(again_refusal), f"pieces change {refusal!r} to {again_refusal!r}"
    assert has_leftover == again_leftover, "pieces change whether something is left"
    wanted = reference.hop_replies(octets, MOST_OCTETS, MOST_LINES, MOST_OF_REPLY)
    texts = [
        (code, [line.decode("utf-8", "replace").encode() for line in lines])
        for code, lines in wanted.found
    ]
    assert replies == texts, f"read as {replies}, sent were {texts}"
    assert bool(refusal) == wanted.is_refused, f"refused by {refusal!r}"
    assert has_leftover == bool(wanted.leftover), f"left is {wanted.leftover!r}"
    for reply in found:
        _check_passed_on(reply)


def _check_passed_on(reply: HopReply) -> None:
    module.offered_extensions(reply)
    ours = reply.as_ours()
    assert reference.replies(ours.wire) == [reply.code], f"passed on as {ours.wire!r}"
    assert ours.wire.count(b"\n") == 1, f"passed on as {ours.wire!r}"
    assert ours.enhanced[:1] in ("", str(reply.code)[0]), f"{reply.code} with {ours.enhanced}"


def raw(data: bytes) -> None:
    """Octets as they are."""
    steering, octets = split(data)
    check(octets, steering)


def fragments(data: bytes) -> None:
    """Octets made of fragments."""
    steering, chosen = split(data)
    check(expanded(chosen, _TABLE), steering)
