"""bench/tls: its arithmetic, and its smallest run beside a real Postfix."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.programs import ROOT
from bench.tlscli import Run, ratios


def test_ratios_are_taken_within_a_round() -> None:
    runs = [
        Run("rsa", "messages", "gateway", 1, 30.0, 10.0),
        Run("rsa", "messages", "postfix", 1, 20.0, 20.0),
        Run("rsa", "messages", "postfix", 2, 10.0, 40.0),
        Run("rsa", "messages", "gateway", 2, 25.0, 10.0),
        Run("rsa", "messages", "gateway", 3, 99.0, 1.0),
        Run("ecdsa", "messages", "gateway", 1, 1.0, 1.0),
    ]
    assert ratios(runs, "rsa", "messages", "rate") == [1.5, 2.5]
    assert ratios(runs, "rsa", "messages", "cpu_us") == [0.5, 0.25]


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="Postfix's master runs as root only")
def test_smallest_run(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    options = ["--rounds", "1", "--seconds", "1", "--keys", "ecdsa", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "tls"), *options],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(file.read_text())["runs"]
    assert len(runs) == 6
    assert all(run["rate"] > 0 < run["cpu_us"] for run in runs)
    assert "resumed" in done.stdout
