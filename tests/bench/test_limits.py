"""bench/limits: its arithmetic, and its smallest run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.limitscli import Run, run_of, verdict
from bench.limitsload import Pair, flood
from bench.programs import ROOT
from gwsmtp.limits.layout import CLIENT_COUNT


def test_processes_of_a_round_are_one_figure() -> None:
    run = run_of("same", 3, 100, [Pair(10.0, 50.0, 3), Pair(14.0, 70.0, 1)])
    assert run == Run("same", 2, 3, 12.0, 120.0, 20.0)


@pytest.mark.parametrize(
    ("cpu_us", "said"), [(10.0, "goal met"), (10.1, "must met"), (15.1, "missed")]
)
def test_one_process_alone_is_what_the_goal_is_about(cpu_us: float, said: str) -> None:
    runs = [Run("same", 1, n, cpu_us, 1.0, 0.0) for n in range(3)]
    runs += [Run("same", 8, 1, 99.0, 1.0, 0.0), Run("same", 1, 9, 50.0, 1.0, 0.0)]
    assert verdict(runs) == f"alone, one client: {cpu_us:.1f} µs (goal 10, must 15): {said}"


@pytest.mark.full
def test_a_flood_of_sources_takes_no_memory_and_forgets_no_friend(tmp_path: Path) -> None:
    """bench/limits does it with a million."""
    found = flood(tmp_path, 200_000)
    assert found.end_kib - found.full_kib < 1024
    assert found.rows > 0.95 * CLIENT_COUNT
    assert found.is_pass_admitted


@pytest.mark.full
def test_smallest_run(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    options = [
        "--rounds",
        "1",
        "--connections",
        "100",
        "--processes",
        "1,2",
        "--sources",
        "2000",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "limits"), *options, str(file)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text())
    assert [(run["kind"], run["processes"]) for run in document["runs"]] == [
        ("same", 1),
        ("different", 1),
        ("same", 2),
        ("different", 2),
    ]
    assert all(run["rate"] > 0 < run["cpu_us"] for run in document["runs"])
    assert document["look_up"]["found_us"] > 0
    assert document["flood"]["is_pass_admitted"]
    assert "goal 10" in done.stdout
