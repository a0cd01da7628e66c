"""Clients as people see them, the worst first, and thresholds proposed from all of them."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.clients import (
    count_clients,
    forgive,
    read_client,
    read_network,
    worst_clients,
)
from gwsmtp.limits.identity import Placement, describe, identify
from gwsmtp.limits.layout import Client
from gwsmtp.limits.peaks import Peak, note_peak
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Limit, Policy
from gwsmtp.limits.suggest import percentile, propose, survey

NOW = 100_000_000
POLICY = Policy()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = create_table(tmp_path / "t.table", now_ms=1, secret=bytes(range(16)))
    yield table
    table.close()


def put(table: Table, ip: str, **words: int) -> int:
    """A row with these words; returns its place."""
    row = Peers(table, Placement(table)).take(identify(ip).client, NOW)
    place = layout.client_row(row)
    for name, value in words.items():
        table.words[place + getattr(Client, name)] = value
    return place


def names(table: Table, most: int = 10) -> list[str]:
    return [view.client for view in worst_clients(table, POLICY, NOW, most)]


def test_the_worst_are_those_under_a_penalty_then_by_score_then_live(table: Table) -> None:
    put(table, "192.0.2.1", LIVE=50)
    put(table, "192.0.2.2", SCORE=12_000, SCORE_MS=NOW)
    put(table, "192.0.2.3", PENALTY_UNTIL=NOW + 1)
    put(table, "192.0.2.4", PENALTY_UNTIL=NOW + 60_000)
    put(table, "192.0.2.5", SCORE=12_000, SCORE_MS=NOW, LIVE=1)
    put(table, "192.0.2.6")
    put(table, "192.0.2.7", PENALTY_UNTIL=NOW)
    put(table, "192.0.2.8", SCORE=40_000, SCORE_MS=1)  # decayed long ago
    order = ["192.0.2.4", "192.0.2.3", "192.0.2.5", "192.0.2.2", "192.0.2.1"]
    assert names(table) == order
    assert names(table, 2) == order[:2]
    assert count_clients(table) == 8


def test_a_penalty_beyond_any_is_another_clocks_and_is_none(table: Table) -> None:
    put(table, "192.0.2.1", PENALTY_UNTIL=NOW + POLICY.longest_penalty_ms + 1, LIVE=1)
    (view,) = worst_clients(table, POLICY, NOW, 10)
    assert view.penalty_s == 0


def test_a_view_tells_what_is_used_and_a_pass_allows_four_times_as_much(table: Table) -> None:
    ahead = NOW * 1000 + 10 * POLICY.messages.rate.interval_us
    put(table, "192.0.2.1", TAT_MESSAGES=ahead)
    put(table, "192.0.2.2", TAT_MESSAGES=ahead, PASS_UNTIL=NOW + 90_000)
    without, with_pass = (
        read_client(table, identify(ip), POLICY, NOW) for ip in ("192.0.2.1", "192.0.2.2")
    )
    assert without is not None and with_pass is not None
    assert (without.rates[Limit.MESSAGES].used, without.rates[Limit.MESSAGES].burst) == (10, 100)
    used = with_pass.rates[Limit.MESSAGES]
    assert (used.used, used.burst, with_pass.pass_s) == (40, 400, 90)


def test_who_is_not_there_has_no_view(table: Table) -> None:
    assert read_client(table, identify("192.0.2.1"), POLICY, NOW) is None
    assert read_network(table, identify("192.0.2.1"), POLICY, NOW) is None
    assert not forgive(table, identify("192.0.2.1"))


def test_forgiven_is_the_penalty_and_not_what_hides_or_counts(table: Table) -> None:
    kept = {"LIVE": 2, "BAD": 77 << 32 | 5, "PASS_UNTIL": NOW + 5, "TAT_MESSAGES": 9, "PEAKS": 3}
    gone = {"PENALTY_UNTIL": NOW + 9, "SCORE": 40_000, "STRIKES": 2, "OVER_LIMIT": 11, "TRIES": 4}
    place = put(table, "192.0.2.1", **kept, **gone)
    assert forgive(table, identify("192.0.2.1"))
    assert {name: table.words[place + getattr(Client, name)] for name in kept} == kept
    assert all(table.words[place + getattr(Client, name)] == 0 for name in gone)


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2::7", "2001:db8:1::/48"),
        ("::1", "::/48"),
    ],
)
def test_a_network_by_its_name(ip: str, network: str) -> None:
    assert describe(identify(ip).network, is_network=True) == network


def test_percentile_is_the_nearest_rank() -> None:
    values = list(range(1, 101))
    assert [percentile(values, percent) for percent in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7], 50) == percentile([7], 99) == 7


def test_proposed_is_twice_what_99_of_100_stay_within(table: Table) -> None:
    rng = random.Random(4)
    for number in range(200):
        place = put(table, f"10.0.{number}.1", FIRST_SEEN=NOW - number)
        note_peak(table.words, place, Peak.CONCURRENCY, rng.randint(1, 8))
        note_peak(table.words, place, Peak.RECIPIENTS, 100 + number)
    note_peak(table.words, put(table, "10.9.9.9"), Peak.RECIPIENTS, 5000)
    seen = survey(table, POLICY, NOW)
    assert (seen.clients, seen.left_out, seen.first_seen_ms) == (201, 0, NOW - 199)
    proposals = {proposal.peak: proposal for proposal in propose(seen)}
    recipients = proposals[Peak.RECIPIENTS]
    assert (recipients.p99, recipients.most) == (298, 5000)
    assert (recipients.proposed, recipients.beyond) == (600, 1)
    assert proposals[Peak.CONCURRENCY].proposed == 20
    assert proposals[Peak.MESSAGES].proposed == 20  # the floor


def test_the_misbehaved_propose_nothing_and_known_senders_a_quarter(table: Table) -> None:
    bad = put(table, "192.0.2.1", SCORE=20_000, SCORE_MS=NOW)
    note_peak(table.words, bad, Peak.CONCURRENCY, 900)
    note_peak(table.words, put(table, "192.0.2.2", PENALTY_UNTIL=NOW + 9), Peak.MESSAGES, 900)
    known = put(table, "192.0.2.3", PASS_UNTIL=NOW + 9)
    note_peak(table.words, known, Peak.CONCURRENCY, 40)
    seen = survey(table, POLICY, NOW)
    assert (seen.clients, seen.left_out) == (1, 2)
    assert seen.peaks[Peak.CONCURRENCY] == [10]
    assert seen.peaks[Peak.MESSAGES] == [0]
    assert propose(survey(table, POLICY, NOW))[0].most == 10


def test_nobody_seen_proposes_nothing(table: Table) -> None:
    assert propose(survey(table, POLICY, NOW)) == []
