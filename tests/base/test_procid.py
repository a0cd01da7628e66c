"""Naming a process by pid and start time."""

import os
import subprocess
import sys
from pathlib import Path

from gwsmtp.base import procid


def test_own_id_is_alive() -> None:
    pid, ticks = procid.own_id()
    assert pid == os.getpid()
    assert ticks > 0
    assert procid.is_alive(pid, ticks)


def test_same_pid_with_another_start_time_is_another_process() -> None:
    pid, ticks = procid.own_id()
    assert not procid.is_alive(pid, ticks + 1)
    assert not procid.is_alive(pid, 0)
    assert not procid.is_alive(0, ticks)


def test_zombie_and_reaped_processes_are_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ticks = procid.start_ticks(child.pid)
    assert procid.is_alive(child.pid, ticks)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{child.pid}").exists()
    assert not procid.is_alive(child.pid, ticks)
    child.communicate()
    assert procid.start_ticks(child.pid) == 0


def test_name_with_parentheses_does_not_shift_the_fields(tmp_path: Path) -> None:
    odd = tmp_path / "a) Z 1 (b"
    odd.symlink_to("/bin/cat")
    child = subprocess.Popen([str(odd)], stdin=subprocess.PIPE)
    try:
        assert procid.is_alive(child.pid, procid.start_ticks(child.pid))
    finally:
        child.communicate()


def test_boot_id_is_stable() -> None:
    assert len(procid.boot_id()) == 16
    assert procid.boot_id() == procid.boot_id()
