"""``gwsmtp engine`` as a user meets it: in processes of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gwsmtp.engine.rules import EICAR

CALL = [sys.executable, "-c", "from gwsmtp.cli.engine import command; command()"]


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CALL, *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )


@contextmanager
def running(address: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*CALL, "run", "--listen", address], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        assert "event=engine_listening" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.full
def test_run_scan_and_ping(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/engine"
    (tmp_path / "good").write_bytes(b"Subject: x\r\n\r\nHello\r\n")
    (tmp_path / "bad").write_bytes(b"Subject: x\r\n\r\n" + EICAR)
    with running(address) as engine:
        good = call("scan", tmp_path / "good", "--address", address)
        assert (good.returncode, good.stdout) == (0, "accept\n")
        bad = call("scan", tmp_path / "bad", "--address", address, "--json")
        verdict = json.loads(bad.stdout)
        assert (verdict["action"], verdict["rule"]) == ("reject", "EICAR")
        pong = json.loads(call("ping", "--address", address, "--json").stdout)
        assert (pong["engine"], pong["license"], pong["takes_descriptors"]) == (
            "gwsmtp",
            "ok",
            True,
        )
        taken = call("run", "--listen", address)
        assert taken.returncode == 71
        assert (
            taken.stderr == f"gwsmtp engine: cannot listen on {address}: Address already in use\n"
        )
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(timeout=10) == 0
    assert not (tmp_path / "engine").exists()


@pytest.mark.full
def test_a_socket_left_behind_is_taken_over(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/engine"
    with running(address) as first:
        first.kill()
        first.wait()
    assert (tmp_path / "engine").exists()
    with running(address) as second:
        assert call("ping", "--address", address).returncode == 0
        second.send_signal(signal.SIGINT)
        assert second.wait(timeout=10) == 0


@pytest.mark.full
def test_no_engine_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"x")
    for arguments in (["ping"], ["scan", tmp_path / "good"]):
        done = call(*arguments, "--address", f"unix:{tmp_path}/nobody")
        assert done.returncode == 69
        assert done.stdout == ""
        last = done.stderr.splitlines()[-1]
        assert last.startswith("gwsmtp engine: ")
        assert "connect failed: No such file or directory" in last
        assert "Traceback" not in done.stderr


@pytest.mark.full
def test_help_has_an_example_and_a_bad_address_is_a_usage_error() -> None:
    for name in ("run", "scan", "ping"):
        shown = call(name, "--help").stdout
        assert f"Example: gwsmtp engine {name}" in shown
        assert "Exit codes:" in shown
    done = call("ping", "--address", "nonsense")
    assert done.returncode == 2
    assert "needs host:port or unix:/path" in done.stderr
