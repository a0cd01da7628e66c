import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from types import SimpleNamespace

import pytest

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.seams import Clock


@pytest.fixture
def half_past_five(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A time zone with half an hour in it: the place where offsets are got wrong."""
    monkeypatch.setenv("TZ", "XST-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_it_is_a_clock() -> None:
    clock: Clock = SystemClock()
    assert clock.now() == pytest.approx(time.time(), abs=5)
    assert clock.monotonic() == pytest.approx(time.monotonic(), abs=5)


def test_boot_time_is_in_milliseconds_and_common_to_all_processes() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
    assert before - 1 <= SystemClock().boot_ms() <= before + 5000


def test_times_do_not_go_backwards() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.boot_ms() <= clock.boot_ms()


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The wall clock as the module sees it: set ``wall.now``."""
    fake = SimpleNamespace(now=1_700_000_000.0, localtime=time.localtime, strftime=time.strftime)
    fake.time = lambda: fake.now
    monkeypatch.setattr("gwsmtp.base.clock.time", fake)
    return fake


@pytest.mark.usefixtures("half_past_five")
def test_both_forms_carry_the_local_offset(wall: SimpleNamespace) -> None:
    wall.now += 0.9
    clock = SystemClock()
    assert clock.rfc5322() == "Wed, 15 Nov 2023 03:43:20 +0530"
    assert clock.iso() == "2023-11-15T03:43:20+05:30"


def test_a_date_string_is_made_once_a_second(wall: SimpleNamespace) -> None:
    clock = SystemClock()
    first_iso, first_rfc = clock.iso(), clock.rfc5322()
    wall.now += 0.9
    assert clock.iso() is first_iso
    assert clock.rfc5322() is first_rfc
    wall.now += 0.2
    assert clock.iso() != first_iso
    assert parsedate_to_datetime(clock.rfc5322()).timestamp() == 1_700_000_001


def test_a_wall_clock_set_back_shows(wall: SimpleNamespace) -> None:
    clock = SystemClock()
    later = clock.iso()
    wall.now -= 3600
    assert clock.iso() < later


def test_log_time_is_rfc3339() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", SystemClock().iso())
