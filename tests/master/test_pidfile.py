"""One master for each name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gwsmtp.base import procid
from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.master.pidfile import PidFile, read_pidfile

HOLD = """
import sys, pathlib
from gwsmtp.master.pidfile import PidFile
pidfile = PidFile(pathlib.Path(sys.argv[1]))
pidfile.acquire()
pidfile.write(("127.0.0.1:2525",))
print("held", flush=True)
sys.stdin.read()
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "demo.pid"


def test_file_names_its_master_and_vanishes_with_it(path: Path) -> None:
    pidfile = PidFile(path)
    pidfile.acquire()
    pidfile.write(("127.0.0.1:25", "[::1]:25"))
    running = read_pidfile(path)
    assert running is not None
    assert (running.pid, running.start_ticks) == procid.own_id()
    assert running.listen == ("127.0.0.1:25", "[::1]:25")
    assert path.read_text().splitlines()[0] == str(os.getpid())
    pidfile.release()
    pidfile.release()
    assert not path.exists()
    assert read_pidfile(path) is None


def test_living_master_keeps_its_name_and_a_killed_one_loses_it(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(HaltMaster, match=rf"already running \(pid {holder.pid},") as caught:
            PidFile(path).acquire()
        assert caught.value.exit_code == ExitCode.ALREADY_RUNNING
        holder.kill()
        holder.wait()
        assert read_pidfile(path) is None
        pidfile = PidFile(path)
        pidfile.acquire()
        pidfile.release()


@pytest.mark.parametrize("text", ["", "12", "x\ny\n", "1\n1\n"])
def test_content_that_names_nobody_is_nobody(path: Path, text: str) -> None:
    path.write_text(text)
    assert read_pidfile(path) is None


def test_unusable_path_is_one_line(path: Path) -> None:
    with pytest.raises(HaltMaster, match="cannot create") as caught:
        PidFile(path / "none" / "x").acquire()
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_reloads_are_told_beside_the_addresses(tmp_path: Path) -> None:
    pidfile = PidFile(tmp_path / "x.pid")
    pidfile.acquire()
    pidfile.write(("127.0.0.1:25", "[::1]:25"), 3, 2, "line one\nasked=9")
    found = read_pidfile(tmp_path / "x.pid")
    assert found is not None
    assert found.listen == ("127.0.0.1:25", "[::1]:25")
    assert (found.reloads_asked, found.reloads_done) == (3, 2)
    assert found.reload_failure == "line one asked=9"
    pidfile.release()
