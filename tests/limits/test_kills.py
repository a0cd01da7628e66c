"""A kill at every single store of entering, leaving and recovering: afterwards all counts are those
of the living, to the last connection.
"""

import pytest

from gwsmtp.limits import layout
from gwsmtp.limits.admission import live_connections
from gwsmtp.limits.arena import Table
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.layout import CONTROL, Control
from gwsmtp.limits.ledger import entries, recover
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock
from tests.limits.killed import Prepared, dies_in
from tests.limits.killhouse import NOW, House, door_of, kill_at_every_store, who
from tests.support.tables import never_sleep


@pytest.mark.full
def test_entering_as_somebody_new(house: House) -> None:
    """Rows are taken for him and his network, with those of earlier ones put out."""

    def prepare(table: Table, stores: int) -> Prepared:
        door = door_of(table, house.victim)
        door.enter(0, who(1), NOW)
        return lambda: door.enter(1, who(1000 + stores), NOW + stores)

    assert kill_at_every_store(house, prepare) > layout.CLIENT_WORDS + layout.ROLLUP_WORDS


def test_entering_as_somebody_known_to_the_survivor(house: House) -> None:
    def prepare(table: Table, stores: int) -> Prepared:
        door = door_of(table, house.victim)
        return lambda: door.enter(0, who(1), NOW + stores)

    assert kill_at_every_store(house, prepare) >= 10


def test_entering_as_an_exempt_source(house: House) -> None:
    def prepare(table: Table, stores: int) -> Prepared:
        door = door_of(table, house.victim)
        return lambda: door.enter(0, who(1), NOW + stores, is_exempt=True)

    assert kill_at_every_store(house, prepare) >= 4


@pytest.mark.parametrize("number", [1, 170])
def test_leaving(house: House, number: int) -> None:
    """As a client of the survivor's, and as one of his own; with something to settle."""

    def prepare(table: Table, stores: int) -> Prepared:
        door = door_of(table, house.victim)
        entrances: list[Entrance] = [door.enter(0, who(n), NOW) for n in (number, 2)]
        entrances[0].accepted, entrances[0].was_clean = 3, True
        return lambda: door.leave(entrances[0], NOW + stores)

    assert kill_at_every_store(house, prepare) >= 6


def test_a_place_that_goes_to_another(house: House) -> None:
    """Under severe pressure: one leaves, another comes, in one hold of the lock."""

    def prepare(table: Table, stores: int) -> Prepared:
        door = door_of(table, house.victim)
        left = door.enter(0, who(1), NOW)
        left.accepted, left.was_clean = 3, True
        refused = Entrance(1, who(170 + stores))
        return lambda: door.try_replace(left, refused, NOW + stores)

    assert kill_at_every_store(house, prepare) > 100


def test_entering_where_a_bucket_is_full_of_the_living(house: House) -> None:
    """The newcomer is counted by his network alone."""

    def prepare(table: Table, stores: int) -> Prepared:
        door = door_of(table, house.victim)
        own = [door.enter(0, who(number), NOW) for number in range(70, 75)]
        assert all(entrance.row >= 0 for entrance in own)
        return lambda: door.enter(1, who(99), NOW + stores)

    before = house.table.words[CONTROL + Control.CLIENTS_OVERFLOW]
    assert kill_at_every_store(house, prepare) >= 8
    assert house.table.words[CONTROL + Control.CLIENTS_OVERFLOW] > before


def test_entering_where_no_network_can_be_put_out(house: House) -> None:
    def prepare(table: Table, stores: int) -> Prepared:
        door = door_of(table, house.victim)
        own = [door.enter(0, who(number), NOW) for number in range(256, 256 * 8, 256)]
        assert [entrance.network_row >= 0 for entrance in own] == [True] * 7
        return lambda: door.enter(1, who(256 * 9), NOW + stores)

    assert kill_at_every_store(house, prepare) >= 2


def test_recovering(house: House) -> None:
    """The master dies while it takes a dead worker's connections out."""

    def prepare(table: Table, stores: int) -> Prepared:
        door = door_of(table, house.victim)
        for n in (1, 2, 70, 1):
            door.enter(n % 2, who(n), NOW)
        RangeLock(table, OUTSIDER, never_sleep).hold()
        return lambda: recover(table, [house.victim])

    assert kill_at_every_store(house, prepare) >= 10


def test_the_survivor_goes_on_to_zero(house: House) -> None:
    def prepare(table: Table, stores: int) -> Prepared:
        door = door_of(table, house.victim)
        door.enter(0, who(0), NOW)
        return lambda: door.enter(1, who(0), NOW)

    assert dies_in(house.path, 5, lambda table: prepare(table, 5))
    house.recover()
    for entrance in house.held:
        house.door.leave(entrance, NOW)
    assert live_connections(house.table) == (0, 0)
    assert entries(house.table, house.other) == []
