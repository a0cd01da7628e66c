"""Places at next hops: counted over all processes, shared evenly by those that want them."""

from collections.abc import Iterator

import pytest

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.hopledger import hop_entries, recover_hops
from gwsmtp.limits.hops import (
    BY_SHARE,
    CLAIM_MS,
    NO_PLACE,
    HopPlaces,
    PlacesAt,
    hop_identity,
    read_hops,
)
from gwsmtp.limits.layout import (
    CONTROL,
    HOP_COUNT,
    HOP_LEDGER_SIZE,
    HOP_TAGS,
    Control,
    Hop,
    hop_row,
)
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.slots import Role, claim_slot
from tests.support.tables import make_table, never_sleep

NOW = 3_600_000
LONG_AGO = NOW - 1000
LIMIT = 4


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


def process(table: Table, limit: int = LIMIT, share: int = 1) -> HopPlaces:
    slot = claim_slot(table, Role.WORKER, 0, 1, (1, 1), 1)
    return HopPlaces(table, slot, RangeLock(table, slot, never_sleep), limit, share)


def two(table: Table, limit: int = LIMIT) -> tuple[PlacesAt, PlacesAt]:
    """Two processes at one hop."""
    return process(table, limit).at("mx.test", 25), process(table, limit).at("mx.test", 25)


def fill(places: PlacesAt, now_ms: int = NOW) -> list[int]:
    """All there are."""
    taken = []
    while (place := places.take(now_ms, now_ms)) != NO_PLACE:
        taken.append(place)
    return taken


def live(table: Table) -> dict[str, int]:
    return {view.name: view.live for view in read_hops(table)}


def test_one_process_may_have_them_all(table: Table) -> None:
    one, other = two(table)
    taken = fill(one)
    assert len(taken) == LIMIT
    assert other.take(NOW, NOW) == NO_PLACE
    assert live(table) == {"mx.test:25": LIMIT}
    for place in taken:
        one.give_back(place)
    assert live(table) == {}
    assert len(fill(other, NOW + CLAIM_MS)) == LIMIT


def test_a_hop_is_its_host_and_port_however_they_are_written(table: Table) -> None:
    here = process(table)
    for host, port in (("2001:db8::1", 25), ("2001:DB8:0::1", 25), ("mx.test", 25)):
        assert here.at(host, port).take(NOW, NOW) > 0
    for host, port in (("MX.test.", 25), ("mx.test", 26)):
        assert here.at(host, port).take(NOW, NOW) > 0
    assert live(table) == {"[2001:db8::1]:25": 2, "mx.test:25": 2, "mx.test:26": 1}


def test_hops_of_one_hash_are_two(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    class Same:
        def digest(self) -> bytes:
            return b"same tag"

    monkeypatch.setattr("gwsmtp.limits.hops.blake2b", lambda *_, **__: Same())
    here, there = process(table), process(table)
    assert [here.at(name, 25).take(NOW, NOW) > 0 for name in ("a.test", "b.test")] == [True] * 2
    assert there.at("b.test", 25).take(NOW, NOW) > 0
    assert live(table) == {"a.test:25": 1, "b.test:25": 2}


def test_the_poorest_gets_the_next_place_and_then_all_have_alike(table: Table) -> None:
    rich, poor = two(table)
    taken = fill(rich)
    rich.withdraw()
    while rich.held > poor.held:
        assert poor.take(NOW, LONG_AGO) == NO_PLACE
        assert rich.is_claimed
        assert rich.must_yield(NOW, is_wanted=False)
        if not rich.must_yield(NOW, is_wanted=True):
            break
        rich.give_back(taken.pop())
        assert not rich.must_yield(NOW, is_wanted=True)  # there is a place for it now
        assert rich.take(NOW, LONG_AGO - 5) == NO_PLACE  # which is not ours again
        assert poor.take(NOW, LONG_AGO) > 0
    assert (rich.held, poor.held) == (2, 2)


def test_among_equals_who_has_waited_longest_is_first(table: Table) -> None:
    holder, early = two(table, 1)
    late = process(table, 1).at("mx.test", 25)
    (place,) = fill(holder)
    assert early.take(NOW, LONG_AGO) == NO_PLACE
    assert late.take(NOW + 5, LONG_AGO + 5) == NO_PLACE
    assert holder.must_yield(NOW + 5, is_wanted=True)
    holder.give_back(place)
    assert late.take(NOW + 6, LONG_AGO + 5) == NO_PLACE
    assert holder.take(NOW + 6, NOW + 6) == NO_PLACE
    assert early.take(NOW + 7, LONG_AGO) > 0


def test_a_claim_ends_with_its_owner(table: Table) -> None:
    one, other = two(table)
    fill(one)
    other.take(NOW, NOW)
    assert not one.must_yield(NOW, is_wanted=False)  # it has only just come
    other.take(NOW, LONG_AGO)
    assert one.must_yield(NOW + CLAIM_MS - 1, is_wanted=True)
    assert not one.must_yield(NOW + CLAIM_MS, is_wanted=True)
    other.take(NOW + CLAIM_MS, LONG_AGO)
    seen = []
    for withdrawing in (one, other):
        withdrawing.withdraw()
        seen.append(one.is_claimed)
    assert seen == [True, False]


def test_a_lower_limit_of_a_new_generation_is_its_own(table: Table) -> None:
    old, new = process(table, 8).at("mx.test", 25), process(table, 2).at("mx.test", 25)
    taken = fill(old)
    assert new.take(NOW, LONG_AGO) == NO_PLACE
    while old.must_yield(NOW, is_wanted=True):
        old.give_back(taken.pop())
    assert (len(taken), new.take(NOW, NOW) > 0) == (1, True)


def test_without_room_a_process_keeps_to_its_share(table: Table) -> None:
    table.words[layout.hop_column(Hop.LIVE)] = memoryview(bytes(8 * HOP_COUNT)).cast("Q")
    for row in range(HOP_COUNT):
        table.words[HOP_TAGS + row] = 1
        table.words[hop_row(row) + Hop.LIVE] = 1
    here = process(table, share=2).at("mx.test", 25)
    assert fill(here) == [BY_SHARE, BY_SHARE]
    assert table.words[CONTROL + Control.HOPS_OVERFLOW] == 3
    assert (here.is_claimed, here.must_yield(NOW, is_wanted=False)) == (False, False)
    here.give_back(BY_SHARE)
    table.words[hop_row(7) + Hop.LIVE] = 0
    assert here.take(NOW, NOW) > 0
    assert here.try_give_back(BY_SHARE)
    assert live(table)["mx.test:25"] == 1


def test_a_full_ledger_and_a_name_too_long_fall_back_too(table: Table) -> None:
    here = process(table, limit=2000)
    assert len(fill(here.at("mx.test", 25))) == HOP_LEDGER_SIZE
    assert here.at("mx.test", 26).take(NOW, NOW) == BY_SHARE
    assert process(table).at("x" * 300, 25).take(NOW, NOW) == BY_SHARE


def test_an_unused_row_goes_to_whoever_wants_one(table: Table) -> None:
    here = process(table)
    for number in range(3 * HOP_COUNT // 2):
        hop = here.at(f"mx{number}.test", 25)
        hop.give_back(hop.take(NOW, NOW))
    assert table.words[CONTROL + Control.HOPS_OVERFLOW] == 0
    assert live(table) == {}


def test_what_the_dead_had_is_counted_anew_from_the_living(table: Table) -> None:
    one, other = two(table)
    own = [one.take(NOW, NOW) for _ in range(3)]
    assert other.take(NOW, NOW) > 0
    table.words[hop_row(0) + Hop.LIVE] = 77  # a cache, whatever it says
    for _ in range(2):
        recover_hops(table, [0])
        assert live(table) == {"mx.test:25": 1}
        assert (hop_entries(table, 0), hop_entries(table, 1)) == ([], [0])
    assert len(own) == 3


def test_the_name_is_all_of_it() -> None:
    assert hop_identity("::1", 25) == hop_identity("0:0:0:0:0:0:0:1", 25)
    assert hop_identity("a", 0x6162) != hop_identity("ba", 0x61)
