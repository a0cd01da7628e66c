"""A kill at every single store of what is neither a connection nor a client's row: rings, slots,
snapshots, the count of who is to be shed.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gwsmtp.base.audit import Decided
from gwsmtp.base.decision import Action, Reason
from gwsmtp.base.ids import SessionIds
from gwsmtp.limits import layout, shedding
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.layout import CLIENT_COUNT, CLIENT_TAGS, RING_SIZE, Client
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.ring import RingWriter, read_decisions
from gwsmtp.limits.slots import (
    Gauge,
    Role,
    SlotState,
    claim_slot,
    find_dead,
    find_free,
    free_slot,
    read_slot,
    sum_gauge,
)
from gwsmtp.limits.snapshot import load, pack
from tests.limits.killed import Prepared, dies_in
from tests.limits.killhouse import MOST_STORES, NOW, House, who
from tests.support.movedclock import MovedClock
from tests.support.tables import SECRET

WALL = 1_700_000_000_000
OLD_MASTER, NEW_MASTER = (1, 1), (2, 2)
IDS = SessionIds(random.Random(1))


def nobody_lives(pid: int, ticks: int) -> bool:
    return False


def stores_of(
    path: Path, prepare: Callable[[Table], Prepared], check: Callable[[bool], None]
) -> int:
    """Kills at each store and checks after each; returns how many stores there are."""
    for stores in range(1, MOST_STORES):
        is_dead = dies_in(path, stores, prepare)
        check(is_dead)
        if not is_dead:
            return stores - 1
    raise AssertionError(f"more than {MOST_STORES} stores")


@pytest.mark.parametrize("so_far", [0, 5, RING_SIZE + 3])
def test_a_decision_is_told_whole_or_not_at_all(house: House, so_far: int) -> None:
    table, slot = house.table, house.victim
    clock, decision = MovedClock(), decided(1)
    writer = RingWriter(table, slot, clock)
    for number in range(so_far):
        clock.ms += 1
        writer(decided(number + 2))
    clock.ms += 1
    ring = slice(layout.ring(slot), layout.ring(slot + 1))
    image, before = bytes(table.words[ring]), counters(table)

    def prepare(table: Table) -> Prepared:
        successor = RingWriter(table, slot, clock)
        return lambda: successor(decision)

    def check(is_dead: bool) -> None:
        kept = before[-RING_SIZE + 1 :]
        assert counters(table) in (([before, kept] if is_dead else []) + [[*kept, 1]])
        clock.ms += 1
        RingWriter(table, slot, clock)(decided(0))
        assert counters(table)[-1] == 0
        assert len(counters(table)) >= min(so_far, RING_SIZE - 1)
        table.words[ring] = memoryview(image).cast("Q")

    assert stores_of(house.path, prepare, check) == layout.DECISION_WORDS + 1


def decided(counter: int) -> Decided:
    event = Decided(IDS.make(), "192.0.2.7", 1, Reason.CONCURRENCY, Action.WOULD_REFUSE)
    event.counter, event.threshold, event.window_s = counter, 20, 60
    return event


def counters(table: Table) -> list[int]:
    found = read_decisions(table)
    assert all(view.threshold == 20 and view.client == "192.0.2.7" for view in found)
    return [view.counter for view in found]


def test_a_slot_given_back_is_free_or_still_the_dead_ones(house: House) -> None:
    """Its master dies; the next one finds it, and gives it back."""
    table = house.table
    head = layout.slot_head(house.victim)
    table.words[head + 1] = 77  # signed in
    table.words[layout.slot_gauges(house.victim) + Gauge.SESSIONS] = 9
    page = slice(head, layout.slot_totals(house.victim))
    image = bytes(table.words[page])

    def prepare(table: Table) -> Prepared:
        return lambda: free_slot(table, house.victim)

    def check(is_dead: bool) -> None:
        if house.victim not in find_free(table):
            assert is_dead
            assert read_slot(table, house.victim) is not None
            assert house.victim in find_dead(table, nobody_lives, NEW_MASTER)
            free_slot(table, house.victim)
        assert sum_gauge(table, Gauge.SESSIONS) == 0
        assert claim_slot(table, Role.QUEUE, 3, 2, NEW_MASTER, NOW) == house.victim
        view = read_slot(table, house.victim)
        assert view is not None
        assert (view.pid, view.role, view.number, view.owner) == (0, Role.QUEUE, 3, NEW_MASTER)
        table.words[page] = memoryview(image).cast("Q")

    assert stores_of(house.path, prepare, check) == layout.GAUGE_COUNT + 1


def test_a_slot_being_claimed_is_free_or_the_dead_masters(house: House) -> None:
    table = house.table
    spare = find_free(table)[0]

    def prepare(table: Table) -> Prepared:
        return lambda: claim_slot(table, Role.WORKER, 5, 1, OLD_MASTER, NOW)

    def check(is_dead: bool) -> None:
        if is_dead:
            assert spare in find_free(table)
        else:
            assert table.words[layout.slot_head(spare)] == SlotState.BOOTING
            assert spare in find_dead(table, nobody_lives, NEW_MASTER)

    assert stores_of(house.path, prepare, check) > 10


def test_a_snapshot_that_is_loaded_half_is_loaded_again(tmp_path: Path) -> None:
    old = create_table(tmp_path / "old.table", now_ms=1, secret=b"the secret of it")
    for row, tag in ((8, who(1).client), (9, who(2).client)):
        old.words[CLIENT_TAGS + row] = tag
        old.words[layout.client_row(row) + Client.PENALTY_UNTIL] = NOW + row
        old.words[layout.client_row(row) + Client.STRIKES] = row
        old.words[layout.client_row(row) + Client.STRIKE_MS] = NOW
    data = pack(old, NOW, WALL)
    old.close()
    table = create_table(tmp_path / "test.table", now_ms=1, secret=SECRET)
    assert load(table, data, NOW, WALL) == 2
    clients = slice(CLIENT_TAGS, layout.client_row(CLIENT_COUNT))
    whole = bytes(table.words[clients]), table.secret
    blank = memoryview(bytes(len(whole[0]))).cast("Q")

    def prepare(table: Table) -> Prepared:
        return lambda: load(table, data, NOW, WALL)

    def check(is_dead: bool) -> None:
        assert not table.is_seeded
        load(table, data, NOW, WALL)
        assert (bytes(table.words[clients]), table.secret) == whole
        table.words[clients] = blank
        table.set_secret(SECRET)

    assert stores_of(table.path, prepare, check) > 2 * layout.CLIENT_WORDS
    table.close()


@pytest.mark.parametrize(("tries", "began"), [(9, NOW - 9), (12, NOW - shedding.SHED_MS)])
def test_the_leader_hears_of_a_tenth_try_and_of_no_other(
    house: House, tries: int, began: int
) -> None:
    """The client goes on after the kill: with his next try at the latest the leader looks."""
    table, row = house.table, house.held[1].row
    place = layout.client_row(row)
    table.words[place + Client.PENALTY_UNTIL] = NOW + 3_600_000
    table.words[place + Client.STRIKES] = 2
    heard = shedding.calls(table)

    def reset() -> None:
        nonlocal heard
        table.words[place + Client.TRIES] = tries
        table.words[place + Client.TRIES_MS] = began
        heard = shedding.calls(table)

    def is_due() -> bool:
        return row in shedding.find_due(table, Policy(), NOW)

    def prepare(table: Table) -> Prepared:
        return lambda: shedding.note_try(table.words, place, NOW)

    def check(is_dead: bool) -> None:
        house.recover()
        assert not is_due() or tries == 9
        shedding.note_try(table.words, place, NOW)
        assert is_due() is (tries == 9)
        assert (shedding.calls(table) > heard) is (tries == 9)
        reset()

    reset()
    assert stores_of(house.path, prepare, check) >= 2
