"""Waiting: as planned, never longer."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.delivery.schedule import JITTER, interval, wait_for

SCHEDULE = (60, 300, 900)
TIMES = st.floats(0, 4e9)


def test_the_schedule_is_gone_through_and_its_last_repeats() -> None:
    rng = random.Random(1)
    for attempts, planned in ((1, 60), (2, 300), (3, 900), (4, 900), (400, 900), (0, 60)):
        found = [interval(attempts, SCHEDULE, rng) for _ in range(500)]
        low, high = planned * (1 - JITTER), planned * (1 + JITTER)
        assert low <= min(found) < planned * 0.8
        assert planned * 1.2 < max(found) <= high


@given(TIMES, st.floats(0, 1e5), TIMES)
def test_nobody_waits_longer_than_planned(tried_at: float, planned: float, now: float) -> None:
    waited = wait_for(tried_at, tried_at + planned, now)
    assert 0 <= waited <= planned + 1e-6
    if tried_at <= now:
        assert abs(waited - max(0.0, tried_at + planned - now)) < 1e-5


def test_a_time_before_the_try_is_due() -> None:
    assert wait_for(100.0, 50.0, 10.0) == 0.0
