"""Who is let in and why not: order of reasons, modes, factors; counts that follow exactly."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.admission import SSL, Admission, live_connections
from gwsmtp.limits.arena import Table
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import LEDGER_SIZE, Client, Rollup
from gwsmtp.limits.ledger import entries
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Mode, Policy, RatePolicy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.rate import Rate
from tests.support.tables import make_table, never_sleep

NOW = 3_600_000
PLAIN = 0
US = 1000
CLOSED = RatePolicy(Rate(60, 3), Mode.ENFORCE)
OFF = RatePolicy(Rate(60, 3), Mode.OFF)
POLICY = Policy(most=(50, 20), concurrency=(3, 2), connections=OFF)


class Doors:
    """Admissions over one table, and what stands in its rows."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.words = table.words
        self.placement = Placement(table)
        self.peers = Peers(table, self.placement)

    def open(self, policy: Policy, slot: int = 0) -> Admission:
        lock = RangeLock(self.table, slot, never_sleep)
        return Admission(self.table, slot, lock, self.peers, policy)

    def client(self, ip: str) -> int:
        """The word index of a client's row, which is taken if there is none."""
        return layout.client_row(self.peers.take(identify(ip).client, NOW))

    def network(self, ip: str) -> int:
        return layout.rollup_row(self.peers.take_network(identify(ip).network, NOW))

    def give_pass(self, ip: str) -> None:
        self.words[self.client(ip) + Client.PASS_UNTIL] = NOW + 10**9

    def ban(self, ip: str, for_ms: int = 60_000) -> None:
        self.words[self.client(ip) + Client.PENALTY_UNTIL] = NOW + for_ms


@pytest.fixture
def doors() -> Iterator[Doors]:
    table = make_table()
    yield Doors(table)
    table.close()


def come(
    door: Admission, ip: str, count: int = 1, listener: int = PLAIN, now_ms: int = NOW
) -> list[Entrance]:
    return [door.enter(listener, identify(ip), now_ms) for _ in range(count)]


def reasons(entrances: list[Entrance]) -> list[Reason]:
    return [entrance.refused for entrance in entrances]


def explained(entrance: Entrance) -> tuple[int, int, int]:
    return entrance.counter, entrance.threshold, entrance.window_s


def test_counts_follow_who_comes_and_goes(doors: Doors) -> None:
    door = doors.open(POLICY)
    entrances = come(door, "192.0.2.1", 2) + come(door, "192.0.2.2", 1, SSL)
    assert live_connections(doors.table) == (2, 1)
    assert doors.words[doors.client("192.0.2.1") + Client.LIVE] == 2
    assert doors.words[doors.client("192.0.2.2") + Client.LIVE] == 1
    assert doors.words[doors.network("192.0.2.9") + Rollup.LIVE] == 3
    assert len(entries(doors.table, 0)) == 3
    for entrance in entrances:
        door.leave(entrance, NOW + 5)
        door.leave(entrance, NOW + 5)
        assert door.try_leave(entrance, NOW + 5), "once more changes nothing"
    assert live_connections(doors.table) == (0, 0)
    assert doors.words[doors.client("192.0.2.1") + Client.LIVE] == 0
    assert doors.words[doors.network("192.0.2.9") + Rollup.LIVE] == 0
    assert entries(doors.table, 0) == []


def test_the_listeners_maximum_holds_over_all_workers_and_per_listener(doors: Doors) -> None:
    policy = Policy(most=(5, 3), concurrency_mode=Mode.OFF)
    workers = [doors.open(policy, slot) for slot in range(4)]
    entrances = [come(workers[n % 4], f"192.0.2.{n}")[0] for n in range(8)]
    assert reasons(entrances) == [Reason.NONE] * 5 + [Reason.LISTENER_FULL] * 3
    assert explained(entrances[-1]) == (5, 5, 0)
    assert reasons(come(workers[0], "192.0.2.1", 4, SSL)) == [Reason.NONE] * 3 + [
        Reason.LISTENER_FULL
    ]
    workers[0].leave(entrances[0], NOW)
    assert reasons(come(workers[3], "192.0.2.200", 2)) == [Reason.NONE, Reason.LISTENER_FULL]


def test_a_refused_connection_leaves_no_trace(doors: Doors) -> None:
    door = doors.open(replace(POLICY, most=(0, 0)))
    (entrance,) = come(door, "192.0.2.1")
    assert entrance.refused is Reason.LISTENER_FULL
    door.leave(entrance, NOW)
    assert live_connections(doors.table) == (0, 0)
    assert doors.peers.find(identify("192.0.2.1").client) == -1


def test_the_first_reason_is_the_one_that_is_told(doors: Doors) -> None:
    """A client that everything speaks against; each reason is taken away in turn."""
    ip, other = "192.0.2.1", "192.0.2.77"
    policy = replace(POLICY, most=(13, 20), concurrency=(1, 1), connections=CLOSED)
    door = doors.open(policy)
    held = come(door, ip) + come(door, other)
    held += [come(door, f"192.0.2.{n}")[0] for n in (10, 11)]
    for n in range(9):
        held += come(door, f"198.51.{n}.1")
    client, network = doors.client(ip), doors.network(ip)
    doors.ban(ip, 61_500)
    full_us = (NOW + 3000) * US
    doors.words[client + Client.TAT_CONNECTIONS] = full_us
    doors.words[network + Rollup.TAT_CONNECTIONS] = full_us
    doors.words[network + Rollup.LIVE] = 4

    def next_reason() -> tuple[Reason, int, int, int]:
        (entrance,) = come(door, ip)
        return (entrance.refused, *explained(entrance))

    assert next_reason() == (Reason.LISTENER_FULL, 13, 13, 0)
    door.leave(held[-1], NOW)
    assert next_reason() == (Reason.PENALTY, 61, 0, 0)
    doors.ban(ip, 0)
    assert next_reason() == (Reason.CONCURRENCY, 1, 1, 0)
    door.leave(held[0], NOW)
    doors.words[network + Rollup.LIVE] = 4
    assert next_reason() == (Reason.CONNECTION_RATE, 3, 3, 60)
    doors.words[client + Client.TAT_CONNECTIONS] = 0
    assert next_reason() == (Reason.NETWORK_CONCURRENCY, 4, 4, 0)
    doors.words[network + Rollup.LIVE] = 3
    assert next_reason() == (Reason.NETWORK_RATE, 12, 12, 60)
    doors.words[network + Rollup.TAT_CONNECTIONS] = 0
    assert next_reason() == (Reason.NONE, 0, 0, 0)


@pytest.mark.parametrize("listener", [PLAIN, SSL])
def test_concurrency_per_client_and_four_times_per_network(doors: Doors, listener: int) -> None:
    door, most = doors.open(POLICY), POLICY.concurrency[listener]
    entrances = come(door, "192.0.2.1", most + 1, listener)
    assert reasons(entrances) == [Reason.NONE] * most + [Reason.CONCURRENCY]
    assert explained(entrances[-1]) == (most, most, 0)
    entrances = [come(door, f"192.0.2.{n}", 1, listener)[0] for n in range(50, 50 + 4 * most)]
    assert reasons(entrances) == [Reason.NONE] * 3 * most + [Reason.NETWORK_CONCURRENCY] * most
    assert explained(entrances[-1]) == (4 * most, 4 * most, 0)


def test_a_client_with_a_pass_may_four_times_as_much(doors: Doors) -> None:
    doors.give_pass("192.0.2.1")
    door = doors.open(POLICY)
    assert reasons(come(door, "192.0.2.1", 13)) == [Reason.NONE] * 12 + [Reason.CONCURRENCY]
    door = doors.open(replace(POLICY, connections=CLOSED, concurrency=(100, 100)), 1)
    doors.give_pass("198.51.100.1")
    entrances = come(door, "198.51.100.1", 14)
    assert reasons(entrances) == [Reason.NONE] * 12 + [Reason.CONNECTION_RATE] * 2
    assert explained(entrances[-1]) == (12, 12, 60)


def test_an_expired_pass_is_none(doors: Doors) -> None:
    doors.words[doors.client("192.0.2.1") + Client.PASS_UNTIL] = NOW
    assert reasons(come(doors.open(POLICY), "192.0.2.1", 4))[-1] is Reason.CONCURRENCY


def test_the_burst_of_connections_and_not_one_more(doors: Doors) -> None:
    """A client's first connection counts too, though it had no row before."""
    door = doors.open(replace(POLICY, connections=CLOSED))
    let_in = 0
    for _ in range(10):
        (entrance,) = come(door, "192.0.2.1")
        let_in += not entrance.refused
        door.leave(entrance, NOW)
    assert let_in == 3
    for n in range(2, 30):
        (entrance,) = come(door, f"192.0.2.{n}")
        let_in += not entrance.refused
        door.leave(entrance, NOW)
    assert let_in == 12
    assert entrance.refused is Reason.NETWORK_RATE
    assert reasons(come(door, "192.0.2.1", 2, PLAIN, NOW + 1000)) == [
        Reason.NONE,
        Reason.CONNECTION_RATE,
    ]


def test_refused_ones_do_not_push_the_rate_further(doors: Doors) -> None:
    door = doors.open(replace(POLICY, connections=CLOSED))
    for _ in range(200):
        for entrance in come(door, "192.0.2.1"):
            door.leave(entrance, NOW)
    assert reasons(come(door, "192.0.2.1", 1, PLAIN, NOW + 1000)) == [Reason.NONE]


def test_shadow_lets_in_and_says_what_would_have_been(doors: Doors) -> None:
    shadow = RatePolicy(CLOSED.rate, Mode.SHADOW)
    policy = replace(POLICY, concurrency_mode=Mode.SHADOW, connections=shadow)
    entrances = come(doors.open(policy), "192.0.2.1", 5)
    assert reasons(entrances) == [Reason.NONE] * 5
    assert [entrance.shadowed for entrance in entrances] == [Reason.NONE] * 3 + [
        Reason.CONCURRENCY
    ] * 2
    assert explained(entrances[-1]) == (4, 3, 0)
    assert live_connections(doors.table) == (5, 0), "what is let in counts"


def test_what_refuses_hides_what_only_would_have(doors: Doors) -> None:
    policy = replace(POLICY, concurrency_mode=Mode.SHADOW, connections=CLOSED)
    entrance = come(doors.open(policy), "192.0.2.1", 4)[-1]
    assert (entrance.refused, entrance.shadowed) == (Reason.CONNECTION_RATE, Reason.NONE)
    assert explained(entrance) == (3, 3, 60)


def test_off_says_nothing(doors: Doors) -> None:
    policy = replace(POLICY, concurrency_mode=Mode.OFF)
    entrances = come(doors.open(policy), "192.0.2.1", 40)
    assert {(entrance.refused, entrance.shadowed) for entrance in entrances} == {
        (Reason.NONE, Reason.NONE)
    }


def test_without_row_86_only_the_maximum_refuses(doors: Doors) -> None:
    doors.ban("192.0.2.1")
    policy = replace(POLICY, most=(5, 5), is_acting=False, connections=CLOSED)
    entrances = come(doors.open(policy), "192.0.2.1", 6)
    assert reasons(entrances) == [Reason.NONE] * 5 + [Reason.LISTENER_FULL]
    assert [entrance.shadowed for entrance in entrances] == [Reason.PENALTY] * 5 + [Reason.NONE]


def test_penalties_end_and_none_lasts_longer_than_the_longest(doors: Doors) -> None:
    door = doors.open(POLICY)
    doors.ban("192.0.2.1", POLICY.longest_penalty_ms)
    assert reasons(come(door, "192.0.2.1")) == [Reason.PENALTY]
    assert reasons(come(door, "192.0.2.1", 1, PLAIN, NOW + POLICY.longest_penalty_ms)) == [
        Reason.NONE
    ]
    doors.ban("192.0.2.2", POLICY.longest_penalty_ms + 1)
    assert reasons(come(door, "192.0.2.2")) == [Reason.NONE]


def test_exempt_sources_meet_the_maximum_only_and_take_no_row(doors: Doors) -> None:
    ip = "192.0.2.1"
    doors.ban(ip)
    door = doors.open(replace(POLICY, most=(9, 9), connections=CLOSED))
    entrances = [door.enter(PLAIN, identify(ip), NOW, is_exempt=True) for _ in range(10)]
    assert reasons(entrances) == [Reason.NONE] * 9 + [Reason.LISTENER_FULL]
    assert doors.words[doors.client(ip) + Client.LIVE] == 0
    assert doors.peers.find_network(identify(ip).network) == -1
    assert entries(doors.table, 0) == [(PLAIN, -1, -1)] * 9
    for entrance in entrances:
        door.leave(entrance, NOW)
    assert live_connections(doors.table) == (0, 0)


def test_a_full_bucket_counts_by_the_network_alone(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Placement, "client_bucket", lambda self, tag: 0)
    door = doors.open(POLICY)
    entrances = [come(door, f"192.0.{n}.1")[0] for n in range(8)]
    entrances += come(door, "198.51.100.1", 13)
    assert reasons(entrances) == [Reason.NONE] * 20 + [Reason.NETWORK_CONCURRENCY]
    assert {entrance.row for entrance in entrances[8:]} == {-1}
    assert live_connections(doors.table) == (20, 0)
    for entrance in entrances:
        door.leave(entrance, NOW)
    assert live_connections(doors.table) == (0, 0)
    assert doors.words[doors.network("198.51.100.1") + Rollup.LIVE] == 0


def test_a_full_table_of_live_sessions_refuses_nobody(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a row for the client nor one for its network: the maximum still holds."""
    monkeypatch.setattr(Placement, "client_bucket", lambda self, tag: 0)
    monkeypatch.setattr(Placement, "rollup_bucket", lambda self, tag: 0)
    door = doors.open(POLICY)
    entrances = [come(door, f"192.0.{n}.1")[0] for n in range(8)]
    entrances += come(door, "198.51.100.1", 43)
    assert reasons(entrances) == [Reason.NONE] * 50 + [Reason.LISTENER_FULL]
    for entrance in entrances:
        door.leave(entrance, NOW)
    assert live_connections(doors.table) == (0, 0)


def test_a_count_that_is_too_low_ends_no_session(doors: Doors) -> None:
    """Damage; the ledger is right, and everything it names is recomputed by the next recovery."""
    door = doors.open(POLICY)
    entrances = come(door, "192.0.2.1", 2)
    doors.words[doors.client("192.0.2.1") + Client.LIVE] = 0
    doors.words[doors.network("192.0.2.1") + Rollup.LIVE] = 1
    doors.words[layout.CONTROL + layout.Control.LISTENER_LIVE] = 0
    for entrance in entrances:
        door.leave(entrance, NOW)
    assert entries(doors.table, 0) == []
    assert live_connections(doors.table) == (0, 0)
    assert doors.words[doors.network("192.0.2.1") + Rollup.LIVE] == 0


def test_more_connections_than_a_ledger_has_room_for(doors: Doors) -> None:
    door = doors.open(Policy(most=(9999, 9999), concurrency_mode=Mode.OFF, connections=OFF))
    entrances = come(door, "192.0.2.1", LEDGER_SIZE + 1)
    assert reasons(entrances)[-1] is Reason.LEDGER_FULL
    assert not any(reasons(entrances[:-1]))
    assert live_connections(doors.table) == (LEDGER_SIZE, 0)
    door.leave(entrances[7], NOW)
    assert reasons(come(door, "192.0.2.1")) == [Reason.NONE]
    assert reasons(come(doors.open(POLICY, 1), "198.51.100.9", 1, SSL)) == [Reason.NONE]


def test_a_lock_that_others_hold_is_not_waited_for_where_nothing_may_wait(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = doors.open(POLICY)
    (entrance,) = come(door, "192.0.2.1")
    monkeypatch.setattr(RangeLock, "try_hold", lambda self: False)
    assert door.try_enter(PLAIN, identify("192.0.2.1"), NOW) is None
    assert not door.try_leave(entrance, NOW)
    assert live_connections(doors.table) == (1, 0)
