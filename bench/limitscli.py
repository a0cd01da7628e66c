"""bench/limits: what a connection costs in the shared table, in µs of CPU and in memory.

Rounds are interleaved, so that a machine that is slow for a while is slow for all; the median is
told with the lowest and the highest. On fewer processors than processes the holder of the lock is
sometimes not running: the others' tries are in their CPU.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.limitsload import Flood, LookUp, Pair, flood, look_up, pairs
from bench.report import plain_table, spread_of

GOAL, MUST = 10.0, 15.0
"""µs of CPU of one admission with its release, one process alone."""

KINDS = {"same": "one client", "different": "10,000 clients each"}
STEADY_KIB = 1024
EXAMPLES = """\b
Examples:
  bench/limits                          a minute
  bench/limits --processes 1 --sources 0 --rounds 15
  bench/limits --json out.json
"""


@dataclass(frozen=True)
class Run:
    """One round with so many processes: CPU µs a connection (mean of the processes), connections
    a second of all, and how often in a thousand a connection slept for the lock.
    """

    kind: str
    processes: int
    round: int
    cpu_us: float
    rate: float
    waits_permille: float


def run_of(kind: str, number: int, count: int, found: Sequence[Pair]) -> Run:
    """What the processes of one round did, as one."""
    return Run(
        kind,
        len(found),
        number,
        statistics.fmean(pair.cpu_us for pair in found),
        sum(pair.rate for pair in found),
        sum(pair.waits for pair in found) * 1000 / (count * len(found)),
    )


def verdict(runs: Sequence[Run]) -> str:
    """One line for each kind of client: where one process alone stands; empty without any."""
    lines = []
    for kind, name in KINDS.items():
        alone = [run.cpu_us for run in runs if (run.kind, run.processes) == (kind, 1)]
        if alone:
            median = statistics.median(alone)
            met = "goal met" if median <= GOAL else "must met" if median <= MUST else "missed"
            lines.append(f"alone, {name}: {median:.1f} µs (goal {GOAL:g}, must {MUST:g}): {met}")
    return "\n".join(lines)


def print_pairs(runs: Sequence[Run], console: Console) -> None:
    """The table of costs."""
    table = plain_table("one connection in and out")
    for name in ("clients", "processes", "CPU µs", "connections/s", "slept ‰"):
        table.add_column(name, justify="left" if name == "clients" else "right")
    for kind, processes in dict.fromkeys((run.kind, run.processes) for run in runs):
        those = [run for run in runs if (run.kind, run.processes) == (kind, processes)]
        table.add_row(
            KINDS[kind],
            str(processes),
            spread_of(run.cpu_us for run in those).text(1),
            spread_of(run.rate for run in those).text(),
            spread_of(run.waits_permille for run in those).text(1),
        )
    console.print(table)
    console.print(verdict(runs), highlight=False)


def print_look_up(found: LookUp, console: Console) -> None:
    """The three figures of a full table."""
    console.print(
        f"full table: found {found.found_us:.2f} µs, missed {found.missed_us:.2f} µs; "
        f"a newcomer in and out, who puts another out: {found.newcomer_us:.1f} µs",
        highlight=False,
    )


def print_flood(found: Flood, sources: int, console: Console) -> None:
    """Memory, and the client with the pass."""
    grown = found.end_kib - found.full_kib
    console.print(
        f"{sources:,} IPv6 sources: {found.full_kib / 1024:.1f} MiB resident after a quarter, "
        f"{found.end_kib / 1024:.1f} at the end ({'constant' if grown < STEADY_KIB else 'GROWN'}); "
        f"{found.rows:,} rows used; "
        f"a client with a pass: {'let in, remembered' if found.is_pass_admitted else 'FORGOTTEN'}",
        highlight=False,
    )


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(1 <= number <= 32 for number in numbers):
        raise click.BadParameter("numbers from 1 to 32, with commas", param_hint="--processes")
    return numbers


@click.command(name="bench/limits", epilog=EXAMPLES)
@click.option("--rounds", type=click.IntRange(1, 100), default=7, show_default=True)
@click.option(
    "--connections",
    type=click.IntRange(100, 1_000_000),
    default=10_000,
    show_default=True,
    help="Of each process in a round.",
)
@click.option("--processes", default="1,2,4,8", show_default=True)
@click.option(
    "--sources",
    type=click.IntRange(0, 10_000_000),
    default=1_000_000,
    show_default=True,
    help="Of the flood; 0: none.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(
    rounds: int, connections: int, processes: str, sources: int, json_file: Path | None
) -> None:
    """Measures what a connection costs in the table that all workers share.

    Admission and release in µs of CPU for some numbers of processes, on one client and on many;
    look-ups in a full table; memory under a flood of sources. The goal is 10 µs for a process
    alone, 15 µs is a must.
    """
    console = Console() if sys.stdout.isatty() else Console(width=110)
    wanted, runs = _numbers(processes), list[Run]()
    with tempfile.TemporaryDirectory(prefix="gwsmtp-bench-", dir=_memory()) as name:
        folder = Path(name)
        for number in range(1, rounds + 1):
            for count in wanted:
                for kind in KINDS:
                    found = pairs(folder, count, kind, connections)
                    runs.append(run_of(kind, number, connections, found))
        print_pairs(runs, console)
        looked = look_up(folder, connections)
        print_look_up(looked, console)
        flooded = flood(folder, sources) if sources else None
        if flooded is not None:
            print_flood(flooded, sources, console)
    if json_file is not None:
        document: dict[str, Any] = {
            "format": "gwsmtp-bench-limits/1",
            "settings": {"rounds": rounds, "connections": connections, "sources": sources},
            "runs": [asdict(run) for run in runs],
            "look_up": asdict(looked),
            "flood": asdict(flooded) if flooded is not None else None,
        }
        json_file.write_text(json.dumps(document, indent=1) + "\n")


def _memory() -> str | None:
    """Where tables stand in production: in memory."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
