"""Recipients' answers in the table: ages, whose place is taken, torn reads, kills, snapshots."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.limits import layout
from gwsmtp.limits.answers import (
    NEGATIVE_MS,
    NONE,
    POSITIVE,
    POSITIVE_MS,
    STALE_MS,
    UNKNOWN,
    Answers,
    Fingerprint,
    load_answers,
    pack_answers,
)
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.layout import ANSWER_COUNT, ANSWER_WORDS, WAYS
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.snapshot import load, pack
from tests.limits.killed import Prepared, dies_in
from tests.support.tables import SECRET, make_table, never_sleep

NOW = 3_600_000
WALL = 1_700_000_000_000
BUCKETS = ANSWER_COUNT // WAYS
ONE: Fingerprint = (1 << 63, 5)
"""In the bucket of ``neighbour``."""


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


def answers_of(table: Table) -> Answers:
    return Answers(table, RangeLock(table, 0, never_sleep))


def neighbour(number: int) -> Fingerprint:
    return 7 + number, 5 + number * BUCKETS


def test_ages(table: Table) -> None:
    answers = answers_of(table)
    assert answers.fresh(ONE, NOW) == NONE
    answers.remember(ONE, POSITIVE, NOW)
    answers.remember(neighbour(1), UNKNOWN, NOW)
    assert answers.fresh(ONE, NOW + POSITIVE_MS - 1) == POSITIVE
    assert answers.fresh(ONE, NOW + POSITIVE_MS) == NONE
    assert answers.is_usable(ONE, NOW + STALE_MS - 1)
    assert not answers.is_usable(ONE, NOW + STALE_MS)
    assert answers.fresh(neighbour(1), NOW + NEGATIVE_MS - 1) == UNKNOWN
    assert answers.fresh(neighbour(1), NOW + NEGATIVE_MS) == NONE
    assert not answers.is_usable(neighbour(1), NOW)
    assert answers.fresh(ONE, NOW - 1) == NONE  # of another clock


def test_a_new_answer_takes_the_place_of_the_old(table: Table) -> None:
    answers = answers_of(table)
    answers.remember(ONE, POSITIVE, NOW)
    answers.remember(ONE, UNKNOWN, NOW + 1)
    assert answers.fresh(ONE, NOW + 1) == UNKNOWN
    assert len(pack_answers(table, NOW + 1, WALL)) == ANSWER_WORDS
    assert not answers.is_usable(ONE, NOW + 1 + NEGATIVE_MS)


def test_a_flood_of_unknown_mailboxes_costs_a_bucket_one_positive_answer(table: Table) -> None:
    answers = answers_of(table)
    for number in range(WAYS):
        answers.remember(neighbour(number), POSITIVE, NOW + number)
    for number in range(WAYS, 10 * WAYS):
        answers.remember(neighbour(number), UNKNOWN, NOW + number)
        assert answers.fresh(neighbour(number), NOW + number) == UNKNOWN
    later = NOW + 10 * WAYS
    found = [answers.fresh(neighbour(number), later) for number in range(WAYS)]
    assert found == [NONE, *[POSITIVE] * (WAYS - 1)]


def test_fingerprints_are_keyed(table: Table) -> None:
    one = answers_of(table).fingerprint(b"mx.test:25\nu@example.test")
    assert one == answers_of(table).fingerprint(b"mx.test:25\nu@example.test")
    assert one != answers_of(table).fingerprint(b"mx.test:26\nu@example.test")
    table.set_secret(b"another secret!!")
    assert one != answers_of(table).fingerprint(b"mx.test:25\nu@example.test")


def entry_of(table: Table) -> list[int]:
    """The words of the first entry of ONE's bucket."""
    first = layout.answer(5 * WAYS)
    words: list[int] = table.words[first : first + ANSWER_WORDS].tolist()
    return words


def test_a_mixture_of_two_entries_is_nobodys(table: Table) -> None:
    """Any words of an old and of a new entry, as a reader may meet them."""
    answers, first = answers_of(table), layout.answer(5 * WAYS)
    entries: list[list[int]] = []
    for fingerprint, kind in ((ONE, POSITIVE), (ONE, UNKNOWN), (neighbour(1), POSITIVE)):
        for word in range(ANSWER_WORDS):
            table.words[first + word] = 0
        answers.remember(fingerprint, kind, NOW + len(entries))
        entries.append(entry_of(table))
    for old in entries:
        for new in entries:
            for choice in range(1, 7):
                mixed = [(old, new)[choice >> word & 1][word] for word in range(ANSWER_WORDS)]
                if mixed in entries:
                    continue
                for word in range(ANSWER_WORDS):
                    table.words[first + word] = mixed[word]
                for fingerprint in (ONE, neighbour(1)):
                    assert answers.fresh(fingerprint, NOW + 5) == NONE
                    assert not answers.is_usable(fingerprint, NOW + 5)


def test_a_kill_at_every_store_leaves_the_new_answer_the_old_or_none(tmp_path: Path) -> None:
    path = tmp_path / "test.table"
    table = create_table(path, now_ms=1, secret=SECRET)
    answers = answers_of(table)

    def prepare(mortal: Table) -> Prepared:
        victim = Answers(mortal, RangeLock(mortal, 1, never_sleep))
        return lambda: victim.remember(ONE, UNKNOWN, NOW + 1)

    found, stores = [], 1
    answers.remember(ONE, POSITIVE, NOW)
    while dies_in(path, stores, prepare):
        found.append(answers.fresh(ONE, NOW + 2))
        answers.remember(ONE, POSITIVE, NOW)
        assert answers.fresh(ONE, NOW + 2) == POSITIVE
        stores += 1
    assert answers.fresh(ONE, NOW + 2) == UNKNOWN
    # Before the lock's holder and the first word; between the words; behind the last.
    assert found == [POSITIVE, POSITIVE, NONE, NONE, UNKNOWN]
    table.close()


def test_the_snapshot_keeps_answers_and_their_ages_over_a_boot_and_another_secret(
    table: Table,
) -> None:
    answers, recipient = answers_of(table), b"mx.test:25\nu@example.test"
    day = 86_400_000
    known = answers.fingerprint(recipient)
    answers.remember(known, POSITIVE, NOW)
    answers.remember(ONE, UNKNOWN, NOW)
    answers.remember(neighbour(1), POSITIVE, NOW - POSITIVE_MS)
    data = pack(table, NOW + 1000, WALL)
    new = make_table()
    new.set_secret(b"another secret!!")
    boot_ms = 60_000  # the machine was booted a minute ago
    load(new, data, boot_ms, WALL + 120_000)
    loaded = answers_of(new)
    assert loaded.fingerprint(recipient) == known
    assert loaded.fresh(known, boot_ms) == POSITIVE
    left_ms = POSITIVE_MS - 121_000
    assert loaded.fresh(known, boot_ms + left_ms - 1) == POSITIVE
    assert loaded.fresh(known, boot_ms + left_ms) == NONE
    assert loaded.fresh(ONE, boot_ms) == UNKNOWN
    assert loaded.fresh(neighbour(1), boot_ms) == NONE
    assert loaded.is_usable(neighbour(1), boot_ms + 30 * day)
    assert not loaded.is_usable(neighbour(1), boot_ms + 31 * day)
    new.close()


def test_answers_that_have_expired_meanwhile_are_not_loaded(table: Table) -> None:
    answers_of(table).remember(ONE, UNKNOWN, NOW)
    packed = pack_answers(table, NOW, WALL)
    new = make_table()
    load_answers(new, packed, NOW, WALL + NEGATIVE_MS)
    assert pack_answers(new, NOW, WALL) == []
    new.close()
