"""Rows of clients and networks: whose place is taken first, who is never put out."""

import random
from collections.abc import Callable, Iterator

import pytest

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.identity import Placement
from gwsmtp.limits.layout import CLIENT_TAGS, CONTROL, ROLLUP_TAGS, WAYS, Client, Control, Rollup
from gwsmtp.limits.peers import FORGET_MS, FORGET_STRIKES_MS, Peers
from tests.support.tables import make_table

NOW = 10 * FORGET_STRIKES_MS
MANY = 1 << 16


class OneBucket(Placement):
    """Every client and every network belongs to the same bucket."""

    __slots__ = ()

    def client_bucket(self, tag: int) -> int:
        """One for all."""
        return 800

    def rollup_bucket(self, tag: int) -> int:
        """One for all."""
        return 160


class Rows:
    """Clients of one bucket, written and read by name."""

    def __init__(self, table: Table, placement: Placement) -> None:
        self.words = table.words
        self.peers = Peers(table, placement)

    def add(self, tag: int, at_ms: int = NOW, **values: int) -> int:
        """Takes a row and stores values in its words; returns its number."""
        row = self.peers.take(tag, at_ms)
        assert row >= 0
        for name, value in values.items():
            self.words[layout.client_row(row) + layout.words_of(Client)[name]] = value
        return row

    def who(self) -> set[int]:
        """The tags in the bucket."""
        return set(self.words[CLIENT_TAGS + 800 : CLIENT_TAGS + 800 + WAYS].tolist()) - {0}

    def control(self, word: int) -> int:
        return int(self.words[CONTROL + word])


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


@pytest.fixture
def rows(table: Table) -> Rows:
    return Rows(table, OneBucket(table))


def fill(rows: Rows, count: int, kind: Callable[[int], dict[str, int]], first_tag: int = 1) -> None:
    """Clients that are told apart by when they were seen last: tag 1 first of all."""
    for tag in range(first_tag, first_tag + count):
        rows.add(tag, NOW - 1000 + tag, **kind(tag))


def plain(tag: int) -> dict[str, int]:
    return {}


def banned(tag: int) -> dict[str, int]:
    return {"PENALTY_UNTIL": NOW + 600_000, "STRIKES": 1, "STRIKE_MS": NOW}


def test_a_row_is_found_again_and_empty_at_first(table: Table) -> None:
    rows = Rows(table, Placement(table))
    assert rows.peers.find(77) == -1
    row = rows.peers.take(77, NOW)
    assert rows.peers.find(77) == rows.peers.take(77, NOW + 5) == row
    place = layout.client_row(row)
    client = table.words[place : place + layout.CLIENT_WORDS].tolist()
    seen = {Client.FIRST_SEEN: NOW, Client.LAST_SEEN: NOW}
    assert dict(enumerate(client)) == dict.fromkeys(range(layout.CLIENT_WORDS), 0) | seen
    assert rows.peers.find_network(77) == -1, "clients and networks are two tables"


def test_a_row_given_up_leaves_nothing_to_its_successor(rows: Rows) -> None:
    fill(rows, WAYS, lambda tag: dict.fromkeys(("SCORE", "BAD", "TAT_AUTH", "SKETCH"), 5))
    row = rows.peers.take(99, NOW)
    place = layout.client_row(row)
    assert sum(rows.words[place : place + layout.CLIENT_WORDS].tolist()) == 2 * NOW
    assert rows.who() == {2, 3, 4, 5, 6, 7, 8, 99}
    assert rows.control(Control.CLIENTS_EVICTED) == 1


ORDER: list[tuple[str, dict[str, int]]] = [
    ("forgotten", {"LAST_SEEN": NOW - FORGET_MS, "SCORE": 30_000, "BAD": 1}),
    ("forgotten strike", {"LAST_SEEN": NOW - FORGET_MS + 1, "STRIKE_MS": 0, "STRIKES": 3}),
    ("seen longest ago", {"LAST_SEEN": NOW - 20}),
    ("seen lately", {"LAST_SEEN": NOW - 10}),
    ("pass", {"LAST_SEEN": NOW - 3000, "PASS_UNTIL": NOW + 1}),
    ("bad recipients", {"LAST_SEEN": NOW - 4000, "BAD": 1}),
    ("score", {"LAST_SEEN": NOW - 3900, "SCORE": 1, "PASS_UNTIL": NOW + 1}),
    ("strike", {"LAST_SEEN": NOW - 3800, "STRIKES": 1, "STRIKE_MS": NOW - 7200_000}),
]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_places_are_given_up(rows: Rows, seed: int) -> None:
    tags = list(range(1, WAYS + 1))
    for tag in random.Random(seed).sample(tags, WAYS):
        rows.add(tag, **ORDER[tag - 1][1])
    for newcomer, tag in enumerate(tags, 100):
        assert rows.who() & set(tags) == set(tags[tag - 1 :]), ORDER[tag - 1][0]
        # Newcomers of the worst kind stay, so that each takes the place of an old one.
        kind = {"SCORE": 50_000, "LAST_SEEN": NOW}
        rows.add(newcomer, **kind)
    assert not rows.who() & set(tags)


def test_who_has_live_sessions_is_never_put_out(rows: Rows) -> None:
    fill(rows, WAYS, lambda tag: {"LIVE": 1, "LAST_SEEN": 1})
    assert rows.peers.take(99, NOW) == -1
    assert rows.control(Control.CLIENTS_OVERFLOW) == 1
    rows.words[layout.client_row(rows.peers.find(5)) + Client.LIVE] = 0
    assert rows.peers.take(99, NOW) >= 0
    assert rows.who() == {1, 2, 3, 4, 6, 7, 8, 99}


def test_penalties_keep_at_most_six_of_eight_ways(rows: Rows) -> None:
    for tag in range(1, 500):
        rows.add(tag, NOW + tag, **banned(tag))
        rows.words[layout.client_row(rows.peers.find(tag)) + Client.LAST_SEEN] = NOW + tag
    rows.add(1001, NOW + 600)
    rows.add(1002, NOW + 601)
    penalised = rows.who() - {1001, 1002}
    assert len(penalised) == 6
    for tag in range(1003, 1100):
        rows.add(tag, NOW + tag)
        assert rows.who() == penalised | {tag, max(tag - 1, 1002)}, "the two ways change hands"


def test_the_seventh_ban_displaces_a_ban_when_others_are_taken(rows: Rows) -> None:
    fill(rows, 6, banned)
    rows.add(101, LIVE=1)
    rows.add(102, LIVE=1)
    rows.add(103)
    assert rows.who() == {2, 3, 4, 5, 6, 101, 102, 103}


def test_a_penalty_of_another_clock_is_none(rows: Rows) -> None:
    """Damage must not make a row eternal."""
    fill(rows, WAYS, lambda tag: {"PENALTY_UNTIL": 2**63, "LAST_SEEN": NOW - FORGET_MS})
    rows.add(20, PASS_UNTIL=NOW + 1)
    for tag in range(21, 28):
        rows.add(tag, PASS_UNTIL=NOW + 1)
    assert rows.who() == set(range(20, 28))


def test_a_row_seen_in_the_future_is_not_eternal(rows: Rows) -> None:
    fill(rows, WAYS, lambda tag: {"LAST_SEEN": 2**62, "SCORE": 1, "BAD": 1})
    for tag in range(20, 28):
        rows.add(tag)
    assert rows.who() == set(range(20, 28))


@pytest.mark.full
def test_65536_clients_in_one_bucket(rows: Rows) -> None:
    """Live ones stay, all others change hands, and nobody is in twice."""
    rows.add(MANY + 1, LIVE=1, LAST_SEEN=1)
    rows.add(MANY + 2, PASS_UNTIL=NOW + FORGET_STRIKES_MS)
    for tag in range(1, MANY + 1):
        assert rows.peers.take(tag, NOW) >= 0
    words = rows.words[CLIENT_TAGS + 800 : CLIENT_TAGS + 800 + WAYS].tolist()
    assert len(set(words)) == WAYS
    assert {MANY + 1, MANY + 2} < rows.who()
    assert rows.control(Control.CLIENTS_EVICTED) == MANY + 2 - WAYS
    assert rows.control(Control.CLIENTS_OVERFLOW) == 0
    tags = rows.words[CLIENT_TAGS : CLIENT_TAGS + layout.CLIENT_COUNT].tolist()
    assert sum(map(bool, tags)) == WAYS


def test_networks_give_up_the_one_seen_longest_ago_and_never_a_live_one(rows: Rows) -> None:
    words, peers = rows.words, rows.peers
    for tag in range(1, WAYS + 1):
        row = peers.take_network(tag, NOW + tag)
        words[layout.rollup_row(row) + Rollup.LIVE] = tag % 2
        words[layout.rollup_row(row) + Rollup.TAT_CONNECTIONS] = 7
    for tag in range(20, 40):
        row = peers.take_network(tag, NOW + tag)
        place = layout.rollup_row(row)
        assert words[place : place + layout.ROLLUP_WORDS].tolist() == [0, 0, NOW + tag, 0]
        assert peers.find_network(tag) == row
    found = words[ROLLUP_TAGS + 160 : ROLLUP_TAGS + 160 + WAYS].tolist()
    assert set(found) == {1, 3, 5, 7, 36, 37, 38, 39}
    for tag in (36, 37, 38, 39):
        words[layout.rollup_row(peers.find_network(tag)) + Rollup.LIVE] = 1
    assert peers.take_network(50, NOW) == -1
    assert rows.control(Control.ROLLUPS_OVERFLOW) == 1
    assert rows.control(Control.ROLLUPS_EVICTED) == 20
