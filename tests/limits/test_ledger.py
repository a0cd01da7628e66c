"""Recovery: what the dead held is taken out of all counts, interrupted anywhere and done again."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.limits import layout
from gwsmtp.limits.admission import Admission, live_connections
from gwsmtp.limits.arena import Table
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import CLIENT_COUNT, CONTROL, ROLLUP_COUNT, Client, Control, Rollup
from gwsmtp.limits.ledger import entries, pack, recover, unpack
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Mode, Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.slots import Role, claim_slot, free_slot
from tests.support.tables import make_table, never_sleep

NOW = 3_600_000
POLICY = Policy(most=(5000, 5000), concurrency_mode=Mode.OFF)


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


def worker(table: Table, number: int) -> tuple[int, Admission]:
    """A claimed slot and its door."""
    index = claim_slot(table, Role.WORKER, number, 1, (1, 1), 1)
    lock = RangeLock(table, index, never_sleep)
    return index, Admission(table, index, lock, Peers(table, Placement(table)), POLICY)


def row_counts(table: Table) -> tuple[int, int]:
    """Live counts of all clients and of all networks, summed."""
    words = table.words
    clients = range(layout.client_row(0), layout.client_row(CLIENT_COUNT), layout.CLIENT_WORDS)
    networks = range(layout.rollup_row(0), layout.rollup_row(ROLLUP_COUNT), layout.ROLLUP_WORDS)
    return (
        sum(words[place + Client.LIVE] for place in clients),
        sum(words[place + Rollup.LIVE] for place in networks),
    )


@given(st.integers(0, 1), st.integers(-1, CLIENT_COUNT - 1), st.integers(-1, ROLLUP_COUNT - 1))
def test_an_entry_is_one_word_and_never_nothing(listener: int, row: int, network: int) -> None:
    word = pack(listener, row, network)
    assert 0 < word < 1 << 64
    assert unpack(word) == (listener, row, network)


def test_the_dead_are_taken_out_and_the_living_stay(table: Table) -> None:
    (dead, door), (_, other) = worker(table, 0), worker(table, 1)
    for n in range(6):
        door.enter(n % 2, identify(f"192.0.2.{n}"), NOW)
        other.enter(0, identify(f"192.0.2.{n}"), NOW)
    assert live_connections(table) == (9, 3)
    assert recover(table, [dead]) == 6
    assert live_connections(table) == (6, 0)
    assert row_counts(table) == (6, 6)
    assert entries(table, dead) == []
    control = (
        table.words[CONTROL + Control.RECOVERIES],
        table.words[CONTROL + Control.RECOVERED_CONNECTIONS],
    )
    assert control == (1, 6)
    assert recover(table, [dead]) == 0
    assert live_connections(table) == (6, 0)
    assert row_counts(table) == (6, 6)


def test_wrong_counts_heal_with_the_next_recovery(table: Table) -> None:
    """Live counts are a cache: whatever they say, the ledgers are right."""
    (dead, door), (_, other) = worker(table, 0), worker(table, 1)
    verdict = door.enter(0, identify("192.0.2.1"), NOW)
    other.enter(0, identify("192.0.2.1"), NOW)
    table.words[layout.client_row(verdict.row) + Client.LIVE] = 77
    table.words[layout.rollup_row(verdict.network_row) + Rollup.LIVE] = 0
    table.words[CONTROL + Control.LISTENER_LIVE] = 12
    recover(table, [dead])
    assert live_connections(table) == (1, 0)
    assert row_counts(table) == (1, 1)


def test_a_free_slots_ledger_counts_for_nothing(table: Table) -> None:
    index, door = worker(table, 0)
    dead, other = worker(table, 1)
    door.enter(0, identify("192.0.2.1"), NOW)
    other.enter(0, identify("192.0.2.2"), NOW)
    free_slot(table, index)
    recover(table, [dead])
    assert live_connections(table) == (0, 0)
    assert entries(table, index) == []


def test_damaged_entries_are_taken_out_without_harm(table: Table) -> None:
    """Rows that do not exist, listeners that do not exist, bits nobody knows."""
    dead, _ = worker(table, 0)
    first = layout.ledger(dead)
    for offset, word in enumerate((2**64 - 1, 1 << 63, 1 << 63 | 0xFFFFF << 20, 5)):
        table.words[first + offset] = word
    before = bytes(table.words[layout.CLIENT_TAGS :])
    recover(table, [dead])
    assert not any(table.words[first : first + layout.LEDGER_SIZE].tolist())
    assert bytes(table.words[layout.CLIENT_TAGS :]) == before
    assert live_connections(table) == (0, 0)
