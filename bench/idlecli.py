"""bench/idle: what a session that says nothing costs in memory, plain and over TLS.

A fresh gateway for each kind; a warm-up of a tenth of the sessions comes and goes, so that what is
loaded, cached and reserved once is not counted; then half of the sessions, then the rest. Memory
is the unique set size (USS) of the workers: what would be free if they ended. Two figures: all
sessions against none, and the second half alone, which owes nothing to what the warm-up left
behind; the verdict takes the larger.

Not counted: the kernel's memory (two sockets' structures and buffers a session), the engine, the
master, and the clients, which live in a process of their own.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from bench.cli import names_from
from bench.cpu import WORKER_TITLE, title_of, tree_of
from bench.idleload import Herd, herd
from bench.programs import ROOT, Program, ProgramFailed
from bench.report import plain_table
from bench.tlscli import make_certificate, start_gateway

GOALS = {"plain": 11.0, "tls": 40.0}
"""KiB a session."""
SESSIONS = 5000
MOST_SESSIONS = 5400  # one client may hold a tenth of the listener's places, of at most 65,535
BATCH = 100
GONE_SECONDS = 30.0
SETTLE_SECONDS = 1.0  # what was queued when the last session was opened is done by then
NOBODY = ("127.0.0.1", 1)  # the next hop: no message is sent

EXAMPLES = """\b
Examples:
  bench/idle                              5,000 sessions of each kind
  bench/idle --sessions 500 --modes tls --json out.json
"""


@dataclass(frozen=True)
class Run:
    """One kind of sessions; ``*_octets`` are the USS of all workers together."""

    mode: str
    sessions: int
    none_octets: int
    half_octets: int
    all_octets: int
    open_seconds: float

    @property
    def kib(self) -> float:
        """KiB a session."""
        return (self.all_octets - self.none_octets) / self.sessions / 1024

    @property
    def second_half_kib(self) -> float:
        """KiB for each session of the second half."""
        second = self.sessions - self.sessions // 2
        return (self.all_octets - self.half_octets) / second / 1024

    @property
    def is_met(self) -> bool:
        """Whether the larger figure is within the goal."""
        return max(self.kib, self.second_half_kib) <= GOALS[self.mode]


def memory_of(program: Program) -> int:
    """USS of the workers in octets."""
    time.sleep(SETTLE_SECONDS)
    workers = [one for one in tree_of(program.pid) if WORKER_TITLE.match(title_of(one.pid))]
    if not workers:
        raise program.failure("has no workers")
    return sum(int(worker.memory_full_info().uss) for worker in workers)


def sessions_of(configuration: Path) -> int:
    """Live sessions, as ``gwsmtp status`` says."""
    code = "import sys; from gwsmtp.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "--json", "-c", str(configuration)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise ProgramFailed(f"gwsmtp status: {done.stderr.strip()}")
    return int(json.loads(done.stdout)["sessions"])


def await_sessions(configuration: Path, wanted: int) -> None:
    """Until the gateway itself counts ``wanted`` sessions; ProgramFailed when it does not."""
    ends = time.monotonic() + GONE_SECONDS
    while (found := sessions_of(configuration)) != wanted:
        if time.monotonic() > ends:
            raise ProgramFailed(f"the gateway counts {found} sessions, not {wanted}")
        time.sleep(0.1)


def open_all(sessions: Herd, count: int, tick: Callable[[int], None]) -> None:
    """In batches, so that progress is seen."""
    for first in range(0, count, BATCH):
        batch = min(BATCH, count - first)
        sessions.open(batch)
        tick(batch)


def measure(mode: str, count: int, folder: Path, tick: Callable[[int], None]) -> Run:
    """One gateway, warmed up, with none, half and all of the sessions."""
    certificate, key = make_certificate(folder, "rsa")
    gateway = start_gateway(
        *(folder, NOBODY, certificate, key),
        connections=min(12 * count, 65535),
        timeouts="relaxed",  # the manual's would end a session before all are there
    )
    configuration = folder / "gateway" / "gwsmtp.yaml"
    try:
        with herd(gateway.plain, count, is_tls=mode == "tls") as sessions:
            open_all(sessions, max(count // 10, 1), lambda _opened: None)
            sessions.close()
            await_sessions(configuration, 0)
            none = memory_of(gateway.program)
            began = time.monotonic()
            open_all(sessions, count // 2, tick)
            seconds = time.monotonic() - began
            half = memory_of(gateway.program)
            began = time.monotonic()
            open_all(sessions, count - count // 2, tick)
            seconds += time.monotonic() - began
            await_sessions(configuration, count)
            everything = memory_of(gateway.program)
            sessions.prove()
        return Run(mode, count, none, half, everything, seconds)
    finally:
        gateway.program.end()


def print_report(runs: list[Run], console: Console) -> None:
    """One line a kind of sessions."""
    table = plain_table("KiB of the workers' USS a session")
    for name in ("sessions", "count", "all", "second half", "goal", "verdict", "opened a second"):
        table.add_column(name, justify="left" if name == "sessions" else "right")
    for run in runs:
        table.add_row(
            *(run.mode, f"{run.sessions:,}", f"{run.kib:.1f}", f"{run.second_half_kib:.1f}"),
            *(f"{GOALS[run.mode]:.0f}", "met" if run.is_met else "missed"),
            f"{run.sessions / max(run.open_seconds, 1e-9):,.0f}",
        )
    console.print(table)
    console.print("1 KiB is 1,024 octets; the kernel's memory is not counted.", highlight=False)


def document(runs: list[Run]) -> dict[str, Any]:
    """The JSON file."""
    settings = {"kernel": platform.release(), "python": platform.python_version()}
    figures = [
        {**asdict(run), "kib": run.kib, "second_half_kib": run.second_half_kib, "met": run.is_met}
        for run in runs
    ]
    return {"format": "gwsmtp-bench-idle/1", "settings": settings, "runs": figures}


@click.command(
    name="bench/idle", epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--sessions", type=click.IntRange(2, MOST_SESSIONS), default=SESSIONS, show_default=True
)
@click.option("--modes", default=",".join(GOALS), show_default=True, help="plain, tls or both.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(sessions: int, modes: str, json_file: Path | None) -> None:
    """Measures the memory of sessions that say nothing after EHLO, plain and behind STARTTLS.

    The goals are 11 KiB a plain session and 40 KiB one over TLS.
    """
    console = Console() if sys.stdout.isatty() else Console(width=110)
    wanted = names_from(modes, list(GOALS), "--modes")
    runs: list[Run] = []
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sessions"),
        console=console,
        transient=True,
        auto_refresh=False,
        disable=not console.is_terminal,
    )
    try:
        with bar:
            for mode in wanted:
                task = bar.add_task(mode, total=sessions)
                with tempfile.TemporaryDirectory(prefix="gwsmtp-bench-") as name:
                    folder = Path(name)
                    folder.chmod(0o755)
                    tick = partial(_advance, bar, task)
                    runs.append(measure(mode, sessions, folder, tick))
    except (ProgramFailed, psutil.Error) as error:
        raise click.ClickException(str(error)) from error
    print_report(runs, console)
    if json_file is not None:
        json_file.write_text(json.dumps(document(runs), indent=1) + "\n")


def _advance(bar: Progress, task: TaskID, opened: int) -> None:
    bar.update(task, advance=opened, refresh=True)
