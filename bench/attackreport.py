"""What bench/attack found: figures of each attack, tables, plots, JSON, CSV.

Must: no good message refused for good, none lost or doubled. Goal: none deferred, and a p99 of at
most twice its value at rest. Pure but for printing.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from bench.attackers import ATTACKS
from bench.attackrun import Message, Round
from bench.report import plain_table

GOAL = 2.0
_BARS = "▁▂▃▄▅▆▇█"
_LOW_MS, _HIGH_MS = 2.0, 20_000.0
_COLUMNS = 60


@dataclass(frozen=True)
class Figures:
    """One stretch of good mail: accepted messages a second, latencies in ms, and what went wrong.
    ``orphaned``: deferred or refused although the next hop has it, so a second attempt doubles it.
    """

    rate: float
    p50: float
    p99: float
    worst: float
    count: int
    deferred: int
    refused: int
    lost: int
    doubled: int
    orphaned: int
    cpu: float


@dataclass(frozen=True)
class Comparison:
    """An attack and the rest before it."""

    name: str
    shedding: bool
    rest: Figures
    attack: Figures
    attacker_cpu: float

    @property
    def times(self) -> float:
        """p99 under attack in times of that at rest."""
        return self.attack.p99 / self.rest.p99 if self.rest.p99 else math.inf

    @property
    def must(self) -> str:
        """What of the must is missed; "" when nothing is."""
        found = (self.attack.refused, self.attack.lost, self.attack.doubled)
        words = ("refused", "lost", "doubled")
        return ", ".join(f"{n} {word}" for n, word in zip(found, words, strict=True) if n)

    @property
    def goal(self) -> str:
        """What of the goal is missed."""
        words = []
        if self.attack.deferred:
            words.append(f"{self.attack.deferred} deferred")
        if self.times > GOAL:
            words.append(f"p99 {self.times:.1f} times")
        return ", ".join(words)


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else 0.0


def figures(messages: Sequence[Message], seconds: float, cpu_s: float) -> Figures:
    """What a stretch of ``seconds`` says."""
    outcomes = Counter(message.outcome for message in messages)
    accepted = [message for message in messages if message.outcome == "accepted"]
    latencies = [message.ms for message in accepted]
    seconds = max(seconds, 0.001)
    return Figures(
        rate=len(accepted) / seconds,
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
        worst=max(latencies, default=0.0),
        count=len(messages),
        deferred=outcomes["deferred"],
        refused=outcomes["refused"],
        lost=sum(message.arrived == 0 for message in accepted),
        doubled=sum(message.arrived > 1 for message in messages),
        orphaned=sum(message.arrived > 0 for message in messages if message not in accepted),
        cpu=cpu_s / seconds,
    )


def compare(found: Round) -> Comparison:
    """The figures of one attack."""
    rest_s, attack_s = found.attack_from - found.rest_from, found.attack_to - found.attack_from
    return Comparison(
        found.name,
        found.shedding,
        figures(found.rest, rest_s, found.rest_cpu_s),
        figures(found.attack, attack_s, found.attack_cpu_s),
        found.attacker_cpu_s / max(attack_s, 0.001),
    )


def label(name: str, shedding: bool) -> str:
    """How tables call an attack."""
    return name if shedding else f"{name}, no shedding"


def good_table(comparisons: Sequence[Comparison], console: Console) -> None:
    """Good mail with and without each attack."""
    table = plain_table("Good mail, at rest → under attack")
    table.add_column("attack", no_wrap=True)
    for name in ("msg/s", "p50 ms", "p99 ms", "×", "deferred", "refused", "lost", "doubled"):
        table.add_column(name, justify="right")
    for one in comparisons:
        rest, attack = one.rest, one.attack
        table.add_row(
            label(one.name, one.shedding),
            f"{rest.rate:.0f} → {attack.rate:.0f}",
            f"{rest.p50:.1f} → {attack.p50:.1f}",
            f"{rest.p99:.0f} → {attack.p99:.0f}",
            f"{one.times:.1f}",
            *(str(n) for n in (attack.deferred, attack.refused, attack.lost, attack.doubled)),
        )
    console.print(table)


def attack_table(rounds: Sequence[Round], console: Console) -> None:
    """What the attackers got, and what the gateway says it refused and why."""
    table = plain_table("The attacks, and what was decided about them")
    table.add_column("attack", no_wrap=True)
    table.add_column("tried", justify="right")
    table.add_column("gateway, attacker CPU", justify="right")
    table.add_column("heard")
    table.add_column("decided, of whom")
    for found, one in zip(rounds, map(compare, rounds), strict=True):
        heard = sorted(found.heard.items(), key=lambda item: -item[1])
        said = [f"{count:,} {what}" for what, count in heard if what != "tried"][:5]
        reasons = sorted(found.decided.items(), key=lambda item: -item[1])
        decided = [
            f"{count:,} {reason} ({', '.join(found.actions.get(reason, ['?']))})"
            for reason, count in reasons
        ]
        table.add_row(
            label(found.name, found.shedding),
            f"{found.heard.get('tried', 0):,}",
            f"{one.attack.cpu:.0%}, {one.attacker_cpu:.0%}",
            "\n".join(said),
            "\n".join(decided) or "nothing",
        )
    console.print(table)


def bars(messages: Sequence[Message], start: float, end: float, columns: int) -> tuple[str, str]:
    """(marks, bars) over time: the worst latency of each column, on a logarithmic scale; ``!``
    where a message was not accepted.
    """
    width = max((end - start) / max(columns, 1), 1e-9)
    worst, failed = [0.0] * columns, [False] * columns
    for message in messages:
        column = min(int((message.at - start) / width), columns - 1)
        worst[column] = max(worst[column], message.ms)
        failed[column] |= message.outcome != "accepted"
    return "".join("!" if one else " " for one in failed), "".join(map(_bar, worst))


def _bar(ms: float) -> str:
    if not ms:
        return " "
    share = math.log(max(ms, _LOW_MS) / _LOW_MS) / math.log(_HIGH_MS / _LOW_MS)
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]


def plot(rounds: Sequence[Round], console: Console) -> None:
    """Latency over time, two lines an attack."""
    console.print("Worst latency of good mail over time", style="bold")
    scale = " ".join(
        f"{bar} {_LOW_MS * (_HIGH_MS / _LOW_MS) ** (index / len(_BARS)):,.0f}"
        for index, bar in enumerate(_BARS)
    )
    console.print(f"ms from: {scale}; ! not accepted; left of │ at rest", highlight=False)
    for found in rounds:
        rest_s, attack_s = found.attack_from - found.rest_from, found.attack_to - found.attack_from
        left = max(round(_COLUMNS * rest_s / (rest_s + attack_s)), 1)
        before = bars(found.rest, found.rest_from, found.attack_from, left)
        after = bars(found.attack, found.attack_from, found.attack_to, _COLUMNS - left)
        name = label(found.name, found.shedding)
        if "!" in before[0] + after[0]:
            console.print(f"{'':24} {before[0]}│{after[0]}", highlight=False, markup=False)
        console.print(f"{name:24} {before[1]}│{after[1]}", highlight=False, markup=False)


def causes(messages: Sequence[Message]) -> str:
    """What good mail that was not accepted heard, without references; the three commonest."""
    heard = Counter(
        one.text.partition(" [")[0] for one in messages if one.outcome != "accepted"
    ).most_common(3)
    return ", ".join(f"{count} × {text}" for text, count in heard)


def savings(comparisons: Sequence[Comparison]) -> list[str]:
    """What kernel shedding saves of the gateway's CPU, where an attack was run with and without:
    what the attack costs beyond the rest before it.
    """
    lines = []
    bare = {one.name: one for one in comparisons if not one.shedding}
    for one in comparisons:
        if one.shedding and one.name in bare:
            other = bare[one.name]
            costs = (other.attack.cpu - other.rest.cpu, one.attack.cpu - one.rest.cpu)
            lines.append(
                f"{one.name}: costs {costs[0]:.1%} of a processor without kernel shedding, "
                f"{costs[1]:.1%} with it (good mail alone: {one.rest.cpu:.1%}); "
                f"p99 {other.attack.p99:.0f} and {one.attack.p99:.0f} ms"
            )
    return lines


def print_report(rounds: Sequence[Round], strangers: int, console: Console) -> bool:
    """Everything; False when a must is missed. ``strangers``: messages that were neither in a rest
    nor in an attack and are lost, doubled or refused.
    """
    comparisons = [compare(found) for found in rounds]
    good_table(comparisons, console)
    attack_table(rounds, console)
    plot(rounds, console)
    console.print()
    is_met = not strangers
    for found, one in zip(rounds, comparisons, strict=True):
        name = ATTACKS[one.name].title + ("" if one.shedding else ", no shedding")
        is_met = is_met and not one.must
        must = f"MUST MISSED: {one.must}" if one.must else "must met"
        goal = f"goal missed: {one.goal}" if one.goal else "goal met"
        tail = f"; {one.attack.orphaned} not accepted, yet delivered" if one.attack.orphaned else ""
        why = causes(found.attack)
        tail += f" ({why})" if why else ""
        console.print(f"{name}: {must}; {goal}{tail}", highlight=False, markup=False)
    for line in savings(comparisons):
        console.print(line, highlight=False)
    if strangers:
        console.print(f"MUST MISSED between the attacks: {strangers} messages", highlight=False)
    return is_met


def document(rounds: Sequence[Round], settings: dict[str, Any]) -> dict[str, Any]:
    """The JSON file."""
    found = []
    for one in rounds:
        comparison = compare(one)
        row: dict[str, Any] = asdict(comparison)
        row |= {"times": comparison.times, "must": comparison.must, "goal": comparison.goal}
        row |= {"heard": one.heard, "decided": one.decided, "actions": one.actions}
        found.append(row)
    return {"format": "gwsmtp-bench-attack/1", "settings": settings, "attacks": found}


def csv_lines(rounds: Sequence[Round]) -> list[str]:
    """Every good message: for plots of one's own."""
    lines = ["attack,shedding,phase,at_s,kind,ms,outcome,code,arrived"]
    for found in rounds:
        for phase, messages in (("rest", found.rest), ("attack", found.attack)):
            for one in messages:
                at = one.at - found.attack_from
                lines.append(
                    f"{found.name},{int(found.shedding)},{phase},{at:.3f},{one.kind},{one.ms},"
                    f"{one.outcome},{one.code},{one.arrived}"
                )
    return lines
