"""The command line of bench/attack. Only this module of it reads arguments.

Contract: exit code 0 = what must hold holds, 1 = it does not, or a program failed; 2 = wrong
arguments, 130 = interrupted. Whatever happens, every program started is ended.
"""

import json
import os
import platform
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bench import attackreport, spy
from bench.attackers import ATTACKS, NICE
from bench.attackrun import Message, Plan, Round, profile_path, run_attack, running, settle
from bench.cli import names_from
from bench.programs import ProgramFailed

QUICK = ("flood", "dictionary", "slow-data", "banned")
EXAMPLES = """\b
Examples:
  bench/attack --quick                         under two minutes
  bench/attack --attacks slow-data,noop --seconds 60
  bench/attack --attacks banned --no-shedding  what the kernel's filter saves
  bench/attack --attacks garbage --profile     where a worker's time goes meanwhile
  bench/attack --json out.json --csv messages.csv
"""


class Meter:
    """Progress: a bar on a terminal, one plain line a step otherwise."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console = console
        self._done = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting, clean clients earn their pass", total=steps)

    def __enter__(self) -> Self:
        self._bar.start()
        self._bar.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """The next step begins."""
        self._bar.update(self._task, completed=self._done, description=text, refresh=True)
        self._done += 1
        if not self._console.is_terminal:
            self._console.print(text, highlight=False)


def run_plan(plan: Plan, without_shedding: bool, console: Console) -> tuple[list[Round], int]:
    """All attacks, and how many messages outside of them went wrong."""
    rounds: list[Round] = []
    strangers = 0
    passes = (True, False) if without_shedding else (True,)
    with Meter(console, 2 * len(plan.attacks) * len(passes)) as meter:
        for shedding in passes:
            with running(plan, shedding=shedding) as fleet:
                own = [run_attack(fleet, name, meter.say) for name in plan.attacks]
                messages = settle(fleet, own)
            rounds += own
            counted = {one.number for found in own for one in (*found.rest, *found.attack)}
            strangers += sum(is_wrong(one) for one in messages if one.number not in counted)
            strangers += sum(is_wrong(one) for found in own for one in found.rest)
    return rounds, strangers


def is_wrong(message: Message) -> bool:
    """Whether a must is missed by this message."""
    is_lost = message.outcome == "accepted" and not message.arrived
    return is_lost or message.outcome == "refused" or message.arrived > 1


def print_bounds(plan: Plan, console: Console) -> None:
    """What the load is, so that nobody takes it for more."""
    console.print(
        f"Good mail: {plan.rate:g} messages/s from {plan.clients} clients with a pass. Attackers: "
        f"one process at nice {NICE}, on the same {os.cpu_count()} processors as the gateway, so "
        "bounded:",
        highlight=False,
    )
    for name in plan.attacks:
        attack = ATTACKS[name]
        console.print(
            f"  {name}: {attack.title}, {attack.sources:,} sources, at most "
            f"{attack.most * plan.strength:.0f} connections at one time and "
            f"{attack.rate * plan.strength:.0f} new ones a second",
            highlight=False,
        )


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Four attacks, briefly: under two minutes.")
@click.option(
    "--attacks", help=f"Which, in this order; of {', '.join(ATTACKS)}. All when none is named."
)
@click.option("--seconds", type=click.IntRange(1, 600), help="Of each attack (20; --quick: 6).")
@click.option("--rest", type=click.IntRange(1, 600), help="Before each attack (half of it).")
@click.option("--rate", type=click.FloatRange(1, 500), default=50, show_default=True)
@click.option("--clients", type=click.IntRange(1, 1000), default=120, show_default=True)
@click.option(
    "--strength",
    type=click.FloatRange(0.05, 4),
    default=1.0,
    show_default=True,
    help="Times the usual connections and rates of the attackers.",
)
@click.option(
    "--no-shedding", is_flag=True, help="All of it again without kernel shedding, to compare."
)
@click.option("--profile", is_flag=True, help="Sample the busiest worker with py-spy meanwhile.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path))
def main(
    quick: bool,
    attacks: str | None,
    seconds: int | None,
    rest: int | None,
    rate: float,
    clients: int,
    strength: float,
    no_shedding: bool,
    profile: bool,
    json_file: Path | None,
    csv_file: Path | None,
) -> None:
    """Attacks the gateway from many addresses of 127.0.0.0/8 beside a steady stream of good mail.

    Prints good mail's throughput and latency (from connect to the reply to the final dot) with and
    without each attack, whether any of it was refused, deferred, lost or doubled, and what the
    gateway refused and why. Must: none refused for good, lost or doubled. Goal: none deferred, p99
    at most twice its value at rest.
    """
    usual = ",".join(QUICK if quick else ATTACKS)
    seconds = seconds or (6 if quick else 20)
    plan = Plan(
        attacks=names_from(attacks or usual, list(ATTACKS), "--attacks"),
        seconds=seconds,
        rest=rest or max(seconds // 2, 1),
        rate=rate,
        clients=clients,
        strength=strength,
        profile=profile,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    console = Console() if sys.stdout.isatty() else Console(width=120)
    try:
        if profile:
            spy.find_spy()
        print_bounds(plan, console)
        rounds, strangers = run_plan(plan, no_shedding, console)
    except (ProgramFailed, spy.SpyMissing, LookupError) as error:
        raise click.ClickException(str(error)) from error
    is_met = attackreport.print_report(rounds, strangers, console)
    if profile:
        for name in plan.attacks:
            path = profile_path(name)
            spy.print_profile(console, spy.read_profile(path.read_text()), path)
    if json_file is not None:
        document = attackreport.document(rounds, settings_of(plan))
        json_file.write_text(json.dumps(document, indent=1) + "\n")
    if csv_file is not None:
        csv_file.write_text("\n".join(attackreport.csv_lines(rounds)) + "\n")
    sys.exit(0 if is_met else 1)


def settings_of(plan: Plan) -> dict[str, object]:
    """How a report was taken."""
    return {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **asdict(plan),
    }
