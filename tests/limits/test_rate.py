"""Rates: never more than the burst at once, never more than rate and burst in any stretch of time,
against a plain log of what was let through.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.limits.rate import Rate

SECOND = 1_000_000
HOUR = 3600 * SECOND


def admit(rate: Rate, moments: list[int], stamp: int = 0, factor: int = 1) -> list[int]:
    """Those of the moments at which an event is within the rate."""
    let_in = []
    for now in moments:
        after = rate.next_stamp(stamp, now, 1, factor)
        if after >= 0:
            stamp = after
            let_in.append(now)
    return let_in


@pytest.mark.parametrize("factor", [1, 4, 16])
def test_the_burst_at_once_and_not_one_more(factor: int) -> None:
    rate = Rate(300, 100)
    assert len(admit(rate, [HOUR] * 2000, factor=factor)) == 100 * factor


def test_at_the_edge_of_a_window_not_twice_the_burst() -> None:
    """Where fixed windows let 200 through: the end of one minute and the start of the next."""
    rate = Rate(100, 100)
    edge = [HOUR - 1] * 150 + [HOUR] * 150
    assert len(admit(rate, edge)) == 100


def test_after_the_burst_one_each_interval() -> None:
    rate = Rate(60, 10)
    moments = [HOUR + step * SECOND // 10 for step in range(300)]
    assert len(admit(rate, moments)) == 10 + 29


def test_a_quiet_client_has_its_whole_burst_again() -> None:
    rate = Rate(60, 10)
    assert len(admit(rate, [HOUR] * 20 + [HOUR + 10 * SECOND] * 20)) == 20


def test_several_at_once_are_all_or_nothing() -> None:
    rate = Rate(60, 10)
    stamp = rate.next_stamp(0, HOUR, 9)
    assert rate.next_stamp(stamp, HOUR, 2) == -1
    assert rate.next_stamp(stamp, HOUR, 1) >= 0
    assert rate.next_stamp(0, HOUR, 11) == -1
    assert rate.next_stamp(2**62, HOUR, 11) == -1


def test_used_says_how_many_of_the_burst_are_taken() -> None:
    rate = Rate(300, 100)
    stamp = 0
    for taken in range(1, 101):
        stamp = rate.next_stamp(stamp, HOUR)
        assert rate.used(stamp, HOUR) == taken
    assert rate.used(stamp, HOUR + 60 * SECOND) == 0


def test_used_by_who_has_four_times_the_burst() -> None:
    rate = Rate(300, 100)
    stamp = 0
    for _ in range(400):
        stamp = rate.next_stamp(stamp, HOUR, 1, 4)
    assert rate.next_stamp(stamp, HOUR, 1, 4) == -1
    assert rate.used(stamp, HOUR, 4) == 400


@pytest.mark.parametrize("factor", [1, 4])
@pytest.mark.parametrize("ahead", [HOUR, 2**62])
def test_a_stamp_of_another_clock_shuts_nobody_out(ahead: int, factor: int) -> None:
    """It counts as fully used: one event, then the rate as usual."""
    rate = Rate(60, 10)
    moments = [HOUR] * 5 + [HOUR + SECOND] * 40
    assert len(admit(rate, moments, HOUR + ahead, factor)) == 1 + factor


def test_a_stamp_of_another_rate_counts_as_fully_used() -> None:
    fuller, tighter = Rate(60, 60), Rate(60, 5)
    stamp = 0
    for _ in range(60):
        stamp = fuller.next_stamp(stamp, HOUR)
    assert len(admit(tighter, [HOUR] * 9, stamp)) == 1


@given(
    st.integers(1, 5000),
    st.integers(0, 50),
    st.sampled_from([1, 4]),
    st.lists(st.integers(0, 20 * SECOND), max_size=200),
)
def test_no_stretch_of_time_has_more_than_rate_and_burst(
    limit: int, burst: int, factor: int, pauses: list[int]
) -> None:
    rate = Rate(limit, burst)
    now, moments = HOUR, []
    for pause in pauses:
        now += pause
        moments.append(now)
    let_in = admit(rate, moments, factor=factor)
    interval = rate.interval_us // factor
    most = rate.full_us // interval
    for first in range(len(let_in)):
        for last in range(first, len(let_in)):
            lasted = let_in[last] - let_in[first]
            assert last - first + 1 <= most + lasted // interval
    if moments:
        assert let_in[0] == moments[0]


@given(st.integers(0, 2**63), st.integers(0, 2**52), st.integers(1, 3), st.sampled_from([1, 4]))
def test_any_stamp_is_valid_and_the_next_fits_a_word(
    stamp: int, now: int, times: int, factor: int
) -> None:
    rate = Rate(7, 9)
    after = rate.next_stamp(stamp, now, times, factor)
    assert after == -1 or now < after <= now + 9 * rate.interval_us
