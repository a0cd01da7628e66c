"""Known end-of-data confusions over sockets: one message in is one message out (SETTINGS 2.20).

    client -> gateway (master, workers, engine) -> Recorder -> RawSink

In both modes of ``protocol.bare_newline``, over DATA and BDAT, every sequence of
``tests.support.smuggling``: in one write; cut at each of its octets, so that the gateway reads the
halves apart; over chunks that end inside it; octet by octet; and where reads, drafts and the
pieces of a file end. ``tests.support.passage`` says what is compared.
"""

import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.gateway import open_folder
from tests.support.passage import Passage, open_passage
from tests.support.smuggling import AT_THE_BEGIN, HEADER, SEQUENCES, attack, is_sound

pytestmark = pytest.mark.full

SEED = 20231218
BORDERS = (65536, 131072, 262144)
"""A read, a draft in memory, and a piece of a draft in a file (``spool.draft``)."""
AT_BORDERS = ("LF-LF", "LF-CRLF", "CRLF-LF", "CR-CRLF", "CRLF-CR", "CRCRLF-CRCRLF", "CRLFNUL-CRLF")
DOTS_AT_BORDERS = {"stuffed": b"\r\n..\r\n", "dot-and-text": b"\r\n.text\r\n", "LF": b"\n.\n"}
LINES = (996, 997, 998, 999, 1000, 1001)

BEGINNINGS = {name: attack(octets, head=b"") for name, octets in AT_THE_BEGIN.items()}
PAYLOADS = {name: attack(octets) for name, octets in SEQUENCES.items()} | BEGINNINGS
OVER_DATA = {name: payload for name, payload in PAYLOADS.items() if is_sound(payload)}


@pytest.fixture(scope="module", params=["normalize", "reject"])
def passage(request: pytest.FixtureRequest) -> Iterator[Passage]:
    folder = open_folder()
    with ExitStack() as running:
        running.callback(shutil.rmtree, folder, ignore_errors=True)
        yield open_passage(running, folder, request.param)


@pytest.fixture(autouse=True)
def checked(passage: Passage) -> Iterator[None]:
    """What a test has sent is compared at its end."""
    passage.sent.clear()
    yield
    passage.check()


def cuts_of(name: str) -> range:
    """The offsets that part the octets of a sequence from each other and from what is around."""
    if name in AT_THE_BEGIN:
        return range(1, len(AT_THE_BEGIN[name]) + 1)
    return range(len(HEADER), len(HEADER) + len(SEQUENCES[name]) + 1)


def test_in_one_write(passage: Passage) -> None:
    with passage.talk() as talk:
        for name, payload in OVER_DATA.items():
            talk.data(name, payload)
        for name, payload in PAYLOADS.items():
            talk.chunks(name, [payload])


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\0\n"])
def test_with_hidden_commands_that_end_otherwise(passage: Passage, line_end: bytes) -> None:
    with passage.talk() as talk:
        for name, octets in SEQUENCES.items():
            payload = attack(octets, line_end=line_end)
            talk.chunks(name, [payload])
            if b"\r\n.\r\n" not in payload:
                talk.data(name, payload)


def test_cut_at_each_octet_and_read_apart(passage: Passage) -> None:
    with passage.talk() as talk:
        for name, payload in OVER_DATA.items():
            for cut in cuts_of(name):
                talk.data(name, payload, [cut])


def test_the_end_itself_read_apart(passage: Passage) -> None:
    with passage.talk() as talk:
        for name in ("LF-LF", "CR-CR", "half-the-end-CR", "nothing-nothing"):
            payload = HEADER + SEQUENCES[name]
            for cut in range(len(payload) - 3, len(payload) + 5):
                talk.data(name, payload, [cut])


def test_chunks_that_end_inside_a_sequence(passage: Passage) -> None:
    with passage.talk() as talk:
        for number, (name, payload) in enumerate(PAYLOADS.items()):
            for cut in cuts_of(name):
                talk.chunks(name, [payload[:cut], payload[cut:]], is_apart=number % 8 == 0)


def test_a_sequence_in_a_chunk_of_its_own(passage: Passage) -> None:
    with passage.talk() as talk:
        for name, octets in SEQUENCES.items():
            begin, end = HEADER, attack(b"", head=b"")
            talk.chunks(name, [begin, octets, end, b""])


def test_octet_by_octet(passage: Passage) -> None:
    """A sample; the header and the hidden commands stay whole."""
    names = random.Random(SEED).sample(sorted(SEQUENCES), 24)
    with passage.talk() as talk:
        for name in names:
            if name in OVER_DATA:
                talk.data(name, OVER_DATA[name], cuts_of(name))
            payload = PAYLOADS[name]
            singles = [payload[n : n + 1] for n in range(len(payload))]
            talk.chunks(name, singles)
            talk.chunks(name, singles[:40], is_apart=True)


def test_where_reads_drafts_and_pieces_of_files_end(passage: Passage) -> None:
    payloads = {name: SEQUENCES[name] for name in AT_BORDERS} | DOTS_AT_BORDERS
    with passage.talk() as talk:
        for border in BORDERS:
            for name, octets in payloads.items():
                for before in range(len(octets) + 1):
                    head = HEADER + b"\r\n" + b"x" * (border - len(HEADER) - 2 - before)
                    payload = attack(octets, head=head)
                    if before % 2:
                        talk.data(name, payload, [border])
                    else:
                        talk.chunks(name, [payload])


@pytest.mark.parametrize("octets", LINES)
def test_behind_lines_about_as_long_as_lines_may_be(passage: Passage, octets: int) -> None:
    with passage.talk() as talk:
        for name in (*AT_BORDERS, "nothing-CRLF", "dots-2"):
            payload = attack(SEQUENCES[name], head=HEADER + b"\r\n" + b"x" * octets)
            talk.data(name, payload)
            talk.chunks(name, [payload])
