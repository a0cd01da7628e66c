"""Burying the dead: only them, whoever keeps the lock meanwhile; and the lock's keeper itself."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base import procid
from gwsmtp.base.clock import SystemClock
from gwsmtp.limits import layout
from gwsmtp.limits.admission import Admission, live_connections
from gwsmtp.limits.arena import Table, create_table, open_table
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import Head
from gwsmtp.limits.ledger import entries
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.slots import Role, SlotWriter, claim_slot, free_slot, read_slot, read_slots
from gwsmtp.master.burial import HOLD_MS, LOOKS, Burial
from tests.support.realclock import RealClock
from tests.support.tables import SECRET, never_sleep
from tests.support.wait import wait_for

OTHER_MASTER = (1 << 22, 1)
"""No process has this number."""


class Clock(RealClock):
    """Its table time stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.ms = 1_000_000

    def boot_ms(self) -> int:
        return self.ms


class Grave:
    """A master's burial over a table, with another description of it to disturb."""

    def __init__(self, path: Path) -> None:
        self.table = create_table(path, now_ms=1, secret=SECRET)
        self.other = open_table(path)
        self.clock = Clock()
        self.burial = Burial(self.table, procid.own_id(), self.clock)
        self.disturber = RangeLock(self.other, 63, never_sleep)

    def worker(self, owner: procid.ProcessId, number: int = 0, connections: int = 0) -> int:
        """A slot with connections in its ledger."""
        index = claim_slot(self.table, Role.WORKER, number, 1, owner, 1)
        lock = RangeLock(self.table, index, never_sleep)
        peers = Peers(self.table, Placement(self.table))
        door = Admission(self.table, index, lock, peers, Policy())
        for n in range(connections):
            assert not door.enter(0, identify(f"192.0.2.{n}"), 1).refused
        return index

    def close(self) -> None:
        self.other.close()
        self.table.close()


@pytest.fixture
def grave(tmp_path: Path) -> Iterator[Grave]:
    grave = Grave(tmp_path / "test.table")
    yield grave
    grave.close()


def waits(grave: Grave) -> bool:
    return grave.burial.is_waiting


def test_the_reaped_are_buried_with_their_connections(
    grave: Grave, caplog: pytest.LogCaptureFixture
) -> None:
    dead, living = grave.worker(procid.own_id(), 0, 5), grave.worker(procid.own_id(), 1, 3)
    grave.burial.bury([dead])
    assert live_connections(grave.table) == (3, 0)
    assert [view.index for view in read_slots(grave.table)] == [living]
    assert not grave.burial.is_waiting
    assert "event=connections_recovered connections=5" in caplog.text


def test_while_others_keep_the_lock_the_dead_wait(
    grave: Grave, caplog: pytest.LogCaptureFixture
) -> None:
    dead = grave.worker(procid.own_id(), 0, 2)
    grave.disturber.hold()
    grave.burial.bury([dead])
    assert grave.burial.is_waiting
    assert read_slot(grave.table, dead) is not None, "a free slot's ledger counts for nothing"
    grave.clock.ms += 700
    grave.disturber.release()
    grave.burial.go_on()
    assert live_connections(grave.table) == (0, 0)
    assert read_slots(grave.table) == []
    assert "connections=2 ms=700" in caplog.text


def test_children_of_a_dead_master_are_found_once_they_are_dead(grave: Grave) -> None:
    living, dead = grave.worker(OTHER_MASTER, 0, 1), grave.worker(OTHER_MASTER, 1, 2)
    writer = SlotWriter(grave.table, living)
    writer.sign_in(procid.own_id(), 1)
    writer.release()
    grave.burial.sweep()
    assert read_slot(grave.table, dead) is None
    assert read_slot(grave.table, living) is not None
    assert live_connections(grave.table) == (1, 0)


def test_a_start_heals_what_free_slots_have_in_their_ledgers(grave: Grave) -> None:
    left = grave.worker(procid.own_id(), 0, 4)
    grave.worker(procid.own_id(), 1, 1)
    free_slot(grave.table, left)
    assert live_connections(grave.table) == (5, 0)
    grave.burial.heal()
    assert live_connections(grave.table) == (1, 0)
    assert entries(grave.table, left) == []


def test_a_start_heals_counts_that_no_ledger_stands_for(grave: Grave) -> None:
    grave.worker(procid.own_id(), 0, 2)
    grave.table.words[layout.CONTROL + layout.Control.LISTENER_LIVE] = 9
    grave.burial.heal()
    assert live_connections(grave.table) == (2, 0)


def test_a_slot_taken_while_healing_waits_is_its_childs(grave: Grave) -> None:
    """The lock is kept at a start; children are forked meanwhile, into slots that were free."""
    grave.disturber.hold()
    grave.burial.heal()
    assert waits(grave)
    grave.disturber.release()
    child = grave.worker(procid.own_id(), 0, 3)
    grave.burial.go_on()
    assert not grave.burial.is_waiting
    view = read_slot(grave.table, child)
    assert view is not None
    assert view.owner == procid.own_id()
    assert live_connections(grave.table) == (3, 0)


def test_a_dead_ones_slot_that_its_own_master_gave_on_is_left_alone(grave: Grave) -> None:
    """Two masters, as in an upgrade: both have seen the same child dead."""
    dead = grave.worker(OTHER_MASTER, 0, 2)
    grave.disturber.hold()
    grave.burial.sweep()
    grave.disturber.release()
    first = Burial(grave.other, OTHER_MASTER, grave.clock)
    first.bury([dead])
    assert grave.worker(procid.own_id(), 5, 1) == dead
    grave.burial.go_on()
    view = read_slot(grave.table, dead)
    assert view is not None
    assert view.number == 5
    assert live_connections(grave.table) == (1, 0)
    assert not grave.burial.is_waiting


# The lock's keeper ----------------------------------------------------------------------------


class Keeper:
    """A process of its own that holds the lock; killed at the end of the test at the latest."""

    def __init__(self, table: Table, slot: int) -> None:
        read_end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                own = open_table(table.path)
                RangeLock(own, slot, never_sleep).hold()
                os.write(write_end, b"x")
                signal.pause()
            finally:
                os._exit(1)
        os.close(write_end)
        assert os.read(read_end, 1) == b"x"
        os.close(read_end)
        writer = SlotWriter(table, slot)
        writer.sign_in((self.pid, procid.start_ticks(self.pid)), 1)
        writer.release()
        self.status: int | None = None

    def is_dead(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def end(self) -> None:
        if not self.is_dead():
            os.kill(self.pid, signal.SIGKILL)
            _, self.status = os.waitpid(self.pid, 0)


@pytest.fixture
def keeper(grave: Grave) -> Iterator[Keeper]:
    keeper = Keeper(grave.table, grave.worker(OTHER_MASTER, 7))
    yield keeper
    keeper.end()


@pytest.mark.parametrize("is_stopped", [True, False])
@pytest.mark.parametrize("is_named", [True, False])
def test_who_keeps_the_lock_half_a_second_is_ended(
    grave: Grave,
    keeper: Keeper,
    caplog: pytest.LogCaptureFixture,
    is_named: bool,
    is_stopped: bool,
) -> None:
    if is_stopped:
        os.kill(keeper.pid, signal.SIGSTOP)
        os.waitpid(keeper.pid, os.WUNTRACED)
    if not is_named:
        grave.table.words[layout.CONTROL + layout.Control.LOCK_HOLDER] = 0
    grave.burial.free_lock()
    assert waits(grave), "the loop's turns come quickly now"
    grave.clock.ms += HOLD_MS - 1
    for _ in range(LOOKS):
        grave.burial.free_lock()
    assert not keeper.is_dead()
    grave.clock.ms += 1
    grave.burial.free_lock()
    wait_for(keeper.is_dead, "the end of the keeper", 5)
    assert f"event=lock_kept child=worker-7 pid={keeper.pid} stopped={is_stopped}" in caplog.text
    grave.burial.free_lock()
    assert not grave.burial.is_waiting
    grave.burial.sweep()
    assert read_slots(grave.table) == []


def test_a_master_that_stood_still_itself_ends_nobody(grave: Grave, keeper: Keeper) -> None:
    grave.burial.free_lock()
    grave.clock.ms += 10 * HOLD_MS
    for _ in range(LOOKS - 1):
        grave.burial.free_lock()
    assert not keeper.is_dead()


def test_a_lock_that_changes_hands_ends_nobody(grave: Grave, keeper: Keeper) -> None:
    grave.burial.free_lock()
    grave.clock.ms += HOLD_MS
    keeper.end()
    grave.disturber.hold()  # this process, as the next one
    for _ in range(LOOKS):
        grave.burial.free_lock()
    grave.disturber.release()
    grave.burial.free_lock()
    assert not grave.burial.is_waiting


@pytest.mark.full
def test_a_busy_lock_ends_nobody(grave: Grave, caplog: pytest.LogCaptureFixture) -> None:
    """Another takes it as fast as it can, for longer than one may keep it."""
    burial = Burial(grave.table, procid.own_id(), SystemClock())
    pid = os.fork()
    if pid == 0:
        lock = RangeLock(open_table(grave.table.path), 5, never_sleep)
        while True:
            if lock.try_hold():
                lock.release()
    try:
        ends_at = time.monotonic() + 3 * HOLD_MS / 1000
        while time.monotonic() < ends_at:
            burial.free_lock()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert "lock_kept" not in caplog.text


def test_the_log_of_burials_is_a_warning(grave: Grave, caplog: pytest.LogCaptureFixture) -> None:
    grave.burial.bury([grave.worker(procid.own_id(), 0, 1)])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_slot_nobody_signed_in_is_buried_too(grave: Grave) -> None:
    index = grave.worker(OTHER_MASTER)
    assert grave.table.words[layout.slot_head(index) + Head.PID] == 0
    grave.burial.sweep()
    assert read_slots(grave.table) == []
