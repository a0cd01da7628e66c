"""A table with a victim and a survivor, and a kill of the victim at every store of what it does."""

import functools
from collections.abc import Callable
from pathlib import Path

from gwsmtp.limits import layout
from gwsmtp.limits.admission import Admission, live_connections
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.identity import Identity, Placement, identify
from gwsmtp.limits.layout import CLIENT_TAGS, ROLLUP_TAGS, WAYS, Client, Rollup
from gwsmtp.limits.ledger import entries, recover
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Mode, Policy
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock
from gwsmtp.limits.slots import Role, claim_slot
from tests.limits.killed import Prepared, dies_in
from tests.support.tables import SECRET, never_sleep

NOW = 3_600_000
POLICY = Policy(most=(500, 500), concurrency_mode=Mode.OFF)
MOST_STORES = 500


class FewBuckets(Placement):
    """Everybody meets in one bucket, networks in another: each newcomer puts somebody out."""

    __slots__ = ()

    def client_bucket(self, tag: int) -> int:
        """One for all."""
        return 8

    def rollup_bucket(self, tag: int) -> int:
        """One for all."""
        return 16


class House:
    """The victim's slot, and a survivor in another one with connections of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = create_table(path, now_ms=1, secret=SECRET)
        self.victim = claim_slot(self.table, Role.WORKER, 0, 1, (1, 1), 1)
        self.other = claim_slot(self.table, Role.WORKER, 1, 1, (1, 1), 1)
        self.door = door_of(self.table, self.other)
        self.held = [self.door.enter(n % 2, who(n), NOW + n, is_exempt=n == 3) for n in range(4)]

    def recover(self) -> None:
        with RangeLock(self.table, OUTSIDER, never_sleep):
            recover(self.table, [self.victim])

    def check(self) -> None:
        """Everything that counts is the survivor's, and every row the one it says it is."""
        words = self.table.words
        assert live_connections(self.table) == (2, 2)
        assert entries(self.table, self.victim) == []
        assert len(entries(self.table, self.other)) == len(self.held)
        for entrance in self.held:
            if entrance.row >= 0:
                assert words[layout.client_row(entrance.row) + Client.LIVE] == 1
                assert words[CLIENT_TAGS + entrance.row] == entrance.identity.client
                place = layout.rollup_row(entrance.network_row)
                assert words[place + Rollup.LIVE] == 3
                assert words[ROLLUP_TAGS + entrance.network_row] == entrance.identity.network
        self.check_buckets()

    def check_buckets(self) -> None:
        """Nobody else is counted, nobody stands in two rows."""
        words = self.table.words
        tags = words[CLIENT_TAGS + 8 : CLIENT_TAGS + 8 + WAYS].tolist()
        rows = range(layout.client_row(8), layout.client_row(8 + WAYS), layout.CLIENT_WORDS)
        assert sum(words[row + Client.LIVE] for row in rows) == 3
        assert len(set(filter(None, tags))) == sum(map(bool, tags))
        networks = words[ROLLUP_TAGS + 16 : ROLLUP_TAGS + 16 + WAYS].tolist()
        rows = range(layout.rollup_row(16), layout.rollup_row(16 + WAYS), layout.ROLLUP_WORDS)
        assert sum(words[row + Rollup.LIVE] for row in rows) == 3
        assert len(set(filter(None, networks))) == sum(map(bool, networks))


def who(number: int) -> Identity:
    """One client for each number, each beyond a hundred in a network of its own."""
    network = number if number > 100 else 0
    return identify(f"10.{network >> 8}.{network & 255}.{number & 255}")


def door_of(table: Table, slot: int) -> Admission:
    lock = RangeLock(table, slot, never_sleep)
    return Admission(table, slot, lock, Peers(table, FewBuckets(table)), POLICY)


Prepare = Callable[[Table, int], Prepared]


def _prepare(prepare: Prepare, stores: int, table: Table) -> Prepared:
    return prepare(table, stores)


def kill_at_every_store(house: House, prepare: Prepare) -> int:
    """``prepare(table, n)`` for each n; returns how many stores the whole operation has."""
    for stores in range(1, MOST_STORES):
        is_dead = dies_in(house.path, stores, functools.partial(_prepare, prepare, stores))
        house.recover()
        house.check()
        if not is_dead:
            return stores - 1
    raise AssertionError(f"more than {MOST_STORES} stores")
