"""The command line of bench/throughput. Only this module of the bench reads arguments.

Contract: exit code 0 = all figures are good, 1 = a program or a run failed (nothing of it is
reported), 2 = wrong arguments, 130 = interrupted. Whatever happens, every program started is ended.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import haraka, postfix, report, spy
from bench.cpu import TreeChanged, busiest_worker
from bench.programs import (
    ROOT,
    ProgramFailed,
    Starter,
    compiled,
    gateway_starter,
    start_bare_proxy,
    start_sink_alone,
)
from bench.runs import MODES, Load, Run, RunFailed, measure, rounds, running

STARTERS: dict[str, Starter] = {
    report.CEILING: start_sink_alone,
    report.YARDSTICK: start_bare_proxy,
}
USUAL = (*STARTERS, report.GATEWAY)
PEERS: dict[str, tuple[Starter, Callable[[], str]]] = {
    postfix.FILTER: (postfix.start_filter, postfix.why_not),
    haraka.NAME: (haraka.start, haraka.why_not),
}
STARTERS |= {name: starter for name, (starter, _) in PEERS.items()}
SYSTEMS = (*USUAL, *PEERS)
MESSAGES = {"new": 6000, "persistent": 12000}
QUICK_MESSAGES = {"new": 2000, "persistent": 4000}
PAIRS, QUICK_PAIRS = 7, 3
MOST_MESSAGES, MOST_PAIRS = 200_000, 100

EXAMPLES = """\b
Examples:
  bench/throughput --quick                  under a minute
  bench/throughput --pairs 15 --json out.json
  bench/throughput --systems gateway,postfix_filter,haraka     beside other servers
  bench/throughput --modes new --compare main        this tree against a commit
  bench/throughput --compare ../other-checkout --systems smtp-sink
  bench/throughput --profile 10 --modes persistent   where a worker's time goes
"""


@dataclass(frozen=True)
class Plan:
    """What is run."""

    modes: tuple[str, ...]
    messages: dict[str, int]
    pairs: int
    systems: tuple[str, ...]
    fresh_each_round: bool
    before: str | None
    pure: bool


def names_from(text: str, known: Sequence[str], option: str) -> tuple[str, ...]:
    """A comma-separated choice in the given order."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"{unknown[0]!r}; known: {', '.join(known)}", param_hint=option)
    if not names:
        raise click.BadParameter("nothing chosen", param_hint=option)
    return names


def those_there(systems: Sequence[str], console: Console) -> tuple[str, ...]:
    """The systems that can be run here; says in one line why one cannot."""
    present = []
    for name in systems:
        if name in PEERS and (reason := PEERS[name][1]()):
            console.print(f"{name} is left out: {reason}", highlight=False)
        else:
            present.append(name)
    if not present:
        raise ProgramFailed("no system is left to run")
    return tuple(present)


@contextmanager
def checkout_of(where: str) -> Iterator[Path]:
    """A folder with another state of the gateway: a folder as it is, or a revision unpacked."""
    if (Path(where) / "gwsmtp").is_dir():
        yield Path(where).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="gwsmtp-before-") as folder:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", "--format=tar", where, "gwsmtp", "packaging"],
            capture_output=True,
            check=False,
        )
        if archive.returncode:
            reason = archive.stderr.decode("utf-8", "replace").strip()
            raise click.BadParameter(
                f"{where!r} is neither a checkout nor a revision: {reason}", param_hint="--compare"
            )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


class Meter:
    """Progress: a bar on a terminal, one plain line a run otherwise."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._done = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("messages"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            auto_refresh=False,  # no thread: the bench forks
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tick(self, messages: int) -> None:
        """Messages of the present run that have arrived."""
        self._bar.update(self._task, completed=self._done + messages, refresh=True)

    def finished(self, run: Run) -> None:
        self._done += run.messages
        label = f"{run.mode} {run.round + 1}"
        self._bar.update(self._task, completed=self._done, description=label, refresh=True)
        if not self._console.is_terminal:
            cpu = f", {run.total_us:.0f} µs CPU a message" if run.total_us is not None else ""
            self._console.print(
                f"{run.mode} round {run.round + 1} {run.system}: {run.rate:,.0f} messages/s{cpu}",
                highlight=False,
            )


def run_plan(plan: Plan, starters: dict[str, Starter], console: Console) -> list[Run]:
    """All rounds of all modes."""
    runs: list[Run] = []
    total = sum(plan.messages[mode] for mode in plan.modes) * plan.pairs * len(starters)
    names = list(starters)
    with Meter(console, total) as meter:
        for mode in plan.modes:
            load = Load(mode, plan.messages[mode])
            step = 1 if plan.fresh_each_round else plan.pairs
            for first in range(0, plan.pairs, step):
                with running(starters) as fleet:
                    numbers = range(first, first + step)
                    for run in rounds(fleet, names, load, numbers, meter.tick):
                        runs.append(run)
                        meter.finished(run)
    return runs


def run_profile(mode: str, seconds: int, system: str, starter: Starter, console: Console) -> Path:
    """Loads one system for a while, samples its busiest worker, prints where the time went."""
    output = ROOT / "bench" / "out" / f"{system}-{mode}.stacks"
    output.parent.mkdir(exist_ok=True)
    spy.find_spy()
    with running({system: starter}) as fleet:
        load = Load(mode, 1000)
        measure(fleet, system, -1, load, lambda _done: None)
        sampler = spy.start_spy(busiest_worker(fleet.systems[system].program.pid), seconds, output)
        try:
            for number in range(1000):  # bounded; in practice py-spy ends first
                measure(fleet, system, number, load, lambda _done: None)
                if sampler.poll() is not None:
                    break
        finally:
            if sampler.poll() is None:
                sampler.terminate()
            complaint = spy.finish_spy(sampler)
    if complaint:
        raise RunFailed(f"py-spy: {complaint}")
    spy.print_profile(console, spy.read_profile(output.read_text()), output)
    return output


def settings_of(plan: Plan) -> dict[str, object]:
    """How a report was taken."""
    return {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **asdict(plan),
    }


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Few, short rounds: under a minute.")
@click.option("--pairs", type=click.IntRange(1, MOST_PAIRS), help="Rounds of interleaved runs (7).")
@click.option(
    "--messages",
    type=click.IntRange(100, MOST_MESSAGES),
    help="Messages a run; twice as many over persistent sessions (6000).",
)
@click.option("--modes", default="new,persistent", help="new, persistent or both.")
@click.option("--systems", default=",".join(USUAL), show_default=True, help="What is run.")
@click.option(
    "--compare",
    metavar="REV_OR_DIR",
    help="Run the gateway of another commit or checkout as well; the ratio is this one ÷ that.",
)
@click.option("--pure", is_flag=True, help="Run plain Python, not the compiled modules.")
@click.option(
    "--profile",
    type=click.IntRange(1, 300),
    metavar="SECONDS",
    help="Sample one worker of the last system with py-spy instead of measuring.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write every run and the summary to this file.",
)
def main(
    quick: bool,
    pairs: int | None,
    messages: int | None,
    modes: str,
    systems: str,
    compare: str | None,
    pure: bool,
    profile: int | None,
    json_file: Path | None,
) -> None:
    """Measures messages per second and CPU per message.

    smtp-source (20 sessions, bodies of 4,096 octets) sends through each system to smtp-sink on
    this machine: smtp-sink itself, the yardstick bare_proxy, the gateway with its defaults; chosen
    by --systems also postfix_filter (Postfix's before-queue filter; root only) and haraka
    (smtp_forward), both without a scan. The systems are run in turn, round by round; ratios are
    taken inside each round.
    """
    usual = QUICK_MESSAGES if quick else MESSAGES
    plan = Plan(
        modes=names_from(modes, list(MODES), "--modes"),
        messages={"new": messages, "persistent": 2 * messages} if messages else usual,
        pairs=pairs or (QUICK_PAIRS if quick else PAIRS),
        systems=names_from(systems, SYSTEMS, "--systems"),
        fresh_each_round=not quick,
        before=compare,
        pure=pure,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    console = Console() if sys.stdout.isatty() else Console(width=110)
    try:
        work(plan, profile, json_file, console)
    except (ProgramFailed, RunFailed, TreeChanged, spy.SpyMissing, LookupError) as error:
        raise click.ClickException(str(error)) from error


def work(plan: Plan, profile: int | None, json_file: Path | None, console: Console) -> None:
    """Carries the plan out and reports."""
    plan = replace(plan, systems=those_there(plan.systems, console))

    def gateway(name: str, checkout: Path) -> Starter:
        return gateway_starter(name, checkout if plan.pure else compiled(checkout))

    starters = {
        name: gateway(name, ROOT) if name == report.GATEWAY else STARTERS[name]
        for name in plan.systems
    }
    if profile:
        system = plan.systems[-1]
        for mode in plan.modes:
            run_profile(mode, profile, system, starters[system], console)
        return
    if plan.before is None:
        runs = run_plan(plan, starters, console)
    else:
        with checkout_of(plan.before) as checkout:
            starters[report.BEFORE] = gateway(report.BEFORE, checkout)
            if report.GATEWAY not in starters:
                starters[report.GATEWAY] = gateway(report.GATEWAY, ROOT)
            runs = run_plan(plan, starters, console)
    report.print_report(console, runs, os.cpu_count() or 1, plan.before)
    if json_file is not None:
        document = report.document(runs, settings_of(plan))
        json_file.write_text(json.dumps(document, indent=1) + "\n")
