"""A profile of one worker under load, with py-spy (optional).

py-spy samples from outside, so the worker runs undisturbed code; its raw output is one collapsed
stack a line (``outer;inner COUNT``), which flame graph tools read as it is. Blocks while it runs.
"""

import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

SAMPLES_PER_SECOND = 250
GRACE_SECONDS = 30.0


class SpyMissing(Exception):
    """There is no py-spy here."""


@dataclass(frozen=True)
class Profile:
    """Samples by function: ``own`` while it ran itself, ``total`` also in what it called."""

    samples: int
    own: Counter[str]
    total: Counter[str]


def find_spy() -> str:
    """py-spy beside this Python, or on the path."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if not found:
        raise SpyMissing(f"--profile needs py-spy: {sys.executable} -m pip install py-spy")
    return found


def start_spy(pid: int, seconds: int, output: Path) -> subprocess.Popen[bytes]:
    """Starts sampling a process; py-spy ends by itself after ``seconds``."""
    argv = [find_spy(), "record", "--format", "raw", "--output", str(output)]
    argv += ["--rate", str(SAMPLES_PER_SECOND), "--duration", str(seconds), "--pid", str(pid)]
    # py-spy shows "file:line" by default; one line a function, named with its first line.
    argv += ["--function", "--nonblocking"]
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish_spy(spy: subprocess.Popen[bytes]) -> str:
    """Waits for the end; what it complained about when it failed, else an empty string."""
    try:
        _, words = spy.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        spy.kill()
        spy.communicate()
        return "py-spy did not end"
    return words.decode("utf-8", "replace").strip()[-500:] if spy.returncode else ""


def read_profile(text: str) -> Profile:
    """Collapsed stacks to samples by function; recursion counts once in ``total``."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    samples = 0
    for line in text.splitlines():
        stack, _, number = line.rpartition(" ")
        if not stack or not number.isdigit():
            continue
        frames = stack.split(";")
        count = int(number)
        samples += count
        own[frames[-1]] += count
        total.update(dict.fromkeys(set(frames), count))
    return Profile(samples, own, total)


def print_profile(console: Console, profile: Profile, path: Path, limit: int = 25) -> None:
    """The functions with most self time."""
    table = Table(title=f"{profile.samples} samples: {path}", title_justify="left")
    for heading in ("self", "total"):
        table.add_column(heading, justify="right")
    table.add_column("function", no_wrap=True)
    for name, count in profile.own.most_common(limit):
        table.add_row(
            f"{count / profile.samples:.1%}", f"{profile.total[name] / profile.samples:.1%}", name
        )
    console.print(table)
