"""Rings of decisions: the last 1,024 of each slot, read while others write, told as they were."""

import random
from collections.abc import Iterator

import pytest

from gwsmtp.base.audit import Decided
from gwsmtp.base.decision import Action, Reason
from gwsmtp.base.ids import SessionIds
from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import DECISION_WORDS, RING_SIZE, Decision
from gwsmtp.limits.ring import RingWriter, read_decisions
from tests.support.realclock import RealClock
from tests.support.tables import make_table

IDS = SessionIds(random.Random(1))


class Clock(RealClock):
    """A table time that each look moves by one."""

    def __init__(self) -> None:
        super().__init__()
        self.ms = 0

    def boot_ms(self) -> int:
        self.ms += 1
        return self.ms


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


def decided(counter: int = 0, ip: str = "192.0.2.7") -> Decided:
    event = Decided(IDS.make(), ip, 1, Reason.CONCURRENCY, Action.WOULD_REFUSE)
    event.counter, event.threshold, event.window_s = counter, 20, 60
    return event


def counters(table: Table) -> list[int]:
    return [view.counter for view in read_decisions(table)]


def test_a_decision_is_told_as_it_was(table: Table) -> None:
    assert read_decisions(table) == []
    event = decided(25, "2001:db8::9")
    RingWriter(table, 3, Clock())(event)
    (view,) = read_decisions(table)
    assert (view.slot, view.at_ms, view.session_id) == (3, 1, event.session_id)
    assert (view.client, view.listener) == ("2001:db8::/64", 1)
    assert (view.reason, view.action) == (Reason.CONCURRENCY, Action.WOULD_REFUSE)
    assert (view.counter, view.threshold, view.window_s) == (25, 20, 60)


def test_a_full_ring_keeps_the_newest_and_a_successor_writes_on(table: Table) -> None:
    clock = Clock()
    writer = RingWriter(table, 0, clock)
    for number in range(RING_SIZE + 500):
        writer(decided(number))
    assert counters(table) == list(range(500, RING_SIZE + 500))
    successor = RingWriter(table, 0, clock)
    for number in range(RING_SIZE + 500, RING_SIZE + 700):
        successor(decided(number))
    assert counters(table) == list(range(700, RING_SIZE + 700))


def test_rings_of_several_slots_are_told_in_the_order_of_time(table: Table) -> None:
    clock = Clock()
    writers = [RingWriter(table, slot, clock) for slot in (5, 0, 63)]
    for number in range(30):
        writers[number % 3](decided(number))
    assert counters(table) == list(range(30))


def test_an_unfinished_entry_is_passed_over(table: Table) -> None:
    """Its writer was killed in the middle: the sequence number is stored last."""
    clock = Clock()
    writer = RingWriter(table, 0, clock)
    for number in range(3):
        writer(decided(number))
    place = layout.ring(0) + 2 * DECISION_WORDS
    table.words[place + Decision.SEQUENCE] = 0
    assert counters(table) == [0, 2]
    RingWriter(table, 0, clock)(decided(3))
    assert counters(table) == [0, 2, 3]


@pytest.mark.parametrize("what", [0xFE, 0xFE << 8, 2**64 - 1])
def test_decisions_of_a_newer_version_are_passed_over(table: Table, what: int) -> None:
    writer = RingWriter(table, 0, Clock())
    writer(decided(1))
    writer(decided(2))
    table.words[layout.ring(0) + DECISION_WORDS + Decision.WHAT] = what
    assert counters(table) == [2]


def test_damage_anywhere_in_a_ring_ends_no_reader_and_no_writer(table: Table) -> None:
    rng = random.Random(2)
    first, size = layout.ring(0), RING_SIZE * DECISION_WORDS
    for place in range(first, first + size):
        table.words[place] = rng.getrandbits(64)
    table.words[first + 7 * DECISION_WORDS + Decision.SEQUENCE] = 2**64 - 1
    read_decisions(table)
    writer = RingWriter(table, 0, Clock())
    for number in range(3):
        writer(decided(number))
    assert [view.at_ms for view in read_decisions(table)][:3] == [1, 2, 3]
