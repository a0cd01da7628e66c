"""bench/idle: its arithmetic, its load, and its smallest run on a real gateway."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.idlecli import GOALS, Run, document
from bench.idleload import herd
from bench.programs import ROOT, ProgramFailed

KIB = 1024


def run(none: int, half: int, everything: int, mode: str = "plain") -> Run:
    return Run(mode, 100, none * KIB, half * KIB, everything * KIB, 1.0)


def test_a_session_costs_what_it_added() -> None:
    made = run(1000, 1400, 1900)
    assert (made.kib, made.second_half_kib) == (9.0, 10.0)


def test_an_odd_count_has_the_larger_second_half() -> None:
    assert Run("plain", 3, 0, 10 * KIB, 30 * KIB, 1.0).second_half_kib == 10.0


@pytest.mark.parametrize(
    ("half", "everything", "is_met"), [(1550, 2100, True), (1400, 2000, False), (1600, 2101, False)]
)
def test_the_larger_figure_decides(half: int, everything: int, is_met: bool) -> None:
    assert run(1000, half, everything).is_met is is_met


def test_each_kind_has_its_goal() -> None:
    made = [run(0, 1500, 3000), run(0, 1500, 3000, "tls")]
    assert [made_run["met"] for made_run in document(made)["runs"]] == [False, True]


@pytest.mark.full
def test_a_refused_session_is_a_failure_with_its_words() -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        with (
            herd(bound.getsockname(), 3, is_tls=False) as sessions,
            pytest.raises(ProgramFailed, match="Connection refused"),
        ):
            sessions.open(3)


@pytest.mark.full
def test_smallest_run(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "idle"), "--sessions", "120", "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(file.read_text())["runs"]
    assert [one["mode"] for one in runs] == list(GOALS)
    assert all(one["none_octets"] < one["half_octets"] < one["all_octets"] for one in runs)
    assert runs[0]["kib"] < runs[1]["kib"]
    assert "met" in done.stdout or "missed" in done.stdout
