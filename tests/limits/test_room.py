"""The last places under pressure: kept for known clients, given up by slow ones."""

from collections.abc import Iterator

import pytest

from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.admission import PASSES_FOR_RESERVE, Admission, live_connections
from gwsmtp.limits.arena import Table
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import CONTROL, Client, Control
from gwsmtp.limits.peers import Peers, count_passes
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.rangelock import RangeLock
from tests.support.tables import make_table, never_sleep

NOW = 5_000_000
MOST, RESERVE = 10, 4


class Gate:
    """An admission whose clients are all different networks."""

    def __init__(self, table: Table, policy: Policy) -> None:
        self.table = table
        self.peers = Peers(table, Placement(table))
        lock = RangeLock(table, 0, never_sleep)
        self.admission = Admission(table, 0, lock, self.peers, policy)
        self._next = 0

    def press(self, level: int, passes: int = PASSES_FOR_RESERVE) -> None:
        self.table.words[CONTROL + Control.PRESSURE] = level
        self.table.words[CONTROL + Control.PASSES] = passes

    def newcomer(self) -> str:
        self._next += 1
        return f"198.51.{self._next}.1"

    def enter(self, ip: str = "", *, is_exempt: bool = False) -> Entrance:
        identity = identify(ip or self.newcomer())
        return self.admission.enter(0, identity, NOW, is_exempt=is_exempt)

    def fill(self, count: int) -> list[Entrance]:
        found = [self.enter() for _ in range(count)]
        assert not any(entrance.refused for entrance in found)
        return found

    def row_of(self, ip: str) -> int:
        return layout.client_row(self.peers.take(identify(ip).client, NOW))

    def give_pass(self, ip: str) -> None:
        self.table.words[self.row_of(ip) + Client.PASS_UNTIL] = NOW + 1


def gate_of(table: Table, *, is_acting: bool = True) -> Gate:
    policy = Policy(most=(MOST, MOST), reserve=(RESERVE, RESERVE), is_acting=is_acting)
    return Gate(table, policy)


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


@pytest.fixture
def gate(table: Table) -> Gate:
    return gate_of(table)


def test_without_pressure_nine_places_of_ten_are_everybodys(gate: Gate) -> None:
    gate.press(0)
    gate.fill(MOST - 1)
    # The leader looks once a second: such a listener is tense before it says so.
    assert gate.enter().refused is Reason.RESERVED
    gate.give_pass("192.0.2.1")
    assert not gate.enter("192.0.2.1").refused
    assert gate.enter().refused is Reason.LISTENER_FULL


def test_with_fewer_passes_than_a_hundred_nothing_is_reserved(gate: Gate) -> None:
    gate.press(1, PASSES_FOR_RESERVE - 1)
    gate.fill(MOST)


def test_the_last_places_are_for_passes_and_exempt_clients(gate: Gate) -> None:
    gate.press(1)
    gate.fill(MOST - RESERVE)
    refused = gate.enter()
    assert refused.refused is Reason.RESERVED
    assert (refused.counter, refused.threshold) == (MOST - RESERVE, MOST - RESERVE)
    gate.give_pass("192.0.2.1")
    assert not gate.enter("192.0.2.1").refused
    for _ in range(RESERVE - 1):
        assert not gate.enter("192.0.2.2", is_exempt=True).refused
    assert live_connections(gate.table)[0] == MOST
    assert gate.enter("192.0.2.1").refused is Reason.LISTENER_FULL
    assert not refused.may_replace


def test_a_pass_that_is_over_gets_none_of_them(gate: Gate) -> None:
    gate.press(1)
    gate.fill(MOST - RESERVE)
    gate.table.words[gate.row_of("192.0.2.1") + Client.PASS_UNTIL] = NOW
    assert gate.enter("192.0.2.1").refused is Reason.RESERVED


def test_with_row_86_off_it_is_reported_and_nobody_is_refused(table: Table) -> None:
    gate = gate_of(table, is_acting=False)
    gate.press(2)
    gate.fill(MOST - RESERVE)
    entrance = gate.enter()
    assert (entrance.refused, entrance.shadowed) == (Reason.NONE, Reason.RESERVED)
    gate.fill(RESERVE - 1)
    full = gate.enter()
    assert full.refused is Reason.LISTENER_FULL
    assert not full.may_replace


def test_under_severe_pressure_a_place_may_be_taken_over(gate: Gate) -> None:
    gate.press(2, 0)
    held = gate.fill(MOST)
    newcomer = gate.enter()
    assert newcomer.refused is Reason.LISTENER_FULL
    assert newcomer.may_replace
    new = gate.admission.try_replace(held[3], newcomer, NOW)
    assert new is not None
    assert not new.refused
    assert held[3].entry < 0 <= new.entry
    assert live_connections(gate.table) == (MOST, 0)
    assert gate.enter().refused is Reason.LISTENER_FULL
    for entrance in (new, *held):
        gate.admission.leave(entrance, NOW)
    assert live_connections(gate.table) == (0, 0)


def test_a_reserved_place_may_be_had_by_ending_another_too(gate: Gate) -> None:
    gate.press(2)
    held = gate.fill(MOST - RESERVE)
    newcomer = gate.enter()
    assert newcomer.refused is Reason.RESERVED
    assert newcomer.may_replace
    new = gate.admission.try_replace(held[0], newcomer, NOW)
    assert new is not None
    assert not new.refused
    assert live_connections(gate.table)[0] == MOST - RESERVE


def test_nobody_makes_room_for_a_client_that_is_banned(gate: Gate) -> None:
    gate.press(2)
    gate.fill(MOST - RESERVE)
    gate.table.words[gate.row_of("192.0.2.1") + Client.PENALTY_UNTIL] = NOW + 5_000
    banned = gate.enter("192.0.2.1")
    assert banned.refused is Reason.PENALTY
    assert not banned.may_replace


def test_who_is_spared(gate: Gate) -> None:
    gate.press(0)
    gate.give_pass("192.0.2.1")
    with_pass, exempt = gate.enter("192.0.2.1"), gate.enter("192.0.2.2", is_exempt=True)
    (common,) = gate.fill(1)
    spared = gate.admission.is_spared
    assert spared(with_pass, NOW)
    assert not spared(with_pass, NOW + 1)
    assert spared(exempt, NOW)
    assert not spared(common, NOW)


def test_passes_are_counted_over_all_rows(gate: Gate) -> None:
    assert count_passes(gate.table.words, NOW) == 0
    for number in range(150):
        gate.give_pass(f"203.0.{number}.9")
    assert count_passes(gate.table.words, NOW) == 150
    assert count_passes(gate.table.words, NOW + 1) == 0
