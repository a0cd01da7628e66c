"""The lock between processes: exclusive, freed with its holder, and its keeper always found."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gwsmtp.base import procid
from gwsmtp.base.errors import TableError
from gwsmtp.limits.arena import Table, create_table, open_table
from gwsmtp.limits.keeper import find_keeper
from gwsmtp.limits.layout import CONTROL, Control
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock, holder
from gwsmtp.limits.slots import Role, SlotWriter, claim_slot
from tests.support.tables import SECRET, never_sleep
from tests.support.wait import wait_for

HOLDER = CONTROL + Control.LOCK_HOLDER


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = create_table(tmp_path / "test.table", now_ms=1, secret=SECRET)
    yield table
    table.close()


def claim(table: Table, number: int, pid: int = 0) -> int:
    index = claim_slot(table, Role.WORKER, number, 1, procid.own_id(), 1)
    if pid:
        writer = SlotWriter(table, index)
        writer.sign_in((pid, procid.start_ticks(pid)), 1)
        writer.release()
    return index


@contextmanager
def kept_by_another(table: Table, slot: int, *, is_named: bool = True) -> Iterator[int]:
    """A process that holds the lock until the end of the block; yields its pid."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            own = open_table(table.path)
            RangeLock(own, slot, never_sleep).hold()
            if not is_named:
                own.words[HOLDER] = 0
            os.write(write_end, b"x")
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(read_end, 1) == b"x"
        yield pid
    finally:
        os.close(read_end)
        os.close(write_end)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_holder_is_named_and_the_name_goes_with_it(table: Table) -> None:
    slot = claim(table, 0)
    lock = RangeLock(table, slot, never_sleep)
    assert holder(table) is None
    with lock:
        assert holder(table) == slot
    assert holder(table) is None
    with RangeLock(table, OUTSIDER, never_sleep):
        assert holder(table) is None
    assert lock.waits == 0


def test_an_error_inside_lets_go(table: Table) -> None:
    lock = RangeLock(table, 0, never_sleep)
    with pytest.raises(ZeroDivisionError), lock:
        print(1 // 0)
    other = open_table(table.path)
    assert RangeLock(other, 1, never_sleep).try_hold()
    other.close()


def test_two_descriptions_exclude_each_other(table: Table) -> None:
    other = open_table(table.path)
    first, second = RangeLock(table, 0, never_sleep), RangeLock(other, 1, never_sleep)
    assert first.try_hold()
    assert not second.try_hold()
    assert holder(table) == 0
    first.release()
    assert second.try_hold()
    assert not first.try_hold()
    other.close()
    assert first.try_hold(), "closing frees it"


def test_who_waits_sleeps_a_millisecond_a_time_and_is_counted(table: Table) -> None:
    other = open_table(table.path)
    keeper = RangeLock(other, 1, never_sleep)
    keeper.hold()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 30:
            keeper.release()

    lock = RangeLock(table, 0, sleep)
    lock.hold()
    assert slept == [0.001] * 30
    assert lock.waits == 1
    assert holder(table) == 0
    other.close()


def test_who_waits_tries_once_a_pause(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand connections may wait: their tries are what the processor is busy with."""
    tries: list[int] = []

    def fail(self: RangeLock, count: int = 20) -> bool:
        tries.append(count)
        return False

    monkeypatch.setattr(RangeLock, "try_hold", fail)
    with pytest.raises(TableError):
        RangeLock(table, 0, lambda seconds: None).hold(0.01)
    assert tries == [20] + [1] * 10


def test_patience_ends_in_an_error(table: Table) -> None:
    other = open_table(table.path)
    RangeLock(other, 1, never_sleep).hold()
    slept: list[float] = []
    with pytest.raises(TableError, match=r"held for 0\.05"):
        RangeLock(table, 0, slept.append).hold(0.05)
    assert 50 <= len(slept) <= 51
    with pytest.raises(TableError, match="held"):
        RangeLock(table, 0, never_sleep).hold(0)
    other.close()


def test_a_closed_table_is_an_error_and_no_endless_wait(table: Table) -> None:
    other = open_table(table.path)
    lock = RangeLock(other, 0, never_sleep)
    other.close()
    with pytest.raises(TableError, match="not to be had"):
        lock.hold()


def test_the_kernel_frees_it_with_its_holder(table: Table) -> None:
    lock = RangeLock(table, 0, never_sleep)
    with kept_by_another(table, claim(table, 1)) as pid:
        assert not lock.try_hold()
        os.kill(pid, signal.SIGKILL)
        wait_for(lock.try_hold, "the dead process's lock", 5)
        assert holder(table) == 0
        lock.release()


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize("has_slot", [False, True])
def test_the_keeper_is_found_whatever_the_name_says(
    table: Table, has_slot: bool, is_named: bool, is_stopped: bool
) -> None:
    """Named or not (stopped as soon as it had the lock), with a slot or a tool's process."""
    innocent = claim(table, 0, os.getpid())
    slot = claim(table, 1) if has_slot else OUTSIDER
    with kept_by_another(table, slot, is_named=is_named) as pid:
        if has_slot:
            SlotWriter(table, slot).sign_in((pid, procid.start_ticks(pid)), 1)
        if not is_named:
            table.words[HOLDER] = innocent + 1  # of one that died while it held it
        if is_stopped:
            os.kill(pid, signal.SIGSTOP)
        assert find_keeper(table) == (pid, procid.start_ticks(pid))
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: find_keeper(table) is None, "nobody to keep the lock", 5)


def test_nobody_keeps_a_free_lock(table: Table) -> None:
    claim(table, 0, os.getpid())
    assert find_keeper(table) is None
    table.words[HOLDER] = 1
    assert find_keeper(table) is None
