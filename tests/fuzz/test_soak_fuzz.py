"""Soak: many inputs for every target, guided by coverage; and what a finding looks like.

The number of inputs is fixed (``--soak-inputs``), whatever ``--soak-minutes`` says: it is what the
project promises, and the time it takes is the machine's.
"""

import os
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.campaign import Campaign, FindingError, Job, divide
from tests.fuzz.planted import PLANTED
from tests.fuzz.progress import progress
from tests.support.running import REPOSITORY

pytestmark = pytest.mark.soak


def test_nothing_is_found(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    total = int(request.config.getoption("--soak-inputs"))
    cores = len(os.sched_getaffinity(0))
    jobs = divide(total, cores, int(request.config.getoption("--soak-seed")))
    with progress(sum(job.runs for job in jobs)) as advanced:
        done = Campaign(tmp_path, cores).run(jobs, advanced)
    runs: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for job, count, spent in done:
        runs[job.target] += count
        seconds[job.target] += round(spent)
    for target, count in runs.items():
        rate = count / max(seconds[target], 1)
        print(f"fuzz: {target}: {count:,} inputs, {rate:,.0f} a second and process")
    assert sum(runs.values()) >= total


@pytest.mark.parametrize("bug", ["data ends at LF.LF", "a next hop's reply is unbounded"])
def test_finding_stops_all_and_says_how_to_repeat_it(bug: str, tmp_path: Path) -> None:
    """Two processes, of which the other one has far more to do."""
    jobs = [Job(0, PLANTED[bug][0], 1_000_000, 5), Job(1, "address", 1_000_000_000, 5)]
    with pytest.raises(FindingError, match="finding in") as caught:
        Campaign(tmp_path, 2, plant=bug).run(jobs, lambda count: None)
    said = re.search("repeat it: (.*)", str(caught.value))
    assert said, str(caught.value)
    command = shlex.split(said[1])
    assert command[0] == ".venv/bin/python"
    repeated = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert repeated.returncode != 0
    assert "AssertionError" in repeated.stderr
