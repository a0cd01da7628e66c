"""The queue's bell: heard when somebody listens, and never in the ringer's way."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.master.listeners import bind_datagrams
from gwsmtp.process.bell import Bell, heard
from gwsmtp.process.context import bell_path


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Bell]:
    one = Bell(tmp_path, "demo")
    yield one
    one.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with bind_datagrams(bell_path(tmp_path, "demo"), None) as one:
        yield one


def test_each_ring_is_heard_once(bell: Bell, listener: socket.socket) -> None:
    for item_id in ("bcd-1", "bcd-2.1"):
        bell.ring(item_id)
    assert heard(listener.fileno()) == ["bcd-1", "bcd-2.1"]
    assert heard(listener.fileno()) == []


def test_what_is_no_id_is_left_out(bell: Bell, listener: socket.socket) -> None:
    for text in ("../../etc/passwd", "", "x" * 1000, "bcd-1\n", "bcd-1"):
        bell.ring(text)
    assert heard(listener.fileno()) == ["bcd-1"]


def test_nobody_listens_or_the_listener_is_full(
    bell: Bell, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bell.ring("bcd-1")
    listener = request.getfixturevalue("listener")
    for _ in range(5000):
        bell.ring("bcd-1")
    assert 0 < len(heard(listener.fileno())) < 5000


def test_a_dead_ones_place_is_taken(tmp_path: Path, bell: Bell) -> None:
    path = bell_path(tmp_path, "demo")
    with bind_datagrams(path, None) as first, bind_datagrams(path, None) as second:
        bell.ring("bcd-1")
        assert heard(first.fileno()) == []
        assert heard(second.fileno()) == ["bcd-1"]
    assert os.stat(path).st_mode & 0o777 == 0o660


def test_a_place_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HaltMaster, match="cannot listen on") as halted:
        bind_datagrams(tmp_path / "none" / "x.sock", None)
    assert halted.value.exit_code == ExitCode.CANNOT_BIND
