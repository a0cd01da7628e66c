"""Received fields, counted in pieces."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.protocol.hopcount import MAX_HEADER_OCTETS, MAX_HOPS, HopCounter

FIELD = b"Received: from a by b; today\r\n"


def is_loop(content: bytes, boundaries: tuple[int, ...] = ()) -> bool:
    counter, start = HopCounter(), 0
    for end in (*sorted(boundaries), len(content)):
        piece = content[start:end]
        if piece and not counter.is_done:
            counter.feed(piece)
        start = max(start, end)
    return counter.is_loop


def counted_line_by_line(content: bytes) -> int:
    """The same in the obvious way."""
    hops = 0
    for line in content.split(b"\r\n"):
        if not line:
            break
        hops += re.match(rb"received[ \t]{0,40}:", line, re.IGNORECASE) is not None
    return hops


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\nbody\r\n", b"Subject: x\r\n\r\nbody\r\n"])
def test_a_hundred_hops_pass_and_one_more_is_a_loop(end: bytes) -> None:
    assert not is_loop(FIELD * 100 + end)
    assert is_loop(FIELD * 101 + end)
    assert is_loop(b"Subject: x\r\n" + FIELD * 101 + end)


def test_the_shortest_possible_loop_is_seen() -> None:
    assert is_loop(b"Received:\r\n" * 101 + b"\r\n")
    assert not is_loop(b"Received:\r\n" * 100 + b"X:\r\n" * 1000 + b"\r\n")


@pytest.mark.parametrize(
    "field", [b"RECEIVED: x\r\n", b"received:x\r\n", b"ReCeIvEd \t: x\r\n", b"Received:\r\n\tx\r\n"]
)
def test_case_blanks_and_folding_make_no_difference(field: bytes) -> None:
    assert is_loop(field * 101 + b"\r\n")
    assert not is_loop(field * 100 + b"\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"Received-SPF: pass\r\n",
        b"X-Received: by x\r\n",
        b"Subject: x\r\n Received: folded\r\n",
        b"Subject: Received: x\r\n",
        b"Received from x\r\n",
        b"Received" + b" " * 41 + b": x\r\n",
    ],
)
def test_what_only_looks_like_one_is_none(line: bytes) -> None:
    assert not is_loop(line * 300 + b"\r\n")


def test_the_body_does_not_count() -> None:
    assert not is_loop(FIELD * 100 + b"\r\n" + FIELD * 100)
    assert not is_loop(b"\r\n" + FIELD * 200)
    assert not is_loop(b"Subject: bounce\r\n\r\n" + FIELD * 200)


def test_a_header_is_looked_at_for_a_mebibyte() -> None:
    filler = b"X-Filler: " + b"x" * 988 + b"\r\n"
    before = filler * (MAX_HEADER_OCTETS // len(filler) - 100)
    cuts = tuple(range(60_000, 2 * MAX_HEADER_OCTETS, 60_000))
    assert is_loop(before + FIELD * 101 + b"\r\n", cuts)
    counter = HopCounter()
    for _ in range(30):
        if not counter.is_done:
            counter.feed(filler * 60)
    assert counter.is_done


# One alphabet that makes fields, ends and their broken forms likely, however it is cut.
ENDS = [b"\r\n", b"\r\n", b":", b" ", b" " * 40, b"x" * 60]
FIELDS = [FIELD * 34, FIELD * 33, FIELD, b"received\t :x\r\n", b"Received:\r\n", b"Received"]
OTHERS = [b"Subject: x\r\n", b"\tfolded\r\n"]
PARTS = st.sampled_from([*ENDS, *FIELDS, *OTHERS])


@given(
    st.lists(PARTS, max_size=12).map(b"".join),
    st.lists(st.integers(0, 4000), max_size=12).map(tuple),
)
def test_any_chunking_counts_as_a_loop_over_lines_does(
    content: bytes, boundaries: tuple[int, ...]
) -> None:
    expected = counted_line_by_line(content) > MAX_HOPS
    assert is_loop(content) == expected
    assert is_loop(content, boundaries) == expected


@given(st.integers(95, 105), st.integers(1, 9), st.booleans())
def test_pieces_of_any_size_count_each_field_once(hops: int, size: int, has_blanks: bool) -> None:
    field = b"Received \t : x\r\n" if has_blanks else FIELD
    content = field * hops + b"\r\n" + field * 20
    assert is_loop(content, tuple(range(size, len(content), size))) == (hops > MAX_HOPS)
