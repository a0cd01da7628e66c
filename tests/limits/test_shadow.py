"""A limit put in shadow by a command refuses nobody, at once, and is the file's again after."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.admission import Admission
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.guards import Guard
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import Client
from gwsmtp.limits.peaks import Peak, note_peak, unpack_peaks
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Limit, Mode, Policy, RatePolicy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.rate import Rate
from gwsmtp.limits.shadow import effective, force_shadow, forced_limits
from gwsmtp.limits.slots import Role, claim_slot

NOW = 1_000_000
CLIENT = identify("192.0.2.7")


def never(seconds: float) -> None:
    raise AssertionError(f"slept {seconds} s for a lock nobody else has")


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = create_table(tmp_path / "t.table", now_ms=1, secret=bytes(range(16)))
    yield table
    table.close()


def door(table: Table, policy: Policy) -> Admission:
    index = claim_slot(table, Role.WORKER, 0, 1, (7, 7), 1)
    peers = Peers(table, Placement(table))
    return Admission(table, index, RangeLock(table, index, never), peers, policy)


@pytest.mark.parametrize("limit", list(Limit))
@pytest.mark.parametrize("mode", list(Mode))
def test_forced_is_shadow_whatever_the_file_says(table: Table, limit: Limit, mode: Mode) -> None:
    assert effective(table.words, limit, mode) is mode
    force_shadow(table, limit, is_on=True)
    assert effective(table.words, limit, mode) is Mode.SHADOW
    assert forced_limits(table) == [limit]
    others = [other for other in Limit if other is not limit]
    assert all(effective(table.words, other, mode) is mode for other in others)
    force_shadow(table, limit, is_on=False)
    assert effective(table.words, limit, mode) is mode
    assert forced_limits(table) == []


def test_concurrency_refuses_nobody_while_in_shadow(table: Table) -> None:
    admission = door(table, Policy(concurrency=(1, 1)))
    admission.enter(0, CLIENT, NOW)
    assert admission.enter(0, CLIENT, NOW).refused is Reason.CONCURRENCY
    force_shadow(table, Limit.CONCURRENCY, is_on=True)
    verdict = admission.enter(0, CLIENT, NOW)
    assert (verdict.refused, verdict.shadowed) == (Reason.NONE, Reason.CONCURRENCY)
    force_shadow(table, Limit.CONCURRENCY, is_on=False)
    assert admission.enter(0, CLIENT, NOW).refused is Reason.CONCURRENCY


def test_concurrency_of_a_network_too(table: Table) -> None:
    admission = door(table, Policy(concurrency=(1, 1)))
    for number in range(4):
        assert not admission.enter(0, identify(f"192.0.2.{number}"), NOW).refused
    assert admission.enter(0, identify("192.0.2.9"), NOW).refused is Reason.NETWORK_CONCURRENCY
    force_shadow(table, Limit.CONCURRENCY, is_on=True)
    assert not admission.enter(0, identify("192.0.2.9"), NOW).refused


@pytest.mark.parametrize(("mode", "before"), [(Mode.ENFORCE, True), (Mode.OFF, False)])
def test_the_rate_of_connections_counts_and_refuses_nobody(
    table: Table, mode: Mode, before: bool
) -> None:
    admission = door(table, Policy(connections=RatePolicy(Rate(60, 2), mode)))
    admission.leave(admission.enter(0, CLIENT, NOW - 60_000), NOW)
    verdicts = [admission.enter(0, CLIENT, NOW) for _ in range(3)]
    assert (verdicts[-1].refused is Reason.CONNECTION_RATE) == before
    force_shadow(table, Limit.CONNECTIONS, is_on=True)
    verdicts = [admission.enter(0, CLIENT, NOW + 60_000) for _ in range(3)]
    assert [verdict.refused for verdict in verdicts] == [Reason.NONE] * 3
    assert verdicts[-1].shadowed is Reason.CONNECTION_RATE


def test_the_rate_of_messages_too(table: Table) -> None:
    policy = Policy(messages=RatePolicy(Rate(60, 2), Mode.ENFORCE))
    row = door(table, policy).enter(0, CLIENT, NOW).row
    guard = Guard(table, RangeLock(table, 0, never), policy)

    def charged() -> list[bool]:
        return [guard.charge(row, Reason.MESSAGE_RATE, 1, NOW).refuses for _ in range(3)]

    assert charged() == [False, False, True]
    force_shadow(table, Limit.MESSAGES, is_on=True)
    assert charged() == [False, False, False]
    assert guard.charge(row, Reason.MESSAGE_RATE, 1, NOW).hit is Reason.MESSAGE_RATE
    force_shadow(table, Limit.MESSAGES, is_on=False)
    assert charged() == [True, True, True]
    assert unpack_peaks(table.words[layout.client_row(row) + Client.PEAKS])[Peak.MESSAGES] == 2


def test_the_most_a_client_has_used_stays_with_its_row(table: Table) -> None:
    admission = door(table, Policy(connections=RatePolicy(Rate(60, 5), Mode.SHADOW)))
    admission.leave(admission.enter(0, CLIENT, NOW - 60_000), NOW)
    inside = [admission.enter(0, CLIENT, NOW) for _ in range(3)]
    for verdict in inside:
        admission.leave(verdict, NOW)
    admission.leave(admission.enter(0, CLIENT, NOW + 3_600_000), NOW + 3_600_000)
    peaks = unpack_peaks(table.words[layout.client_row(inside[0].row) + Client.PEAKS])
    assert peaks == {
        Peak.CONCURRENCY: 3,
        Peak.CONNECTIONS: 3,
        Peak.MESSAGES: 0,
        Peak.RECIPIENTS: 0,
    }


def test_a_peak_only_rises_and_moves_no_other(table: Table) -> None:
    words, place = table.words, layout.client_row(5)
    for peak in Peak:
        note_peak(words, place, peak, 10 + peak)
        note_peak(words, place, peak, 3)
    note_peak(words, place, Peak.RECIPIENTS, 1 << 40)
    assert list(unpack_peaks(words[place + Client.PEAKS]).values()) == [10, 11, 12, 65535]
