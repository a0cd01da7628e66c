"""What the leader reads of its gateway, and what it publishes; the time is the test's."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import CLIENT_TAGS, CONTROL, Client, Control
from gwsmtp.limits.pressure import Cause, PressureView, read_pressure
from gwsmtp.limits.slots import (
    UNKNOWN_ROOM,
    Gauge,
    Role,
    SlotState,
    SlotWriter,
    claim_slot,
    free_slot,
)
from gwsmtp.master.pressure import PressureWatch
from tests.support.standin import StandIn, stand_in
from tests.support.tables import make_table

START = 1_000_000


class House:
    """A table with two ready workers, and the leader's look at it."""

    def __init__(self, table: Table, folder: Path) -> None:
        self.table = table
        self.config: StandIn = stand_in(folder)
        self.config.server.max_inbound_connections = 100
        self.now_ms = START
        self.workers = [self._child(Role.WORKER, number) for number in range(2)]
        self.queues = [self._child(Role.QUEUE, number) for number in range(2)]
        self.watch = PressureWatch(table, folder, START)

    def _child(self, role: Role, number: int) -> SlotWriter:
        index = claim_slot(self.table, role, number, 1, (1, 1), START)
        writer = SlotWriter(self.table, index)
        writer.sign_in((2, 2), START)
        writer.set_state(SlotState.READY, START)
        return writer

    def say_free(self, octets: int, *, queue: int = 0, after_ms: int = 0) -> None:
        """A queue has looked at the spool."""
        self.now_ms += after_ms
        self.queues[queue].set_gauge(Gauge.SPOOL_FREE, octets)
        self.queues[queue].set_gauge(Gauge.SPOOL_LOOKED_MS, self.now_ms)

    def connect(self, plain: int, ssl: int = 0) -> None:
        words = self.table.words
        words[CONTROL + Control.LISTENER_LIVE] = plain
        words[CONTROL + Control.LISTENER_LIVE + 1] = ssl

    def look(self, after_ms: int = 1_000, *, beats: bool = True) -> tuple[int, Cause]:
        """Level and cause after that time, in which workers gave signs of life."""
        self.now_ms += after_ms
        if beats:
            for worker in self.workers:
                worker.beat(self.now_ms)
        self.watch.step(self.config, self.now_ms)
        found = read_pressure(self.table.words)
        return found.level, found.cause


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    table = make_table()
    house = House(table, tmp_path)
    yield house
    for child in house.workers + house.queues:
        child.release()
    table.close()


def test_connections_of_the_fuller_listener(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert house.look() == (0, Cause.NONE)
    house.connect(90)
    assert house.look() == (1, Cause.CONNECTIONS)
    assert read_pressure(house.table.words) == PressureView(1, Cause.CONNECTIONS, house.now_ms)
    house.connect(97)
    assert house.look() == (2, Cause.CONNECTIONS)
    house.connect(10)
    assert house.look(29_000) == (2, Cause.CONNECTIONS)
    assert house.look() == (0, Cause.NONE)
    house.connect(10, 64)  # the SSL listener is off, whatever stands there
    assert house.look() == (0, Cause.NONE)
    house.config.ssl.enabled = True
    assert house.look() == (2, Cause.CONNECTIONS)
    levels = [line for line in caplog.messages if line.startswith("event=pressure ")]
    assert levels == [
        "event=pressure level=1 cause=connections",
        "event=pressure level=2 cause=connections",
        "event=pressure level=0 cause=none",
        "event=pressure level=2 cause=connections",
    ]


def test_it_looks_once_a_second(house: House) -> None:
    house.look()
    house.connect(99)
    assert house.look(999)[0] == 0
    assert house.look(1)[0] == 2


def test_the_longest_wait_of_a_workers_scans(house: House) -> None:
    house.workers[1].set_gauge(Gauge.SCAN_WAIT, 499)
    assert house.look() == (0, Cause.NONE)
    house.workers[0].set_gauge(Gauge.SCAN_WAIT, 500)
    assert house.look() == (1, Cause.SCANS)
    house.workers[0].set_state(SlotState.DRAINING, house.now_ms)
    assert house.look(40_000) == (0, Cause.NONE)


def test_a_loop_that_is_late_or_stands_still(house: House) -> None:
    house.workers[1].set_gauge(Gauge.LOOP_LAG_US, 600_000)
    assert house.look() == (1, Cause.LOOP)
    house.workers[1].set_gauge(Gauge.LOOP_LAG_US, 0)
    assert house.look(30_000) == (0, Cause.NONE)
    assert house.look(1_400, beats=False) == (0, Cause.NONE)
    assert house.look(1_000, beats=False) == (1, Cause.LOOP)
    assert house.look(1_000, beats=False) == (2, Cause.LOOP)


def test_free_octets_of_the_spool(house: House) -> None:
    house.config.delivery.min_free = 1000
    house.say_free(4000)
    assert house.look() == (0, Cause.NONE)
    house.say_free(3999)
    assert house.look() == (1, Cause.SPOOL)
    house.say_free(1999)
    assert house.look() == (2, Cause.SPOOL)
    house.config.delivery.min_free = 0
    house.say_free(1999, after_ms=30_000)
    assert house.look() == (0, Cause.NONE)


def test_the_newest_word_of_two_queues_counts(house: House) -> None:
    house.config.delivery.min_free = 1000
    house.say_free(9000)
    house.say_free(1, queue=1, after_ms=-1)
    assert house.look() == (0, Cause.NONE)
    house.say_free(1, queue=1, after_ms=1)
    assert house.look() == (2, Cause.SPOOL)


def test_a_queue_that_is_gone_has_said_it_nevertheless(house: House) -> None:
    house.config.delivery.min_free = 1000
    house.say_free(3999)
    assert house.look() == (1, Cause.SPOOL)
    for queue in house.queues:
        free_slot(house.table, queue.index)
    assert house.look(9_000) == (1, Cause.SPOOL)
    assert house.look(31_000) == (0, Cause.NONE)


def test_a_spool_of_which_nobody_says_anything_is_told_once(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From ten seconds on: whatever was said before, and if nothing ever was."""
    caplog.set_level(logging.INFO)
    house.config.delivery.min_free = 1000
    house.look(10_000)
    assert caplog.messages == []
    house.look()
    house.look()
    unseen = f"event=spool_unseen path={tmp_path} reason="
    assert caplog.messages == [unseen + '"no answer for 11 s"']
    house.say_free(1999, after_ms=900)
    assert house.look(100) == (2, Cause.SPOOL)
    assert caplog.messages[1] == f"event=spool_seen path={tmp_path}"
    caplog.clear()
    house.look(31_000)
    assert house.look(31_000) == (0, Cause.NONE)
    assert caplog.messages[0].startswith(unseen)
    assert len(caplog.messages) == 2


def test_a_spool_that_refuses_to_say_is_none_to_worry_about(house: House) -> None:
    house.config.delivery.min_free = 1000
    house.say_free(UNKNOWN_ROOM)
    assert house.look() == (0, Cause.NONE)


def test_passes_are_counted_every_ten_seconds(house: House) -> None:
    words = house.table.words
    for row in range(7):
        words[CLIENT_TAGS + row * 9000] = 1 + row
        words[layout.client_row(row * 9000) + Client.PASS_UNTIL] = START + 15_000
    words[layout.client_row(4) + Client.PASS_UNTIL] = START + 15_000  # of one put out of his row
    house.look()
    assert words[CONTROL + Control.PASSES] == 7
    words[CLIENT_TAGS + 5] = 9
    words[layout.client_row(5) + Client.PASS_UNTIL] = START + 15_000
    house.look(8_000)
    assert words[CONTROL + Control.PASSES] == 7
    house.look(2_000)
    assert words[CONTROL + Control.PASSES] == 8
    house.look(10_000)
    assert words[CONTROL + Control.PASSES] == 0


def test_a_new_leader_goes_on_from_what_the_table_says(house: House, tmp_path: Path) -> None:
    house.connect(99)
    house.look()
    house.connect(0)
    house.watch = PressureWatch(house.table, tmp_path, house.now_ms)
    assert house.look(29_000) == (2, Cause.CONNECTIONS)
    assert house.look() == (0, Cause.NONE)
