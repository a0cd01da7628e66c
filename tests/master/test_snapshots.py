"""The snapshot's file: written whole or not at all, never a reason not to start."""

import logging
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import CONTROL, Client, Control
from gwsmtp.limits.peers import Peers
from gwsmtp.master.snapshots import EVERY_MS, Snapshots
from tests.support.movedclock import MovedClock
from tests.support.tables import make_table
from tests.support.wait import wait_for

CLIENT = identify("192.0.2.7").client


class House:
    """Tables that come and go, and the one file between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "test.table-snapshot"
        self.clock = MovedClock()
        self.lifeline, self._held = os.pipe()
        self.tables: list[Table] = []
        self.begin()

    def begin(self) -> None:
        """A table made anew, and what a leader does with it at first."""
        self.table = make_table()
        self.tables.append(self.table)
        self.snapshots = Snapshots(self.table, self.path, self.clock)
        self.snapshots.load()

    def ban(self, ms: int) -> None:
        peers = Peers(self.table, Placement(self.table))
        place = layout.client_row(peers.take(CLIENT, self.clock.ms))
        self.table.words[place + Client.PENALTY_UNTIL] = self.clock.ms + ms

    @property
    def banned_ms(self) -> int:
        """How long the client stays banned; -1: nobody knows it."""
        row = Peers(self.table, Placement(self.table)).find(CLIENT)
        if row < 0:
            return -1
        until: int = self.table.words[layout.client_row(row) + Client.PENALTY_UNTIL]
        return until - self.clock.ms

    def step(self, ended: dict[int, int] | None = None) -> None:
        self.snapshots.step(ended or {}, 2, self.lifeline, "test")

    def child(self) -> tuple[int, int]:
        """(pid, code) of the process that was forked, once it has ended."""

        def ended() -> tuple[int, int] | None:
            pid, status = os.waitpid(-1, os.WNOHANG)
            return (pid, os.waitstatus_to_exitcode(status)) if pid else None

        found = wait_for(ended, "the end of the writing process", 20)
        assert found is not None
        return found

    def close(self) -> None:
        os.close(self.lifeline)
        os.close(self._held)
        for table in self.tables:
            table.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def test_a_table_is_given_it_once_but_once_whole(house: House) -> None:
    """A master that died while it loaded leaves it to the next; after that the table is right."""
    house.ban(60_000)
    house.snapshots.save()
    house.begin()
    assert house.banned_ms == 60_000
    house.ban(5_000)
    house.snapshots.load()
    assert house.banned_ms == 5_000
    house.table.words[CONTROL + Control.IS_SEEDED] = 0
    house.snapshots.load()
    assert house.banned_ms == 60_000
    assert house.table.is_seeded


def test_the_stop_keeps_it_for_the_next_start(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    house.ban(600_000)
    house.snapshots.save()
    status = house.path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_uid == os.geteuid()
    assert os.listdir(house.folder) == [house.path.name]
    house.clock.ms = 50_000  # booted again
    house.clock.wall_s += 100
    house.begin()
    assert house.banned_ms == 500_000
    assert "event=snapshot_loaded clients=1" in caplog.messages


def test_without_a_file_there_is_nothing_to_say(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    assert house.banned_ms == -1
    assert caplog.messages == []


def test_every_ten_minutes_a_process_writes_it(house: House) -> None:
    house.ban(3_600_000)
    house.clock.pass_ms(EVERY_MS - 1)
    house.step()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    house.clock.pass_ms(1)
    house.step()
    pid, code = house.child()
    assert code == 0
    house.step({pid: code})
    house.begin()
    assert house.banned_ms > 0


def test_a_process_that_hangs_is_ended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Snapshots, "_write", lambda _: signal.pause())
    house.clock.pass_ms(EVERY_MS)
    house.step()
    house.clock.pass_ms(60_001)
    house.step()
    assert house.child()[1] == -signal.SIGKILL


def test_a_process_that_fails_is_told_and_another_comes(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.path.with_name(house.path.name + ".new").mkdir()  # cannot be unlinked
    house.clock.pass_ms(EVERY_MS)
    house.step()
    pid, code = house.child()
    assert code == 1
    house.step({pid: code})
    assert 'event=snapshot_failed reason="ended with 1"' in caplog.messages
    house.path.with_name(house.path.name + ".new").rmdir()
    house.clock.pass_ms(EVERY_MS)
    house.step()
    assert house.child()[1] == 0
    assert house.path.exists()


def test_the_stop_does_not_wait_for_it(house: House) -> None:
    house.clock.pass_ms(EVERY_MS)
    house.step()
    house.ban(3_600_000)
    house.snapshots.save()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    house.begin()
    assert house.banned_ms > 0


def test_a_stop_that_cannot_write_says_so_and_keeps_the_old_one(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.ban(3_600_000)
    house.snapshots.save()
    house.path.with_name(house.path.name + ".new").mkdir()
    house.snapshots.save()
    assert [line.split()[0] for line in caplog.messages] == ["event=snapshot_failed"]
    house.begin()
    assert house.banned_ms > 0


def nonsense(path: Path) -> None:
    path.write_bytes(b"nonsense" * 100)


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[80] ^= 1
    path.write_bytes(data)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [nonsense, halved, flipped, linked, a_directory, a_pipe, empty])
def test_what_cannot_be_used_is_set_aside(
    house: House, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    house.ban(3_600_000)
    house.snapshots.save()
    damage(house.path)
    house.begin()
    assert house.banned_ms == -1
    assert [line.split()[0] for line in caplog.messages] == ["event=snapshot_set_aside"]
    assert not os.path.lexists(house.path)
    assert os.path.lexists(house.path.with_name(house.path.name + ".bad"))
    house.ban(3_600_000)
    house.snapshots.save()  # and the next one takes its place
    house.begin()
    assert house.banned_ms > 0
