"""bench/throughput beside other servers: Postfix's before-queue filter and Haraka."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import cli, haraka, postfix
from bench.programs import ROOT, ProgramFailed


def smallest_run(tmp_path: Path, systems: str) -> tuple[str, dict[str, Any]]:
    """What it printed, and its file."""
    file = tmp_path / "out.json"
    options = ["--pure", "--pairs", "1", "--messages", "100", "--systems", systems]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "throughput"), *options, "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(file.read_text())
    return done.stdout, document


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="Postfix's master runs as root only")
def test_smallest_run_beside_postfix(tmp_path: Path) -> None:
    printed, document = smallest_run(tmp_path, "gateway,postfix_filter")
    assert "times postfix_filter's rate (goal 2, must 1.5)" in printed
    assert "times postfix_filter's rate (goal 2, must 2)" in printed
    for mode in ("new", "persistent"):
        figures = document["summary"][mode]
        assert figures["postfix_filter"]["total_us"]["median"] > 10
        assert figures["gateway"]["rate_to_postfix_filter"]["median"] > 0


@pytest.mark.full
def test_smallest_run_beside_haraka_where_it_is(tmp_path: Path) -> None:
    printed, document = smallest_run(tmp_path, "smtp-sink,haraka")
    reason = haraka.why_not()
    assert (f"haraka is left out: {reason}" in printed) == bool(reason)
    assert ("haraka" in document["summary"]["new"]) == (not reason)


def test_a_system_that_is_not_there_is_left_out_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(haraka, "_PACKAGE", tmp_path / "none")
    assert cli.those_there(["gateway", "haraka"], Console(width=110)) == ("gateway",)
    assert capsys.readouterr().out.count("\n") == 1
    with pytest.raises(ProgramFailed, match="no system is left"):
        cli.those_there(["haraka"], Console(width=110))


def test_postfix_is_left_out_where_one_is_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root only" in postfix.why_not()
