"""bench/attack: its arithmetic, and its smallest run against a real gateway."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.attackers import ATTACKS, source_of
from bench.attackreport import bars, compare, figures, quantile
from bench.attackrun import Message, Round
from bench.programs import ROOT


def message(number: int, ms: float, code: int = 250, arrived: int = 1) -> Message:
    return Message(str(number), "new", float(number), ms, code, "", arrived)


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([], 0.5)) == (50.0, 99.0, 0.0)


def test_every_fate_is_counted_as_what_it_is() -> None:
    messages = [
        message(0, 10),
        message(1, 30, arrived=0),  # accepted and gone
        message(2, 20, arrived=2),
        message(3, 5, 421, arrived=0),
        message(4, 5, 0, arrived=1),  # no answer, yet delivered
        message(5, 5, 554, arrived=0),
    ]
    found = figures(messages, 2.0, 0.5)
    assert (found.count, found.rate, found.cpu, found.worst) == (6, 1.5, 0.25, 30)
    assert (found.lost, found.doubled, found.orphaned) == (1, 1, 1)
    assert (found.deferred, found.refused) == (2, 1)


def test_a_missed_must_and_goal_are_named() -> None:
    found = Round("noop", True, rest_from=0.0, attack_from=10.0, attack_to=20.0)
    found.rest = [message(n, 10) for n in range(10)]
    found.attack = [message(10, 25), message(11, 25, arrived=0), message(12, 1, 421, 0)]
    one = compare(found)
    assert (one.must, one.goal, one.times) == ("1 lost", "1 deferred, p99 2.5 times", 2.5)


def test_the_plot_shows_the_worst_of_each_column_and_what_failed() -> None:
    messages = [message(0, 1), message(0, 20_000), message(5, 1), message(9, 1, 421)]
    assert bars(messages, 0, 10, 3) == ("  !", "█▁▁")


def test_attackers_stay_in_their_own_part_of_loopback() -> None:
    assert len({attack.net for attack in ATTACKS.values()}) == len(ATTACKS)
    for attack in ATTACKS.values():
        sources = {source_of(attack, number) for number in range(2 * attack.sources)}
        assert len(sources) == attack.sources
        assert all(source.startswith(f"127.{attack.net}.") for source in sources)
        assert all(0 < int(source.rpartition(".")[2]) < 255 for source in sources)


@pytest.mark.full
def test_smallest_run(tmp_path: Path) -> None:
    file, rows = tmp_path / "out.json", tmp_path / "out.csv"
    options = ["--attacks", "garbage", "--seconds", "3", "--rest", "1", "--strength", "0.5"]
    options += ["--clients", "5", "--rate", "20", "--json", str(file), "--csv", str(rows)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "attack"), *options],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(file.read_text())["attacks"]
    assert found["must"] == ""
    assert found["attack"]["count"] >= 40
    assert found["attack"]["rate"] > 0 < found["attack"]["cpu"]
    assert found["heard"]["tried"] >= 10
    assert "score" in found["decided"]
    assert (
        len(rows.read_text().splitlines()) == 1 + found["attack"]["count"] + found["rest"]["count"]
    )
    assert "garbage flood: must met" in done.stdout
