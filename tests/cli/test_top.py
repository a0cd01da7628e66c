"""``gwsmtp top``: a frame as text and as JSON, rates from two readings, and the live screen."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gwsmtp.base import procid
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.decision import Reason
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.opened import WallTime
from gwsmtp.cli.reading import frame, read
from gwsmtp.config.loader import load_config
from gwsmtp.limits.hops import HopPlaces
from gwsmtp.limits.layout import CONTROL, Control
from gwsmtp.limits.policy import Limit, Offence
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.shadow import force_shadow
from gwsmtp.limits.slots import (
    DECISION_TOTALS,
    Gauge,
    Role,
    SlotState,
    SlotWriter,
    Total,
    claim_slot,
)
from tests.support.running import REPOSITORY
from tests.support.tablehouse import TableHouse
from tests.support.tables import never_sleep

ONCE = ("top", "--interval", "0.1")


@pytest.fixture
def busy(tables: TableHouse) -> TableHouse:
    """A worker with two sessions, a dead one, an engine and a banned client."""
    tables.writer.sign_in(procid.own_id(), tables.now_ms - 1500)
    tables.writer.set_gauge(Gauge.SESSIONS, 2)
    tables.enter("192.0.2.1")
    tables.enter("192.0.2.1")
    tables.offend("192.0.2.5", Offence.EARLY_TALK, 4)
    dead = SlotWriter(tables.table, claim_slot(tables.table, Role.WORKER, 1, 1, (1, 1), 1))
    dead.sign_in((procid.own_id()[0], 1), tables.now_ms)
    engine = SlotWriter(tables.table, claim_slot(tables.table, Role.ENGINE, 0, 1, (1, 1), 1))
    engine.sign_in(procid.own_id(), tables.now_ms)
    engine.set_state(SlotState.READY, tables.now_ms)
    engine.add_total(Total.REQUESTS, 12)
    engine.add_total(Total.REQUESTS_FAILED, 3)
    queue = SlotWriter(tables.table, claim_slot(tables.table, Role.QUEUE, 0, 1, (1, 1), 1))
    queue.sign_in(procid.own_id(), tables.now_ms)
    queue.set_state(SlotState.READY, tables.now_ms)
    queue.set_gauge(Gauge.QUEUE_ITEMS, 41)
    lock = RangeLock(tables.table, 0, never_sleep)
    hop = HopPlaces(tables.table, 0, lock, 16, 1).at("mx.test", 25)
    assert hop.take(0, 0) and hop.take(0, 0)
    return tables


def shed(tables: TableHouse, count: int) -> None:
    """What a leader that lives has put in."""
    tables.table.lead(procid.own_id(), 1)
    tables.table.words[CONTROL + Control.SHED] = count


def test_one_frame_as_text_without_escape_codes(busy: TableHouse) -> None:
    done = busy.gwsmtp(*ONCE, "--once")
    assert (done.code, done.err) == (ExitCode.OK, "")
    assert "\x1b" not in done.out
    rows = [" ".join(line.split()) for line in done.out.splitlines()]
    assert rows[0].startswith("test: not running, this is what it left behind, counting for ")
    assert rows[1] == "sessions: plain 2/256; pressure 0; clients known: 2"
    assert rows[2] == "next hops: mx.test:25 2/16"
    assert any(row.startswith(f"worker-0 {os.getpid()} 1 ready") for row in rows)
    assert any(row.startswith(f"worker-1 {os.getpid()} 1 dead") for row in rows)
    assert any(
        row.startswith(f"queue-0 {os.getpid()} 1 ready") and row.endswith(" 41") for row in rows
    )
    assert any(row.startswith("engine-0") and row.endswith("12 (0/s) 3") for row in rows)
    clients = [row.split()[0] for row in rows if row.startswith("192.0.2.")]
    assert clients == ["192.0.2.5", "192.0.2.1"]


def test_a_pipe_gets_one_frame_and_an_end(busy: TableHouse) -> None:
    done = busy.gwsmtp(*ONCE)
    assert done.code == ExitCode.OK
    assert done.out.count("counting for") == 1


def test_one_frame_as_json(busy: TableHouse) -> None:
    busy.table.words[CONTROL + Control.PRESSURE] = 2
    busy.table.words[CONTROL + Control.PRESSURE_SINCE_MS] = busy.now_ms - 10_000
    force_shadow(busy.table, Limit.MESSAGES, is_on=True)
    shown = busy.gwsmtp(*ONCE, "--json").json
    assert (shown["running"], shown["pid"]) == (False, None)
    assert shown["listeners"] == [{"name": "plain", "live": 2, "most": 256}]
    assert shown["pressure"]["level"] == 2
    assert shown["pressure"]["since_s"] == pytest.approx(10, abs=3)
    assert shown["shadow"] == ["messages"]
    assert [worker["state"] for worker in shown["workers"]] == ["ready", "dead"]
    assert shown["workers"][0]["sessions"] == 2
    assert shown["workers"][0]["heartbeat_s"] == pytest.approx(1.5, abs=3)
    assert [(queue["number"], queue["items"]) for queue in shown["queues"]] == [(0, 41)]
    assert (shown["engines"][0]["requests"], shown["engines"][0]["failed"]) == (12, 3)
    assert shown["worst"][0]["client"] == "192.0.2.5"
    assert shown["rates"]["over_s"] >= 0.1


def test_how_many_clients_the_kernel_sheds(busy: TableHouse) -> None:
    assert busy.gwsmtp(*ONCE, "--json").json["clients"]["shed"] == 0
    shed(busy, 3)
    assert busy.gwsmtp(*ONCE, "--json").json["clients"]["shed"] == 3
    assert "clients known: 2, 3 shed by the kernel" in busy.gwsmtp(*ONCE).out


def test_nobody_is_shed_for_a_master_that_is_gone(busy: TableHouse) -> None:
    shed(busy, 3)
    busy.table.lead((procid.own_id()[0], 1), 1)
    assert "shed" not in busy.gwsmtp(*ONCE).out


def test_rates_are_what_happened_between_two_readings(busy: TableHouse) -> None:
    config = load_config(busy.config_path)
    before = read(busy.table, busy.policy, busy.now_ms, 10)
    busy.writer.add_total(Total.SESSIONS, 10)
    busy.writer.add_total(Total.SESSIONS_REFUSED, 4)
    busy.writer.add_total(Total.MESSAGES_ACCEPTED, 6)
    busy.writer.add_total(Total.MESSAGES_LOST, 1)
    busy.writer.add_total(Total.OCTETS_IN, 5000)
    busy.writer.totals[DECISION_TOTALS + Reason.PENALTY] += 4
    after = read(busy.table, busy.policy, busy.now_ms + 2000, 10)
    wall = WallTime(SystemClock())
    rates = frame(config, None, before, after, wall)["rates"]
    assert (rates["sessions"], rates["refused"], rates["octets_in"]) == (5, 2, 2500)
    assert rates["messages"]["accepted"] == 3
    assert rates["messages"]["lost"] == 0.5
    assert rates["decisions"] == {"penalty": 2}
    assert frame(config, None, after, after, wall)["rates"] is None


def program(tables: TableHouse, *options: str) -> list[str]:
    code = "from gwsmtp.cli.main import main; main()"
    return [sys.executable, "-c", code, "top", "-c", str(tables.config_path), *options]


def read_until(fd: int, text: bytes, seen: bytes = b"", deadline_s: float = 20) -> bytes:
    """What a terminal got, up to ``text``."""
    ends_at = time.monotonic() + deadline_s
    while text not in seen:
        left_s = ends_at - time.monotonic()
        assert left_s > 0, f"{text!r} is missing in {seen[-2000:]!r}"
        if select.select([fd], [], [], left_s)[0]:
            seen += os.read(fd, 65536)
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_a_terminal_it_goes_on_until_told_and_leaves_the_screen_as_it_was(
    busy: TableHouse, number: signal.Signals
) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        program(busy, "--interval", "0.1"),
        cwd=REPOSITORY,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    ) as process:
        try:
            os.close(slave)
            seen = read_until(master, b"worst clients")
            busy.writer.set_gauge(Gauge.SESSIONS, 77)
            seen = read_until(master, b" 77", seen)
            assert b"\x1b[?1049h" in seen
            process.send_signal(number)
            read_until(master, b"\x1b[?1049l")
            assert process.wait(20) == ExitCode.OK
        finally:
            process.kill()
            os.close(master)


def test_a_table_that_goes_away_ends_it_with_a_line(busy: TableHouse, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    errors = tmp_path / "errors"
    with (
        errors.open("wb") as file,
        subprocess.Popen(
            program(busy, "--interval", "0.1"),
            cwd=REPOSITORY,
            stdin=slave,
            stdout=slave,
            stderr=file,
            env={**os.environ, "TERM": "xterm"},
        ) as process,
    ):
        try:
            os.close(slave)
            read_until(master, b"worst clients")
            busy.path.unlink()
            read_until(master, b"\x1b[?1049l")
            assert process.wait(20) == ExitCode.UNAVAILABLE
        finally:
            process.kill()
            os.close(master)
    assert errors.read_text() == f"gwsmtp: no table {busy.path}: the gateway has not run\n"
