"""What the figures say: medians of interleaved rounds with their spread, tables, JSON.

A ratio is taken inside each round (the two runs follow one another on the same machine in the
same state) and then summarised; a ratio of two medians would mix rounds. Pure but for printing;
never blocks.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench import haraka, postfix
from bench.runs import MODES, Run

YARDSTICK = "bare_proxy"
CEILING = "smtp-sink"
GATEWAY = "gateway"
BEFORE = "gateway-before"
GOAL, MUST = 1.5, 1.8  # CPU of the finished gateway, in times of the yardstick's
NOISE_SHARE = 0.1  # of the machine's processors: more than that in other programs is reported


@dataclass(frozen=True)
class Peer:
    """Somebody else's server: what the gateway's rate must be in times of its own, by mode."""

    goal: float
    must: dict[str, float]


PEERS = {
    postfix.FILTER: Peer(2, {"new": 1.5, "persistent": 2}),
    haraka.NAME: Peer(8, {"new": 6, "persistent": 6}),
}

Metric = Callable[[Run], float | None]

METRICS: dict[str, Metric] = {
    "rate": lambda run: run.rate,
    "gateway_us": lambda run: run.gateway_us,
    "engine_us": lambda run: run.engine_us,
    "total_us": lambda run: run.total_us,
}


@dataclass(frozen=True)
class Spread:
    """A median with what surrounds it."""

    median: float
    low: float
    high: float
    quartile_1: float
    quartile_3: float
    count: int

    def text(self, digits: int = 0) -> str:
        median, low, high = (f"{value:,.{digits}f}" for value in (self.median, self.low, self.high))
        return f"{median} ({low}–{high})"


def spread_of(values: Iterable[float]) -> Spread:
    """The spread of at least one value; quartiles are inclusive, one value is all five."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    first, third = ordered[0], ordered[-1]
    if len(ordered) > 1:
        first, _, third = statistics.quantiles(ordered, n=4, method="inclusive")
    median = statistics.median(ordered)
    return Spread(median, ordered[0], ordered[-1], first, third, len(ordered))


def values_of(runs: Sequence[Run], system: str, metric: str) -> dict[int, float]:
    """A system's figures by round; rounds without this figure are left out."""
    read = METRICS[metric]
    found = {run.round: read(run) for run in runs if run.system == system}
    return {number: value for number, value in found.items() if value is not None}


def spread(runs: Sequence[Run], system: str, metric: str) -> Spread | None:
    values = values_of(runs, system, metric)
    return spread_of(values.values()) if values else None


def ratio(runs: Sequence[Run], system: str, reference: str, metric: str) -> Spread | None:
    """system / reference, round by round; None when no round has both."""
    above, below = values_of(runs, system, metric), values_of(runs, reference, metric)
    ratios = [above[number] / below[number] for number in above if below.get(number)]
    return spread_of(ratios) if ratios else None


def noise(runs: Sequence[Run], processors: int) -> float:
    """The share of the machine that other programs took, as the median of all runs."""
    return statistics.median(run.others_cpu / run.seconds / processors for run in runs)


def systems_of(runs: Sequence[Run]) -> list[str]:
    """Names in the order of their first round."""
    first = min((run.round for run in runs), default=0)
    return list(dict.fromkeys(run.system for run in runs if run.round == first))


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything the tables show, for JSON: mode -> system -> figure -> spread."""
    result: dict[str, Any] = {}
    for mode in dict.fromkeys(run.mode for run in runs):
        of_mode = [run for run in runs if run.mode == mode]
        result[mode] = {}
        for system in systems_of(of_mode):
            figures = {metric: spread(of_mode, system, metric) for metric in METRICS}
            figures["rate_to_smtp_sink"] = ratio(of_mode, system, CEILING, "rate")
            figures["rate_to_bare_proxy"] = ratio(of_mode, system, YARDSTICK, "rate")
            figures["cpu_to_bare_proxy"] = ratio(of_mode, system, YARDSTICK, "total_us")
            if system == GATEWAY:
                for peer in PEERS:
                    figures[f"rate_to_{peer}"] = ratio(of_mode, system, peer, "rate")
                    figures[f"cpu_to_{peer}"] = ratio(of_mode, system, peer, "total_us")
                for metric in METRICS:
                    figures[f"{metric}_to_before"] = ratio(of_mode, system, BEFORE, metric)
            result[mode][system] = {
                name: asdict(value) for name, value in figures.items() if value is not None
            }
    return result


def document(runs: Sequence[Run], settings: dict[str, Any]) -> dict[str, Any]:
    """The JSON file: how it was taken, every run, and the summary."""
    return {
        "format": "gwsmtp-bench-throughput/1",
        "settings": settings,
        "runs": [asdict(run) for run in runs],
        "summary": summary(runs),
    }


def mode_table(runs: Sequence[Run], mode: str) -> Table:
    """One mode, one row a system. Fits 80 columns: the spread may move to a second line."""
    table = plain_table(MODES[mode])
    table.add_column("system", no_wrap=True)
    for heading in ("msg/s", "÷ sink", "gw + eng", "CPU µs", "÷ bare"):
        table.add_column(heading, justify="right", overflow="fold")
    for system in systems_of(runs):
        gateway, engine = spread(runs, system, "gateway_us"), spread(runs, system, "engine_us")
        table.add_row(
            "before" if system == BEFORE else system,
            shown(spread(runs, system, "rate")),
            shown(ratio(runs, system, CEILING, "rate"), 2) if system != CEILING else "",
            f"{gateway.median:,.0f} + {engine.median:,.0f}" if gateway and engine else "-",
            shown(spread(runs, system, "total_us")),
            shown(ratio(runs, system, YARDSTICK, "total_us"), 2) if system != YARDSTICK else "",
        )
    return table


def plain_table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def comparison_table(runs: Sequence[Run], mode: str, before: str) -> Table:
    """The gateway of this tree against that of another."""
    title = f"{MODES[mode]}: this tree ÷ {before}"
    table = plain_table(title)
    for heading in ("figure", "before", "after", "after ÷ before", "quartiles"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    names = {"rate": "messages/s", "gateway_us": "gateway µs", "engine_us": "engine µs"}
    for metric, name in {**names, "total_us": "CPU µs"}.items():
        change = ratio(runs, GATEWAY, BEFORE, metric)
        quartiles = f"{change.quartile_1:.3f}–{change.quartile_3:.3f}" if change else ""
        table.add_row(
            name,
            shown(spread(runs, BEFORE, metric)),
            shown(spread(runs, GATEWAY, metric)),
            shown(change, 3),
            quartiles,
        )
    return table


def shown(value: Spread | None, digits: int = 0) -> str:
    return value.text(digits) if value else "-"


def verdict(runs: Sequence[Run]) -> str:
    """One line: where the gateway stands against the goal; empty without both systems."""
    change = ratio(runs, GATEWAY, YARDSTICK, "total_us")
    if change is None:
        return ""
    met = "goal met" if change.median <= GOAL else "must met" if change.median <= MUST else "missed"
    return (
        f"gateway: {change.median:.2f} times the CPU of {YARDSTICK} "
        f"(goal {GOAL}, must {MUST}): {met}"
    )


def peer_verdicts(runs: Sequence[Run]) -> list[str]:
    """One line a peer that was run beside the gateway, for runs of one mode. The load on the same
    processors bounds the gateway's rate, waiting a peer's: hence the ratio of CPU as well.
    """
    lines = []
    for name, peer in PEERS.items():
        rate = ratio(runs, GATEWAY, name, "rate")
        cpu = ratio(runs, GATEWAY, name, "total_us")
        if rate is None:
            continue
        must = peer.must[runs[0].mode]
        enough = rate.median >= must
        met = "goal met" if rate.median >= peer.goal else "must met" if enough else "missed"
        lines.append(
            f"gateway: {rate.text(2)} times {name}'s rate "
            f"(goal {peer.goal:g}, must {must:g}): {met}"
            + (f"; CPU {cpu.text(2)} times" if cpu else "")
        )
    return lines


def print_report(
    console: Console, runs: Sequence[Run], processors: int, before: str | None
) -> None:
    """Tables for people; a median with (lowest–highest) of the rounds."""
    for mode in dict.fromkeys(run.mode for run in runs):
        of_mode = [run for run in runs if run.mode == mode]
        console.print(mode_table(of_mode, mode))
        if before is not None:
            console.print(comparison_table(of_mode, mode, before))
        if line := verdict(of_mode):
            console.print(line, highlight=False)
        for line in peer_verdicts(of_mode):
            console.print(line, highlight=False)
        console.print()
    share = noise(runs, processors)
    console.print(
        "median (lowest–highest) of the rounds; ratios are taken within each round;\n"
        "÷ sink: rate to smtp-sink; ÷ bare: CPU a message to bare_proxy",
        highlight=False,
    )
    if share > NOISE_SHARE:
        console.print(
            f"other programs took {share:.0%} of the machine: trust the ratios only",
            style="yellow",
            highlight=False,
        )
