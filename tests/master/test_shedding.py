"""The leader's side of shedding, with listeners that note what is put on them."""

import errno
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from gwsmtp.limits.allow import allow
from gwsmtp.limits.arena import Table
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import CONTROL, Client, Control, client_row
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.shedding import MOST_TRIES, SHED_MS, is_filtered, note_try
from gwsmtp.master.shedding import STEP_MS, Shedding
from gwsmtp.net import bpf
from tests.support import bpfmachine
from tests.support.standin import RelayProtection, Source, StandIn, stand_in
from tests.support.tables import make_table

NOW = 10_000_000


class Listener:
    """Keeps its filter. ``fails``: an errno; it has room for ``most`` instructions."""

    def __init__(self) -> None:
        self.filter = b""
        self.changes = 0
        self.fails = 0
        self.most = bpf.MOST_INSTRUCTIONS

    def drops(self, ip: str) -> bool:
        return bool(self.filter) and bpfmachine.run(self.filter, bpfmachine.header_v4(ip))[0] == 0


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    def attach(sock: Listener, octets: bytes) -> None:
        if sock.fails:
            raise OSError(sock.fails, "no")
        if len(octets) > sock.most * bpf.SIZE:
            raise OSError(errno.ENOMEM, "no room")
        sock.filter = octets
        sock.changes += 1

    def detach(sock: Listener) -> None:
        sock.filter = b""
        sock.changes += 1

    monkeypatch.setattr(bpf, "attach", attach)
    monkeypatch.setattr(bpf, "detach", detach)
    return Listener()


class Leader:
    """Steps of a leader, half a second each."""

    def __init__(self, table: Table, tmp_path: Path, *listeners: Listener) -> None:
        self.table = table
        self.config: StandIn = stand_in(tmp_path)
        self.listeners = list(listeners)
        self.now_ms = NOW
        self.shedding = Shedding(table)

    def step(self) -> None:
        self.now_ms += STEP_MS
        sockets = cast(list[socket.socket], self.listeners)
        self.shedding.step(self.config, sockets, self.now_ms)

    @property
    def shed(self) -> int:
        return int(self.table.words[CONTROL + Control.SHED])

    def go_on(self, ip: str) -> int:
        """A client with two bans goes on; the place of its row."""
        peers = Peers(self.table, Placement(self.table))
        place = client_row(peers.take(identify(ip).client, self.now_ms))
        self.table.words[place + Client.STRIKES] = 2
        self.table.words[place + Client.STRIKE_MS] = self.now_ms
        self.table.words[place + Client.PENALTY_UNTIL] = self.now_ms + 2 * SHED_MS
        for _ in range(MOST_TRIES):
            note_try(self.table.words, place, self.now_ms)
        return place


def test_who_goes_on_is_dropped_until_it_is_forgiven(
    table: Table, tmp_path: Path, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    leader = Leader(table, tmp_path, listener)
    leader.step()
    assert not is_filtered(table.words)
    first, second = leader.go_on("192.0.2.1"), leader.go_on("192.0.2.2")
    leader.step()
    assert [listener.drops(f"192.0.2.{n}") for n in (1, 2, 3)] == [True, True, False]
    assert (leader.shed, is_filtered(table.words)) == (2, True)
    table.words[first + Client.PENALTY_UNTIL] = 0
    leader.step()
    assert [listener.drops(f"192.0.2.{n}") for n in (1, 2)] == [False, True]
    table.words[second + Client.PENALTY_UNTIL] = 0
    leader.step()
    assert (listener.filter, leader.shed) == (b"", 0)
    assert is_filtered(table.words)  # a backlog may still hold what was accepted meanwhile
    assert [r.getMessage() for r in caplog.records] == [
        "event=kernel_shedding clients=2",
        "event=kernel_shedding clients=0",
    ]


def test_an_unchanged_filter_costs_no_system_call_and_a_new_listener_gets_it(
    table: Table, tmp_path: Path, listener: Listener
) -> None:
    leader = Leader(table, tmp_path, listener)
    leader.go_on("192.0.2.1")
    for _ in range(5):
        leader.step()
    assert listener.changes == 1
    other = Listener()
    leader.listeners.append(other)
    leader.step()
    assert (listener.changes, other.drops("192.0.2.1")) == (1, True)


def test_it_is_looked_at_twice_a_second(table: Table, tmp_path: Path, listener: Listener) -> None:
    leader = Leader(table, tmp_path, listener)
    leader.step()
    leader.go_on("192.0.2.1")
    sockets = cast(list[socket.socket], leader.listeners)
    leader.shedding.step(leader.config, sockets, leader.now_ms + STEP_MS - 1)
    assert not listener.filter
    leader.shedding.step(leader.config, sockets, leader.now_ms + STEP_MS)
    assert listener.filter


def test_the_allow_list_and_row_64_spare(table: Table, tmp_path: Path, listener: Listener) -> None:
    leader = Leader(table, tmp_path, listener)
    leader.go_on("192.0.2.1")
    leader.go_on("192.0.2.2")
    leader.step()
    assert leader.shed == 2
    leader.config.relay_protection = RelayProtection((Source("192.0.2.2"),))
    leader.step()
    assert (leader.shed, listener.drops("192.0.2.2")) == (1, False)
    allow(table, Source("192.0.2.0/30").parsed, leader.now_ms + 60_000, leader.now_ms)
    leader.step()
    assert (leader.shed, listener.filter) == (0, b"")


@pytest.mark.parametrize("what", ["row 86", "setting", "proxy"])
def test_a_reload_that_switches_it_off_ends_it_and_on_begins_it(
    table: Table, tmp_path: Path, listener: Listener, what: str
) -> None:
    leader = Leader(table, tmp_path, listener)
    leader.go_on("192.0.2.1")
    leader.step()
    before, leader.config = leader.config, stand_in(tmp_path)
    if what == "proxy":
        leader.config.server.proxy_protocol = ("192.0.2.200",)
    elif what == "setting":
        leader.config.dos_protection.kernel_shedding = False
    else:
        leader.config.dos_protection.enabled = False
    leader.step()
    assert (leader.shed, listener.filter) == (0, b"")
    leader.config = before
    leader.step()
    assert listener.drops("192.0.2.1")


def test_a_kernel_that_refuses_is_told_once(
    table: Table, tmp_path: Path, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    fine, bad = listener, Listener()
    bad.fails = errno.EPERM
    leader = Leader(table, tmp_path, fine, bad)
    leader.go_on("192.0.2.1")
    for _ in range(3):
        leader.step()
    (record,) = caplog.records
    assert record.getMessage().startswith("event=kernel_shedding state=off reason=")
    assert (fine.filter, leader.shed) == (b"", 0)


def test_a_kernel_with_less_room_gets_a_shorter_filter(
    table: Table, tmp_path: Path, listener: Listener
) -> None:
    listener.most = 600
    leader = Leader(table, tmp_path, listener)
    for number in range(1000):
        leader.go_on(f"192.0.{number // 250}.{number % 250}")
    for _ in range(4):
        leader.step()
    assert 300 < leader.shed < 500
    assert listener.filter
