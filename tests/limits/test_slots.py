"""Slots: taken, signed, counted in, given back; totals survive every owner."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gwsmtp.base.errors import TableError
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.layout import FILE_SIZE, SLOT_COUNT, Head, slot_head
from gwsmtp.limits.slots import (
    Gauge,
    Role,
    SlotState,
    SlotWriter,
    Total,
    claim_slot,
    find_dead,
    free_slot,
    read_slot,
    read_slots,
    sum_totals,
)

OWNER = (10, 1000)


class FakeTable(Table):
    """A table in plain memory, for tests of what is in it."""

    def __init__(self) -> None:
        self.path = Path("memory.table")
        self.words = memoryview(bytearray(FILE_SIZE)).cast("Q")


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = create_table(tmp_path / "demo.table", now_ms=1)
    yield table
    table.close()


def claim(table: Table, number: int = 0, role: Role = Role.WORKER) -> int:
    return claim_slot(table, role, number, 7, OWNER, 500)


def test_claimed_slot_says_who_and_what(table: Table) -> None:
    index = claim(table, 3, Role.ENGINE)
    view = read_slot(table, index)
    assert view is not None
    assert (view.index, view.state, view.role, view.number) == (
        index,
        SlotState.BOOTING,
        Role.ENGINE,
        3,
    )
    assert (view.pid, view.owner, view.generation) == (0, OWNER, 7)
    assert view.claimed_ms == view.heartbeat_ms == 500
    assert read_slots(table) == [view]


def test_child_signs_in_beats_and_gets_ready(table: Table) -> None:
    index = claim(table)
    writer = SlotWriter(table, index)
    writer.sign_in((20, 2000), 600)
    writer.set_state(SlotState.READY, 700)
    writer.beat(800)
    view = read_slot(table, index)
    assert view is not None
    assert (view.pid, view.start_ticks, view.state) == (20, 2000, SlotState.READY)
    assert (view.ready_ms, view.heartbeat_ms) == (700, 800)
    assert writer.state is SlotState.READY
    writer.release()


def test_freed_slot_is_reused_and_its_totals_stay(table: Table) -> None:
    index = claim(table)
    writer = SlotWriter(table, index)
    writer.add_total(Total.SESSIONS, 5)
    writer.set_gauge(Gauge.SESSIONS, 2)
    writer.release()
    free_slot(table, index)
    assert read_slot(table, index) is None
    assert sum_totals(table)[Total.SESSIONS] == 5
    assert claim(table, 9) == index
    view = read_slot(table, index)
    assert view is not None
    assert view.gauges[Gauge.SESSIONS] == 0
    assert view.totals[Total.SESSIONS] == 5


def test_gauge_never_falls_below_zero(table: Table) -> None:
    writer = SlotWriter(table, claim(table))
    writer.add_gauge(Gauge.SESSIONS, -1)
    assert writer.gauges[Gauge.SESSIONS] == 0
    writer.set_gauge(Gauge.SESSIONS, -5)
    assert writer.gauges[Gauge.SESSIONS] == 0
    writer.add_gauge(Gauge.SESSIONS, 3)
    writer.add_gauge(Gauge.SESSIONS, -1)
    assert writer.gauges[Gauge.SESSIONS] == 2
    writer.release()


def test_full_table_refuses(table: Table) -> None:
    assert [claim(table, number) for number in range(SLOT_COUNT)] == list(range(SLOT_COUNT))
    with pytest.raises(TableError, match="all 64 slots"):
        claim(table)


def test_dead_childrens_slots_are_found_and_living_ones_are_not(table: Table) -> None:
    living, dead, unsigned_orphan, mine = (claim(table, number) for number in range(4))
    for index, pid in ((living, 20), (dead, 21)):
        writer = SlotWriter(table, index)
        writer.sign_in((pid, 2000), 600)
        writer.release()
    assert find_dead(table, lambda pid, ticks: pid == 20, own=(0, 0)) == [
        dead,
        unsigned_orphan,
        mine,
    ]
    assert [view.index for view in read_slots(table)] == [living, dead, unsigned_orphan, mine]


def test_own_children_are_not_judged_by_find_dead(table: Table) -> None:
    claim(table)
    assert find_dead(table, lambda pid, ticks: False, own=OWNER) == []


def test_roles_of_a_later_version_are_passed_over(table: Table) -> None:
    index = claim(table)
    table.words[slot_head(index) + Head.ROLE] = 99
    assert read_slots(table) == []
    assert claim(table) != index


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(Total)), st.integers(0, 2**40))))
def test_totals_add_up(steps: list[tuple[Total, int]]) -> None:
    table = FakeTable()
    writers = [SlotWriter(table, claim(table, number)) for number in range(3)]
    expected = dict.fromkeys(Total, 0)
    for turn, (total, amount) in enumerate(steps):
        writers[turn % 3].add_total(total, amount)
        expected[total] += amount
    assert sum_totals(table) == expected


class SlotLives(RuleBasedStateMachine):
    """Any order of birth, work and death: no slot has two owners, no total is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.table = FakeTable()
        self.living: dict[int, SlotWriter] = {}
        self.counted = 0

    @rule()
    def born(self) -> None:
        if len(self.living) < SLOT_COUNT:
            index = claim(self.table)
            assert index not in self.living
            self.living[index] = SlotWriter(self.table, index)

    @rule(amount=st.integers(1, 1000))
    def works(self, amount: int) -> None:
        for writer in list(self.living.values())[-2:]:
            writer.add_total(Total.COMMANDS, amount)
            writer.add_gauge(Gauge.SESSIONS, 1)
            self.counted += amount

    @rule(first=st.booleans())
    def dies(self, first: bool) -> None:
        if self.living:
            index = min(self.living) if first else max(self.living)
            del self.living[index]
            free_slot(self.table, index)

    @invariant()
    def sums_are_exact(self) -> None:
        assert sum_totals(self.table)[Total.COMMANDS] == self.counted
        assert {view.index for view in read_slots(self.table)} == set(self.living)


TestSlotLives = SlotLives.TestCase
TestSlotLives.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
