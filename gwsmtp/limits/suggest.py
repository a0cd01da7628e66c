"""Thresholds proposed from the traffic that the table has seen: what clients used at their most.

Of each client its peaks (``peaks``); those under a penalty or restricted by their score are left
out. Proposed is twice what ninety-nine of a hundred clients have stayed within, rounded up to tens,
and never less than a floor: a limit is there for the one that is far beyond all others.
"""

import math
from dataclasses import dataclass
from typing import Final

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.clients import column, penalty_rest, tags_of
from gwsmtp.limits.guards import decayed
from gwsmtp.limits.layout import Client
from gwsmtp.limits.peaks import Peak, unpack_peaks
from gwsmtp.limits.policy import WIDER, Policy

ROOM: Final = 2
"""How many times what ninety-nine of a hundred stay within is proposed."""

BURSTS_A_MINUTE: Final = 3
"""A rate's limit in its bursts, as in the defaults."""

_FLOOR: Final = {
    Peak.CONCURRENCY: 10,
    Peak.CONNECTIONS: 20,
    Peak.MESSAGES: 20,
    Peak.RECIPIENTS: 100,
}


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen: the peaks of all well-behaved clients, sorted; ``left_out`` of the others, and
    when the first of all clients came (ms of CLOCK_BOOTTIME, 0: nobody).
    """

    clients: int
    left_out: int
    first_seen_ms: int
    peaks: dict[Peak, list[int]]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One limit: what half, 95 and 99 of a hundred clients stay within, the most anybody used, and
    what is proposed. ``beyond`` is how many of those seen it would stop.
    """

    peak: Peak
    median: int
    p95: int
    p99: int
    most: int
    proposed: int
    beyond: int


def survey(table: Table, policy: Policy, now_ms: int) -> Survey:
    """Reads all rows; takes no lock. A full table takes some 100 ms."""
    words = table.words
    seen: dict[Peak, list[int]] = {peak: [] for peak in Peak}
    clients = left_out = 0
    first_seen = 0
    columns = [
        column(table, word)
        for word in (
            Client.PEAKS,
            Client.FIRST_SEEN,
            Client.SCORE,
            Client.PENALTY_UNTIL,
            Client.PASS_UNTIL,
        )
    ]
    for row, (tag, peaks, first, score, until, passes) in enumerate(
        zip(tags_of(table), *columns, strict=True)
    ):
        if not tag:
            continue
        first_seen = min(first_seen or first, first)
        points = decayed(words, layout.client_row(row), policy, now_ms) if score else 0
        if penalty_rest(until, policy, now_ms) or points >= policy.restrict_at * 1000:
            left_out += 1
            continue
        clients += 1
        for peak, used in unpack_peaks(peaks).items():
            seen[peak].append(used)
        # Of rates a client with a pass counts a quarter already.
        if passes > now_ms:
            seen[Peak.CONCURRENCY][-1] = -(-seen[Peak.CONCURRENCY][-1] // WIDER)
        for peak in (Peak.CONCURRENCY, Peak.CONNECTIONS):
            seen[peak][-1] = seen[peak][-1] or 1  # a single one is not noted
    for values in seen.values():
        values.sort()
    return Survey(clients, left_out, first_seen, seen)


def propose(seen: Survey) -> list[Proposal]:
    """A proposal for each limit; nothing where no client was seen."""
    proposals = []
    for peak, values in seen.peaks.items():
        if not values:
            continue
        p99 = percentile(values, 99)
        proposed = max(-(-ROOM * p99 // 10) * 10, _FLOOR[peak])
        proposals.append(
            Proposal(
                peak=peak,
                median=percentile(values, 50),
                p95=percentile(values, 95),
                p99=p99,
                most=values[-1],
                proposed=proposed,
                beyond=sum(value > proposed for value in values),
            )
        )
    return proposals


def percentile(values: list[int], percent: int) -> int:
    """The value that ``percent`` of a hundred stay within (nearest rank); ``values`` are sorted."""
    rank = max(math.ceil(len(values) * percent / 100), 1)
    return values[rank - 1]
