"""Every known end-of-data confusion through the server's machine: one in is one out, cut anywhere.

What leaves for the next hop is put together as ``delivery`` does it, and must be read alike by all
of ``tests.support.readers``. The same over sockets: tests/process/test_smuggling.py.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.protocol.data import DotStuffer, dot_stuffed
from tests.support import dialog
from tests.support.corpus import normalised
from tests.support.readers import LENIENT, STRICT, disagreements
from tests.support.smuggling import AT_THE_BEGIN, BREAKS, END_OF_DATA, SEQUENCES, attack, is_sound

ENVELOPE = b"MAIL FROM:<outer@client.example>\r\nRCPT TO:<someone@example.test>\r\n"
PAYLOADS = {name: attack(octets) for name, octets in SEQUENCES.items()} | {
    name: attack(octets, head=b"") for name, octets in AT_THE_BEGIN.items()
}
CUT_FROM = len(attack(b"")) - len(attack(b"", head=b"")) - 3
"""Where the sequences begin in most payloads, less what may count as their first half."""

PIECES = st.sampled_from([*BREAKS.values(), b".", b"..", b"x", b"MAIL FROM:<e@v>", b"DATA", b"\r"])
PAYLOAD = st.lists(PIECES, max_size=30).map(b"".join)
CUTS = st.lists(st.integers(1, 12), max_size=40)


def greeted() -> dialog.Memory:
    server = dialog.Memory()
    server.protocol.take_output()
    server.send(b"EHLO client.example\r\n")
    return server


def as_data(payload: bytes) -> bytes:
    return ENVELOPE + b"DATA\r\n" + payload + END_OF_DATA + b"VRFY sync\r\n"


def as_chunk(payload: bytes) -> bytes:
    return ENVELOPE + b"BDAT %d LAST\r\n%bVRFY sync\r\n" % (len(payload), payload)


def check(stream: bytes, cuts: list[int]) -> None:
    """Sends ``stream`` cut at offsets: replies and messages are those of the strict reader."""
    server = greeted()
    said, start = b"", 0
    for end in [*cuts, len(stream)]:
        said += server.send(stream[start:end])
        start = end
    view = STRICT.read(stream)
    assert view.rest == b""
    # A BDAT is answered once, at its end, and a last one by the answer to the message.
    answered = len(view.steps) - sum(step.endswith(b" LAST") for step in view.steps)
    assert said.count(b"\r\n") == answered, said
    assert said.endswith(b"252 2.5.2 Cannot verify, but will accept mail and try to deliver\r\n")
    assert server.messages == [normalised(content) for content in view.contents]
    for content in server.messages:
        check_onward(content, cuts)


def check_onward(content: bytes, cuts: list[int]) -> None:
    """Puts ``content`` on the wire in one piece and in several: all readers agree about it."""
    whole = dot_stuffed(content)
    whole += b".\r\n" if whole.endswith(b"\r\n") or not whole else b"\r\n.\r\n"
    stuffer, pieces, start = DotStuffer(), b"", 0
    for end in [*cuts, len(content)]:
        pieces += stuffer.feed(content[start:end])
        start = end
    assert pieces + stuffer.finish() == whole
    onward = b"MAIL FROM:<a@b>\r\nDATA\r\n" + whole + b"QUIT\r\n"
    assert disagreements(onward) == []
    completed = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    assert STRICT.read(onward).contents == [completed]


@pytest.mark.parametrize("name", PAYLOADS)
def test_one_message_in_is_one_message_out_cut_anywhere(name: str) -> None:
    payload = PAYLOADS[name]
    streams = [as_chunk(payload)]
    if is_sound(payload):
        streams.append(as_data(payload))
    for stream in streams:
        check(stream, [])
        check(stream, list(range(1, len(stream))))
        start = stream.find(payload) + (0 if name in AT_THE_BEGIN else CUT_FROM)
        for cut in range(start, start + 14):
            check(stream, [cut])


@pytest.mark.full
def test_a_sequence_in_two_chunks_is_content_too() -> None:
    for payload in PAYLOADS.values():
        for cut in range(len(payload)):
            one, other = payload[:cut], payload[cut:]
            chunks = b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (len(one), one, len(other), other)
            check(ENVELOPE + chunks + b"VRFY sync\r\n", [])


@given(PAYLOAD, CUTS, st.booleans())
def test_any_mixture_in_any_chunking(payload: bytes, steps: list[int], is_data: bool) -> None:
    payload = payload.replace(END_OF_DATA, b"")
    if payload.startswith(b".\r\n"):
        payload = b"." + payload
    while END_OF_DATA in payload:
        payload = payload.replace(END_OF_DATA, b"")
    stream = as_data(payload) if is_data else as_chunk(payload)
    cuts = [sum(steps[: n + 1]) for n in range(len(steps))]
    check(stream, [cut for cut in cuts if cut < len(stream)])


@pytest.mark.parametrize("name", [name for name, one in PAYLOADS.items() if not is_sound(one)])
def test_odd_octets_behind_an_end_of_data_break_the_command_behind_them(name: str) -> None:
    server = greeted()
    said = server.send(as_data(PAYLOADS[name]))
    assert len(server.messages) == 1
    assert said.count(b"\r\n250 2.1.") == 1, said  # the recipient; the sender's comes first
    assert said.count(b"354 ") == 1, said
    assert b"\r\n252 2.5.2 " in said


def test_the_attacks_would_fool_somebody() -> None:
    """The readers are no strawmen: unchanged, every attack with a break on both sides of its dot is
    two messages to one of them.
    """
    pairs = {f"{one}-{other}" for one in BREAKS for other in BREAKS if b"" not in pair(one, other)}
    for name in pairs - {"CRLF-CRLF"}:
        stream = as_data(PAYLOADS[name])
        assert any(
            b"MAIL FROM:<evil@client.example>" in reader.read(stream).commands for reader in LENIENT
        ), name


def pair(one: str, other: str) -> tuple[bytes, bytes]:
    return BREAKS[one], BREAKS[other]
