"""A message is charged in one hold of the lock, together with its first recipient."""

import fcntl
from collections.abc import Iterator

import pytest

from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.guards import Guard
from gwsmtp.limits.layout import Client
from gwsmtp.limits.peaks import Peak, unpack_peaks
from gwsmtp.limits.policy import Limit, Mode, Policy, RatePolicy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.rate import Rate
from gwsmtp.limits.shadow import force_shadow
from tests.support.tables import make_table, never_sleep

NOW_MS = 1_000_000
ROW = 5


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the kernel is asked of locks: two of them are one hold."""
    asked: list[bytes] = []
    real = fcntl.fcntl

    def counting(fd: int, command: int, what: bytes) -> bytes:
        asked.append(what)
        return real(fd, command, what)

    monkeypatch.setattr(fcntl, "fcntl", counting)
    return asked


def make_guard(table: Table, policy: Policy) -> Guard:
    return Guard(table, RangeLock(table, 0, never_sleep), policy)


def rates(messages: Mode, recipients: Mode, *, burst: int = 1) -> Policy:
    return Policy(
        messages=RatePolicy(Rate(1, burst), messages),
        recipients=RatePolicy(Rate(1, 2), recipients),
    )


@pytest.fixture
def table() -> Iterator[Table]:
    made = make_table()
    yield made
    made.close()


def stamps(table: Table) -> list[bool]:
    """Whether a message, and whether a recipient, was ever charged."""
    place = layout.client_row(ROW)
    words = (Client.TAT_MESSAGES, Client.TAT_RECIPIENTS)
    return [table.words[place + word] > 0 for word in words]


@pytest.mark.parametrize(
    ("ahead", "charged"), [(True, [True, True]), (False, [True, False])], ids=["ahead", "alone"]
)
def test_both_in_one_hold(
    table: Table, holds: list[bytes], ahead: bool, charged: list[bool]
) -> None:
    guard = make_guard(table, rates(Mode.ENFORCE, Mode.ENFORCE))
    found = guard.charge_message(ROW, NOW_MS, ahead=ahead)
    assert [charge.hit for charge in found] == [Reason.NONE] * 2
    assert stamps(table) == charged
    assert len(holds) == 2


def test_a_refused_message_has_no_recipient(table: Table) -> None:
    guard = make_guard(table, rates(Mode.ENFORCE, Mode.ENFORCE))
    guard.charge_message(ROW, NOW_MS, ahead=False)
    message, recipient = guard.charge_message(ROW, NOW_MS, ahead=True)
    assert (message.hit, message.refuses) == (Reason.MESSAGE_RATE, True)
    assert recipient.hit is Reason.NONE
    assert stamps(table) == [True, False]


def test_a_shadow_reports_and_goes_on(table: Table) -> None:
    guard = make_guard(table, rates(Mode.SHADOW, Mode.SHADOW))
    found = [guard.charge_message(ROW, NOW_MS, ahead=True) for _ in range(3)][-1]
    assert [charge.hit for charge in found] == [Reason.MESSAGE_RATE, Reason.RECIPIENT_RATE]
    assert not any(charge.refuses for charge in found)


def test_a_shadow_takes_the_lock_for_a_new_peak_only(table: Table, holds: list[bytes]) -> None:
    guard = make_guard(table, rates(Mode.SHADOW, Mode.SHADOW))
    guard.charge_message(ROW, NOW_MS, ahead=False)
    assert len(holds) == 2
    guard.charge_message(ROW, NOW_MS + 3_600_000, ahead=False)
    assert len(holds) == 2
    peaks = unpack_peaks(table.words[layout.client_row(ROW) + Client.PEAKS])
    assert peaks == {**dict.fromkeys(Peak, 0), Peak.MESSAGES: 1}


@pytest.mark.parametrize("limit", [Limit.MESSAGES, Limit.RECIPIENTS])
def test_a_shadow_by_command_takes_the_teeth_out(table: Table, limit: Limit) -> None:
    guard = make_guard(table, rates(Mode.ENFORCE, Mode.ENFORCE, burst=2))
    force_shadow(table, limit, is_on=True)
    found = [guard.charge_message(ROW, NOW_MS, ahead=True) for _ in range(3)][-1]
    refusing = [charge.refuses for charge in found]
    assert refusing == ([False, True] if limit is Limit.MESSAGES else [True, False])


def test_what_is_off_or_has_no_row_takes_no_lock(table: Table, holds: list[bytes]) -> None:
    make_guard(table, rates(Mode.OFF, Mode.OFF)).charge_message(ROW, NOW_MS, ahead=True)
    make_guard(table, rates(Mode.ENFORCE, Mode.ENFORCE)).charge_message(-1, NOW_MS, ahead=True)
    assert holds == []
    assert stamps(table) == [False, False]
