"""A kill at every store of taking a place at a next hop, giving it back, and recovering: afterwards
the counts are those of the living.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.hopledger import hop_entries
from gwsmtp.limits.hops import NO_PLACE, HopPlaces, read_hops
from gwsmtp.limits.layout import HOP_COUNT, HOP_TAGS, HOP_WORDS
from gwsmtp.limits.ledger import recover
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock
from gwsmtp.limits.slots import Role, claim_slot
from tests.limits.killed import Prepared, dies_in
from tests.support.tables import SECRET, never_sleep

NOW = 3_600_000
LIMIT = 3
MOST_STORES = 100


class House:
    """The victim's slot, and a survivor with two places at one hop and one at another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = create_table(path, now_ms=1, secret=SECRET)
        self.victim = claim_slot(self.table, Role.WORKER, 0, 1, (1, 1), 1)
        self.other = claim_slot(self.table, Role.QUEUE, 0, 1, (1, 1), 1)
        places = places_of(self.table, self.other)
        self.hops = [places.at("shared.test", 25), places.at("own.test", 25)]
        self.held = [self.hops[number].take(NOW, NOW) for number in (0, 0, 1)]

    def recover(self) -> None:
        with RangeLock(self.table, OUTSIDER, never_sleep):
            recover(self.table, [self.victim])

    def check(self) -> None:
        """Everything that counts is the survivor's; no hop stands in two rows."""
        assert [(view.name, view.live) for view in read_hops(self.table)] == [
            ("shared.test:25", 2),
            ("own.test:25", 1),
        ]
        assert hop_entries(self.table, self.victim) == []
        assert sorted(hop_entries(self.table, self.other)) == [0, 0, 1]
        tags = list(filter(None, self.table.words[HOP_TAGS : HOP_TAGS + HOP_COUNT].tolist()))
        assert len(set(tags)) == len(tags)


def places_of(table: Table, slot: int) -> HopPlaces:
    return HopPlaces(table, slot, RangeLock(table, slot, never_sleep), LIMIT, 1)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "test.table")
    yield house
    house.table.close()


def kill_at_every_store(house: House, prepare: Callable[[Table], Prepared]) -> int:
    """Returns how many stores the whole operation has."""
    for stores in range(1, MOST_STORES):
        is_dead = dies_in(house.path, stores, prepare)
        house.recover()
        house.check()
        if not is_dead:
            return stores - 1
    raise AssertionError(f"more than {MOST_STORES} stores")


def test_taking_a_place_at_a_hop_of_others(house: House) -> None:
    def prepare(table: Table) -> Prepared:
        hop = places_of(table, house.victim).at("shared.test", 25)
        return lambda: hop.take(NOW, NOW)

    assert kill_at_every_store(house, prepare) >= 4


def test_taking_a_place_at_a_new_hop(house: House) -> None:
    """With a row of its own each time, taken from an earlier one's when all have been used."""
    for row in range(2, HOP_COUNT):
        house.table.words[HOP_TAGS + row] = row + 1

    def prepare(table: Table) -> Prepared:
        hop = places_of(table, house.victim).at("new.test", 25)
        return lambda: hop.take(NOW, NOW)

    assert kill_at_every_store(house, prepare) > HOP_WORDS - 1


def test_claiming_a_place(house: House) -> None:
    def prepare(table: Table) -> Prepared:
        hop = places_of(table, house.victim).at("shared.test", 25)
        assert hop.take(NOW, NOW) != NO_PLACE
        return lambda: hop.take(NOW, NOW - 1000)

    assert kill_at_every_store(house, prepare) >= 4
    place = house.hops[0].take(NOW + 1000, NOW + 1000)  # the claim of the dead stops nobody
    assert place != NO_PLACE


def test_giving_a_place_back(house: House) -> None:
    def prepare(table: Table) -> Prepared:
        hop = places_of(table, house.victim).at("shared.test", 25)
        place = hop.take(NOW, NOW)
        return lambda: hop.give_back(place)

    assert kill_at_every_store(house, prepare) >= 3


def test_recovering(house: House) -> None:
    """The master dies while it takes a dead process's places out."""

    def prepare(table: Table) -> Prepared:
        places = places_of(table, house.victim)
        for name in ("shared.test", "new.test", "new.test"):
            places.at(name, 25).take(NOW, NOW)
        RangeLock(table, OUTSIDER, never_sleep).hold()
        return lambda: recover(table, [house.victim])

    assert kill_at_every_store(house, prepare) >= 10
    for hop, place in zip((house.hops[0], *house.hops), house.held, strict=True):
        hop.give_back(place)
    assert read_hops(house.table) == []
