"""Connections of proxies: let in by two holds of the lock as others are by one, and as exact."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.admission import PASSES_FOR_RESERVE, Admission, live_connections
from gwsmtp.limits.arena import Table
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.identity import identify
from gwsmtp.limits.layout import CONTROL, Client, Control, client_row
from gwsmtp.limits.ledger import entries
from gwsmtp.limits.policy import Mode, Policy, RatePolicy
from gwsmtp.limits.rate import Rate
from gwsmtp.limits.slots import Gauge, Role, claim_slot, free_slot, sum_gauge
from tests.limits.killed import Prepared
from tests.limits.killhouse import NOW, House, door_of, kill_at_every_store, who
from tests.limits.test_admission import Doors
from tests.support.tables import make_table

POLICY = Policy(
    most=(40, 20),
    concurrency=(3, 2),
    connections=RatePolicy(Rate(6, 4), Mode.ENFORCE),
)
STEPS = 600


@pytest.fixture
def doors() -> Iterator[Doors]:
    table = make_table()
    yield Doors(table)
    table.close()


def by_proxy(door: Admission, listener: int, ip: str, now_ms: int, *, is_exempt: bool) -> Entrance:
    """As ``enter``, in two steps."""
    entrance = door.enter_unnamed(listener, now_ms)
    if not entrance.refused:
        door.name(entrance, identify(ip), now_ms, is_exempt=is_exempt)
        door.end_unnamed(entrance)
    return entrance


def found(entrance: Entrance) -> tuple[int, ...]:
    """What is told of it, to the session and in the log."""
    told = (entrance.counter, entrance.threshold, entrance.window_s)
    return (entrance.refused, entrance.shadowed, *told, entrance.score, entrance.entry >= 0)


def test_two_holds_of_the_lock_come_to_the_same_as_one(doors: Doors) -> None:
    """A walk of clients that come, misbehave and go, beside a second table: all the same."""
    other, rng, now_ms = Doors(make_table()), random.Random(7), NOW
    once, twice = doors.open(POLICY), other.open(POLICY)
    held: list[tuple[Entrance, Entrance]] = []
    reasons = set[int]()
    for _ in range(STEPS):
        now_ms += rng.randrange(200)
        if held and rng.random() < 0.4:
            one, two = held.pop(rng.randrange(len(held)))
            once.leave(one, now_ms)
            twice.leave(two, now_ms)
            continue
        ip, listener = f"10.{rng.randrange(3)}.0.{rng.randrange(9)}", rng.randrange(2)
        if rng.random() < 0.1:
            doors.ban(ip, now_ms + 500 - NOW)
            other.ban(ip, now_ms + 500 - NOW)
        is_exempt = rng.random() < 0.2
        one = once.enter(listener, identify(ip), now_ms, is_exempt=is_exempt)
        two = by_proxy(twice, listener, ip, now_ms, is_exempt=is_exempt)
        assert found(one) == found(two)
        reasons.add(one.refused)
        if not one.refused:
            assert (one.row, one.network_row, one.stamp) == (two.row, two.network_row, two.stamp)
            held.append((one, two))
    assert reasons >= {Reason.NONE, Reason.PENALTY, Reason.CONCURRENCY, Reason.CONNECTION_RATE}
    assert entries(doors.table, 0) == entries(other.table, 0)
    assert doors.words[CONTROL:] == other.words[CONTROL:]
    other.table.close()


def test_without_a_name_it_is_the_listeners_alone(doors: Doors) -> None:
    door = doors.open(POLICY)
    entrance = door.enter_unnamed(1, NOW)
    assert (entrance.row, entrance.network_row) == (-1, -1)
    assert live_connections(doors.table) == (0, 1)
    assert entries(doors.table, 0) == [(1, -1, -1)]
    door.end_unnamed(entrance)
    door.leave(entrance, NOW)
    assert live_connections(doors.table) == (0, 0)
    assert entries(doors.table, 0) == []


def test_a_client_that_is_refused_gives_the_place_back(doors: Doors) -> None:
    door = doors.open(POLICY)
    doors.ban("192.0.2.7")
    entrance = by_proxy(door, 0, "192.0.2.7", NOW, is_exempt=False)
    assert entrance.refused is Reason.PENALTY
    assert live_connections(doors.table) == (0, 0)
    assert entries(doors.table, 0) == []
    door.leave(entrance, NOW)
    assert doors.words[doors.client("192.0.2.7") + Client.LIVE] == 0
    assert doors.words[doors.client("192.0.2.7") + Client.TRIES] == 1


def test_a_tenth_of_each_listener_over_all_workers(doors: Doors) -> None:
    workers = [doors.open(replace(POLICY, most=(40, 5)), slot) for slot in range(3)]
    waiting = [workers[n % 3].enter_unnamed(0, NOW) for n in range(6)]
    assert [w.refused for w in waiting] == [Reason.NONE] * 4 + [Reason.UNNAMED] * 2
    assert (waiting[-1].counter, waiting[-1].threshold, waiting[-1].entry) == (4, 4, -1)
    ssl = [workers[0].enter_unnamed(1, NOW) for _ in range(2)]
    assert [w.refused for w in ssl] == [Reason.NONE, Reason.UNNAMED], "one at least"
    workers[1].end_unnamed(waiting[1])
    assert sum_gauge(doors.table, Gauge.UNNAMED_PLAIN) == 3
    assert sum_gauge(doors.table, Gauge.UNNAMED_SSL) == 1
    assert [workers[0].enter_unnamed(0, NOW).refused for _ in range(2)] == [
        Reason.NONE,
        Reason.UNNAMED,
    ]


def test_a_full_listener_takes_no_unnamed_one(doors: Doors) -> None:
    door = doors.open(replace(POLICY, most=(2, 0)))
    named = [by_proxy(door, 0, "192.0.2.7", NOW, is_exempt=True) for _ in range(3)]
    assert [one.refused for one in named] == [Reason.NONE] * 2 + [Reason.LISTENER_FULL]
    assert door.enter_unnamed(1, NOW).refused is Reason.LISTENER_FULL
    assert sum_gauge(doors.table, Gauge.UNNAMED_PLAIN) == 0


def test_the_reserve_is_asked_for_once_the_client_is_known(doors: Doors) -> None:
    """Its own place is not among those that are taken."""
    policy = replace(POLICY, most=(10, 10), reserve=(4, 4), concurrency_mode=Mode.OFF)
    door = doors.open(policy)
    doors.words[CONTROL + Control.PASSES] = PASSES_FOR_RESERVE
    doors.words[CONTROL + Control.PRESSURE] = 1
    doors.give_pass("198.51.100.7")
    came = [by_proxy(door, 0, f"192.0.2.{n}", NOW, is_exempt=False).refused for n in range(8)]
    assert came == [Reason.NONE] * 6 + [Reason.RESERVED] * 2
    assert not by_proxy(door, 0, "198.51.100.7", NOW, is_exempt=False).refused
    assert live_connections(doors.table) == (7, 0)


def test_who_waits_is_forgotten_with_its_process(doors: Doors) -> None:
    slot = claim_slot(doors.table, Role.WORKER, 0, 1, (1, 1), 1)
    doors.open(POLICY, slot).enter_unnamed(0, NOW)
    free_slot(doors.table, slot)
    assert sum_gauge(doors.table, Gauge.UNNAMED_PLAIN) == 0


# A kill at every store ----------------------------------------------------------------------------


def unnamed_of(house: House, table: Table) -> tuple[Admission, Entrance]:
    """The victim's door with one unnamed connection, and as none of its lives before had it."""
    gauges = layout.slot_gauges(house.victim)
    table.words[gauges + Gauge.UNNAMED_PLAIN] = 0
    door = door_of(table, house.victim)
    return door, door.enter_unnamed(0, NOW)


def test_killed_in_entering_unnamed(house: House) -> None:
    def prepare(table: Table, stores: int) -> Prepared:
        door, _ = unnamed_of(house, table)
        return lambda: door.enter_unnamed(0, NOW + stores)

    assert kill_at_every_store(house, prepare) >= 5


def test_killed_in_naming_somebody_known_to_the_survivor(house: House) -> None:
    def prepare(table: Table, stores: int) -> Prepared:
        door, entrance = unnamed_of(house, table)
        return lambda: door.name(entrance, who(1), NOW + stores)

    assert kill_at_every_store(house, prepare) >= 9


@pytest.mark.full
def test_killed_in_naming_somebody_new(house: House) -> None:
    """Rows are taken for him and his network, with those of earlier ones put out."""

    def prepare(table: Table, stores: int) -> Prepared:
        door, entrance = unnamed_of(house, table)
        return lambda: door.name(entrance, who(1000 + stores), NOW + stores)

    assert kill_at_every_store(house, prepare) > layout.CLIENT_WORDS + layout.ROLLUP_WORDS


def test_killed_in_naming_somebody_banned(house: House) -> None:
    def prepare(table: Table, stores: int) -> Prepared:
        door, entrance = unnamed_of(house, table)
        place = client_row(house.held[1].row)
        table.words[place + Client.PENALTY_UNTIL] = NOW + 60_000
        return lambda: door.name(entrance, who(1), NOW + stores)

    assert kill_at_every_store(house, prepare) >= 4


def test_killed_in_leaving_without_a_name(house: House) -> None:
    def prepare(table: Table, stores: int) -> Prepared:
        door, entrance = unnamed_of(house, table)

        def leave() -> None:
            door.leave(entrance, NOW + stores)
            door.end_unnamed(entrance)

        return leave

    assert kill_at_every_store(house, prepare) >= 4
