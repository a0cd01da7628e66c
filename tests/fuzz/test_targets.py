"""The targets stay true: each passes on its seeds and on random inputs, and finds planted bugs."""

import pytest

from tests.fuzz import cutting, fragments, reference, run
from tests.fuzz.campaign import divide
from tests.fuzz.dialogue import Dialogue
from tests.fuzz.planted import PLANTED
from tests.fuzz.seeds import random_inputs, seeds
from tests.fuzz.targets import TARGETS, shares

INPUTS = 1000
MOST_INPUTS_TO_A_BUG = 3000


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_seeds_and_random_inputs(name: str) -> None:
    check = TARGETS[name].check
    for data in random_inputs(name, INPUTS, seed=1):
        try:
            check(data)
        except Exception as error:
            error.add_note(f"{name} on {data.hex()}")
            raise


FOUND = [
    pytest.param(
        "client_fragments",
        "ffb7b7d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6b7ff81",
        id="a reply of many long lines is bounded as a whole",
    ),
    pytest.param(
        "client",
        "ffff32353020322e312ed9a320780d0a",
        id="an enhanced code of a next hop in digits that are not ASCII is passed on",
    ),
]
"""Inputs that a campaign has stopped at."""


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once_is_not_found_again(name: str, data: str) -> None:
    TARGETS[name].check(bytes.fromhex(data))


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_found(bug: str) -> None:
    name, plant = PLANTED[bug]
    check = TARGETS[name].check
    with plant():
        for data in random_inputs(name, MOST_INPUTS_TO_A_BUG, seed=2):
            try:
                check(data)
            except Exception:
                return
    pytest.fail(f"{name} passed {MOST_INPUTS_TO_A_BUG} inputs")


def test_every_subject_has_a_planted_bug() -> None:
    subjects = {name.partition("_")[0] for name, _ in PLANTED.values()}
    assert subjects == {name.partition("_")[0] for name in TARGETS}


def test_every_input_is_somebodys_share() -> None:
    assert sum(shares(10_000_000).values()) >= 10_000_000
    assert min(shares(1).values()) == 1


def test_jobs_hold_all_inputs_and_no_seed_twice() -> None:
    jobs = divide(10_000_000, 3, seed=7)
    assert sum(job.runs for job in jobs) >= 10_000_000
    assert len({job.seed for job in jobs}) == len(jobs) == 3 * len(TARGETS)
    assert jobs == divide(10_000_000, 3, seed=7)


def test_input_is_repeated_without_the_fuzzer(capsys: pytest.CaptureFixture[str]) -> None:
    run.main(["address", "--hex", b"\0FROM:<a@b.test>".hex()])
    assert "passes" in capsys.readouterr().out


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_say_something(name: str) -> None:
    assert len(seeds(name)) >= 6
    assert all(len(seed) <= TARGETS[name].max_len for seed in seeds(name))


@pytest.mark.parametrize("steering", [b"", b"\0", b"\0\0", b"\x02\x81", b"\xff\xff"])
def test_pieces_are_the_octets(steering: bytes) -> None:
    for octets in (b"", b"a", bytes(range(256)) * 3):
        found = list(cutting.pieces(octets, steering))
        assert b"".join(found) == octets
        assert all(found)


def test_fragments_mean_what_was_encoded() -> None:
    text = b"EHLO x\r\nfree text\r\nDATA\r\n\n.\n\r\n.\r\nQUIT\r\n"
    for table in (fragments.COMMANDS, (*fragments.LINE_ENDS, *fragments.COMMANDS)):
        encoded = fragments.encoded(text, table)
        assert fragments.expanded(encoded, fragments.full_table(table)) == text
        assert len(encoded) < len(text)


def test_reference_ends_data_at_crlf_dot_crlf_only() -> None:
    assert reference.payload(b".\r\nx") == (b"", b"", 0, b"x")
    assert reference.payload(b"a\n.\nb\r.\rc\r\n.\n..\r\n.\r\nx") == (
        *(b"a\n.\nb\r.\rc\r\n\n..\r\n", b"a\r\n.\r\nb . c\r\n\r\n..\r\n", 5, b"x"),
    )
    assert reference.payload(b"..a\r\n.b\r\n..\r\n.\r\n") == (*(b".a\r\nb\r\n.\r\n",) * 2, 0, b"")
    assert reference.payload(b"a\r\n.\r") is None


CHUNKED = b"MAIL\r\nRCPT\r\nBDAT 4\r\na\r\n.BDAT 3 LAST\r\n\r\nbNOOP\r\n"


def test_dialogue_reads_chunks() -> None:
    read = Dialogue(CHUNKED, [250, 250, 250, 250, 250], is_closed=False)
    assert read.messages == [(1, b"a\r\n.\r\nb")]
    assert Dialogue(CHUNKED[:30], [250, 250, 250], is_closed=False).messages == []


def test_dialogue_drops_a_refused_chunk_and_what_came_before_it() -> None:
    assert Dialogue(b"BDAT 6\r\nNOOP\r\nRSET\r\n", [503, 250], is_closed=False).messages == []
    refused = [250, 250, 250, 552, 503]
    assert Dialogue(CHUNKED.replace(b"NOOP", b"DATA"), refused, is_closed=False).messages == []


@pytest.mark.parametrize(
    ("octets", "codes", "problem"),
    [
        (b"NOOP\r\n", [], "no reply to"),
        (b"NOOP\r\n", [250, 250], "to a part of"),
        (b"NOOP\r\nN", [250, 250], "to a part of"),
        (b"a\nb\r\n", [250], "250 to the broken line"),
        (b"MAIL\r\nDATA\r\n", [250, 354], "354 without a recipient"),
        (b"RCPT\r\n", [250], "a recipient without a sender"),
        (b"NOOP\r\n", [354], "354 to"),
        (b"x" * 2000, [], "waited on"),
        (b"BDAT 2\r\na", [250], "250 to 1 octets"),
    ],
)
def test_dialogue_refuses(octets: bytes, codes: list[int], problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        Dialogue(octets, codes, is_closed=False)


@pytest.mark.parametrize("output", [b"250 x", b"250-x\r\n", b"250-x\r\n251 y\r\n", b"250 \x07\r\n"])
def test_reference_refuses_what_is_no_reply(output: bytes) -> None:
    with pytest.raises(AssertionError):
        reference.replies(output)
