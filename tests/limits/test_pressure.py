"""Levels from readings, over time: arithmetic, with times that a test makes up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.limits.pressure import (
    HOLD_MS,
    Cause,
    Pressure,
    PressureView,
    Readings,
    judge,
    publish,
    read_level,
    read_pressure,
)
from tests.support.tables import make_table

CALM = Readings()
OF_LEVEL = (CALM, Readings(connections=0.92), Readings(connections=0.99))


@pytest.mark.parametrize(
    ("readings", "level", "cause"),
    [
        (CALM, 0, Cause.NONE),
        (Readings(connections=0.899), 0, Cause.NONE),
        (Readings(connections=0.90), 1, Cause.CONNECTIONS),
        (Readings(connections=0.97), 2, Cause.CONNECTIONS),
        (Readings(scan_wait=0.49), 0, Cause.NONE),
        (Readings(scan_wait=0.50), 1, Cause.SCANS),
        (Readings(scan_wait=0.80), 2, Cause.SCANS),
        (Readings(free_spool=4.0), 0, Cause.NONE),
        (Readings(free_spool=3.99), 1, Cause.SPOOL),
        (Readings(free_spool=2.0), 1, Cause.SPOOL),
        (Readings(free_spool=1.99), 2, Cause.SPOOL),
        (Readings(free_spool=0.0), 2, Cause.SPOOL),
        (Readings(loop_lag_s=0.49), 0, Cause.NONE),
        (Readings(loop_lag_s=0.5), 1, Cause.LOOP),
        (Readings(loop_lag_s=2.0), 2, Cause.LOOP),
        (Readings(connections=0.95, loop_lag_s=3.0), 2, Cause.LOOP),
        (Readings(connections=1.0, loop_lag_s=3.0), 2, Cause.CONNECTIONS),
    ],
)
def test_a_reading_at_its_threshold_makes_the_level(
    readings: Readings, level: int, cause: Cause
) -> None:
    assert judge(readings) == (level, cause)


def test_up_at_once_and_down_after_thirty_seconds_below() -> None:
    pressure = Pressure(0, Cause.NONE, 0)
    assert not pressure.step(CALM, 1_000)
    assert pressure.step(Readings(loop_lag_s=2), 2_000)
    assert (pressure.level, pressure.cause) == (2, Cause.LOOP)
    assert not pressure.step(CALM, 2_000 + HOLD_MS - 1)
    assert pressure.step(CALM, 2_000 + HOLD_MS)
    assert (pressure.level, pressure.cause) == (0, Cause.NONE)


def test_each_level_is_held_for_itself() -> None:
    pressure = Pressure(0, Cause.NONE, 0)
    pressure.step(Readings(connections=0.99), 0)
    pressure.step(Readings(scan_wait=0.6), 20_000)
    assert (pressure.level, pressure.cause) == (2, Cause.CONNECTIONS)
    assert pressure.step(CALM, 30_000)
    assert (pressure.level, pressure.cause) == (1, Cause.SCANS)
    assert not pressure.step(CALM, 49_999)
    assert pressure.step(CALM, 50_000)
    assert pressure.level == 0


def test_a_new_leader_holds_what_the_last_one_found() -> None:
    pressure = Pressure(2, Cause.SPOOL, 100_000)
    assert not pressure.step(CALM, 129_999)
    assert (pressure.level, pressure.cause) == (2, Cause.SPOOL)
    assert pressure.step(CALM, 130_000)
    assert pressure.level == 0


@given(
    st.lists(st.tuples(st.integers(1, 40_000), st.sampled_from((0, 1, 2))), min_size=1, max_size=40)
)
def test_the_level_is_the_highest_reading_of_the_last_thirty_seconds(
    steps: list[tuple[int, int]],
) -> None:
    pressure, now_ms, seen = Pressure(0, Cause.NONE, 0), 0, []
    for pause_ms, reading in steps:
        now_ms += pause_ms
        seen.append((now_ms, reading))
        pressure.step(OF_LEVEL[reading], now_ms)
        wanted = max(level for at_ms, level in seen if now_ms - at_ms < HOLD_MS)
        assert pressure.level == wanted
        assert (pressure.cause is Cause.NONE) == (wanted == 0)


def test_what_is_published_is_read_with_the_time_of_the_levels_change() -> None:
    table = make_table()
    words, pressure = table.words, Pressure(0, Cause.NONE, 0)
    publish(words, pressure, 500)
    assert read_pressure(words) == PressureView(0, Cause.NONE, 0)
    pressure.step(Readings(connections=0.93), 1_000)
    publish(words, pressure, 1_000)
    pressure.step(Readings(scan_wait=0.7), 2_000)
    publish(words, pressure, 2_000)
    assert read_level(words) == 1
    assert read_pressure(words) == PressureView(1, Cause.SCANS, 1_000)
    table.close()
