"""The arithmetic of windows, by times that a test makes up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base import replies
from gwsmtp.session.pace import CutOff, PaceLimits, Rate, look

LIMITS = PaceLimits(min_rate=500)
WINDOW = 30 * 500


def verdicts(octets_of_windows: list[int], limits: PaceLimits = LIMITS) -> list[bool]:
    """Whether it is too slow at the end of each window, given what each one brought."""
    rate, now, octets, found = Rate(limits, 100.0, 7), 100.0, 7, []
    for more in octets_of_windows:
        now += limits.window_s
        octets += more
        found.append(rate.is_too_slow(now, octets))
    return found


def test_the_third_slow_window_in_a_row_is_too_much() -> None:
    assert verdicts([WINDOW - 1] * 3) == [False, False, True]
    assert verdicts([0, 0, 0]) == [False, False, True]
    assert verdicts([WINDOW] * 9) == [False] * 9
    assert verdicts([0, 0, WINDOW, 0, 0, WINDOW, 0, 0, 0]) == [False] * 8 + [True]


def test_one_window_is_enough_where_the_limits_say_so() -> None:
    assert verdicts([WINDOW, 0], PaceLimits(500, windows=1)) == [False, True]


def test_a_rate_of_zero_is_no_limit() -> None:
    assert verdicts([0] * 20, PaceLimits(0)) == [False] * 20


def test_nothing_is_decided_before_a_window_is_over() -> None:
    rate = Rate(LIMITS, 0.0, 0)
    assert not any(rate.is_too_slow(second * 1.0, 0) for second in range(30))
    assert rate.left_s(29.0) == 1.0


def test_a_late_look_ends_one_window_only() -> None:
    rate = Rate(LIMITS, 0.0, 0)
    assert not rate.is_too_slow(1000.0, 0)
    assert rate.left_s(1000.0) == 30.0


def test_pauses_and_our_own_time_are_in_no_window() -> None:
    rate = Rate(LIMITS, 0.0, 0)
    rate.pause(10.0)
    rate.pause(15.0)
    assert rate.left_s(500.0) == 20.0
    rate.resume(1000.0)
    rate.excuse(300.0)
    assert rate.left_s(1310.0) == 10.0
    assert not rate.is_too_slow(1319.0, 0)
    assert rate.left_s(1319.0) == 1.0


@given(
    st.integers(1, 2000),
    st.lists(
        st.tuples(st.sampled_from(["read", "pause", "ours"]), st.floats(0.01, 20)), max_size=200
    ),
)
def test_a_steady_client_is_cut_off_if_and_only_if_it_is_below_the_rate(
    octets_a_second: int, history: list[tuple[str, float]]
) -> None:
    limits = PaceLimits(min_rate=500, window_s=30, windows=3)
    rate = Rate(limits, 0.0, 0)
    now, reading_s, octets = 0.0, 0.0, 0.0
    is_cut_off = False
    for what, seconds in history:
        now += seconds
        if what == "pause":
            rate.pause(now - seconds)
            rate.resume(now)
        elif what == "ours":
            rate.excuse(seconds)
        else:
            reading_s += seconds
            octets += seconds * octets_a_second
        # A little more than counted: sums of floats.
        is_cut_off = is_cut_off or rate.is_too_slow(now, round(octets + 0.5))
    if octets_a_second >= 500 or reading_s < 90:
        assert not is_cut_off
    # A window ends at a look, here after 20 s more at worst.
    if octets_a_second < 499 and reading_s > 3 * 50:
        assert is_cut_off


def test_a_transaction_has_an_hour_from_its_beginning() -> None:
    assert look(LIMITS, 100.0, 0, None, None) == 3600.0
    assert look(LIMITS, 3700.0, 0, 101.0, None) == 1.0
    found = look(LIMITS, 3700.0, 0, 100.0, None)
    assert isinstance(found, CutOff)
    assert found.reply is replies.TRANSACTION_TOO_LONG


def test_the_next_look_is_at_what_ends_first() -> None:
    rate = Rate(LIMITS, 100.0, 0)
    assert look(LIMITS, 110.0, 0, 90.0, rate) == 20.0
    assert look(LIMITS, 110.0, 0, -3480.0, rate) == 10.0
    rate.pause(110.0)
    assert look(LIMITS, 110.0, 0, 90.0, rate) == 3580.0


@pytest.mark.parametrize("begun", [0.0, None])
def test_payload_below_the_rate_is_cut_off_with_and_without_a_transaction(
    begun: float | None,
) -> None:
    rate = Rate(LIMITS, 0.0, 0)
    assert look(LIMITS, 30.0, 10, begun, rate) == 30.0
    assert look(LIMITS, 60.0, 20, begun, rate) == 30.0
    found = look(LIMITS, 90.0, 30, begun, rate)
    assert isinstance(found, CutOff)
    assert found.reply is replies.DATA_TOO_SLOW


def test_payload_of_no_transaction_has_an_hour_too() -> None:
    limits = PaceLimits(0)
    rate = Rate(limits, 50.0, 0)
    assert look(limits, 3649.0, 0, None, rate) == 1.0
    assert isinstance(look(limits, 3650.0, 0, None, rate), CutOff)
