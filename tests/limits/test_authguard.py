"""Failed authentications on the table: per client and user name, per client, over ten minutes."""

from collections.abc import Iterator

import pytest

from gwsmtp.base.decision import Reason
from gwsmtp.limits.arena import Table
from gwsmtp.limits.authguard import WINDOW_S, AuthGuard
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Mode, Policy
from gwsmtp.limits.rangelock import RangeLock
from tests.support.tables import make_table, never_sleep

NOW = 10_000_000
ALICE, BOB, CAROL, DAVE, EVE = 0xA1, 0xB0, 0xCA, 0xDA, 0xEE


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


def guard(table: Table, **more: int | Mode) -> AuthGuard:
    return AuthGuard(table, RangeLock(table, 0, never_sleep), Policy(**more))  # type: ignore[arg-type]


def row_of(table: Table, ip: str = "192.0.2.1") -> int:
    return Peers(table, Placement(table)).take(identify(ip).client, NOW)


def failures_until_blocked(auth: AuthGuard, row: int, user: int, now_ms: int) -> int:
    for count in range(100):
        if auth.is_blocked(row, user, now_ms).refuses:
            return count
        auth.fail(row, user, now_ms)
    raise AssertionError("never blocked")


def test_five_of_a_user_then_blocked_and_others_are_not(table: Table) -> None:
    auth, row = guard(table), row_of(table)
    assert failures_until_blocked(auth, row, ALICE, NOW) == 5
    assert not auth.is_blocked(row, BOB, NOW).hit
    assert not auth.is_blocked(row_of(table, "192.0.2.2"), ALICE, NOW).hit
    assert auth.is_blocked(row, ALICE, NOW).hit is Reason.AUTH_FAILURES


def test_twenty_of_a_client_then_blocked_for_every_name(table: Table) -> None:
    auth, row = guard(table), row_of(table)
    counts = [failures_until_blocked(auth, row, user, NOW) for user in (ALICE, BOB, CAROL, DAVE)]
    assert counts == [5, 5, 5, 5]
    assert auth.is_blocked(row, EVE, NOW).refuses


def test_names_that_are_never_repeated_are_counted_too(table: Table) -> None:
    auth, row = guard(table), row_of(table)
    for user in range(1, 21):
        assert not auth.is_blocked(row, user, NOW).hit
        auth.fail(row, user, NOW)
    assert auth.is_blocked(row, 21, NOW).refuses


def test_it_fades_one_by_one_over_ten_minutes_and_never_doubles_at_an_edge(table: Table) -> None:
    auth, row = guard(table), row_of(table)
    assert failures_until_blocked(auth, row, ALICE, NOW) == 5
    interval_ms = WINDOW_S * 1000 // 5
    assert auth.is_blocked(row, ALICE, NOW + interval_ms - 1000).refuses
    assert failures_until_blocked(auth, row, ALICE, NOW + interval_ms + 1000) == 1
    assert failures_until_blocked(auth, row, ALICE, NOW + 2 * WINDOW_S * 1000) == 5


@pytest.mark.parametrize(("mode", "hit"), [(Mode.SHADOW, True), (Mode.OFF, False)])
def test_shadow_tells_and_off_does_neither(table: Table, mode: Mode, hit: bool) -> None:
    auth, row = guard(table, auth_mode=mode), row_of(table)
    for _ in range(9):
        auth.fail(row, ALICE, NOW)
    charge = auth.is_blocked(row, ALICE, NOW)
    assert (bool(charge.hit), charge.refuses) == (hit, False)


def test_a_client_without_a_row_is_never_blocked(table: Table) -> None:
    auth = guard(table)
    for _ in range(30):
        auth.fail(-1, ALICE, NOW)
    assert not auth.is_blocked(-1, ALICE, NOW).hit
