"""What the table says about clients, for people: rows as views, the worst first, one forgiven.

Everything but ``forgive`` only reads and takes no lock: what it says may be a moment old. Called by
commands, from outside, also when no master lives. Time is an argument, ms of CLOCK_BOOTTIME.
"""

import heapq
from dataclasses import dataclass
from typing import Final

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.dictionary import accepted_in, count_bad
from gwsmtp.limits.guards import decayed, standing_strikes
from gwsmtp.limits.identity import Identity, Placement, describe
from gwsmtp.limits.layout import (
    CLIENT_COUNT,
    CLIENT_TAGS,
    CLIENT_WORDS,
    Client,
    Rollup,
)
from gwsmtp.limits.peaks import Peak, unpack_peaks
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import WIDER, Limit, Policy, RatePolicy
from gwsmtp.limits.undo import done, keep

_FORGIVEN: Final = (
    Client.PENALTY_UNTIL,
    Client.SCORE,
    Client.SCORE_MS,
    Client.STRIKES,
    Client.STRIKE_MS,
    Client.OVER_LIMIT,
    Client.OVER_LIMIT_MS,
    Client.TRIES,
    Client.TRIES_MS,
)
_STAMPS: Final = {
    Limit.CONNECTIONS: Client.TAT_CONNECTIONS,
    Limit.MESSAGES: Client.TAT_MESSAGES,
    Limit.RECIPIENTS: Client.TAT_RECIPIENTS,
    Limit.HANDSHAKES: Client.TAT_HANDSHAKES,
}


@dataclass(frozen=True, slots=True)
class Used:
    """How much of a rate's burst is taken now, of how much."""

    used: int
    burst: int


@dataclass(frozen=True, slots=True)
class ClientView:
    """A client's row. ``score`` in points as it has decayed; ``penalty_s`` and ``pass_s`` are the
    rest in seconds, 0: none; recipients are those of the window; ``rates`` is by limit.
    """

    client: str
    live: int
    score: float
    penalty_s: int
    strikes: int
    pass_s: int
    clean_sessions: int
    bad_recipients: int
    accepted_recipients: int
    rates: dict[Limit, Used]
    peaks: dict[Peak, int]
    first_seen_ms: int
    last_seen_ms: int


@dataclass(frozen=True, slots=True)
class NetworkView:
    """The row of a client's network."""

    network: str
    live: int
    connections: Used
    last_seen_ms: int


def read_client(table: Table, identity: Identity, policy: Policy, now_ms: int) -> ClientView | None:
    """A client's row, None where it has none."""
    row = Peers(table, Placement(table)).find(identity.client)
    return None if row < 0 else _view(table, row, identity.client, policy, now_ms)


def read_network(
    table: Table, identity: Identity, policy: Policy, now_ms: int
) -> NetworkView | None:
    """The row of a client's network, None where it has none."""
    row = Peers(table, Placement(table)).find_network(identity.network)
    if row < 0:
        return None
    words, place = table.words, layout.rollup_row(row)
    rate = policy.connections
    return NetworkView(
        network=describe(identity.network, is_network=True),
        live=words[place + Rollup.LIVE],
        connections=_used(rate, words[place + Rollup.TAT_CONNECTIONS], WIDER, now_ms),
        last_seen_ms=words[place + Rollup.LAST_SEEN],
    )


def count_clients(table: Table) -> int:
    """How many rows of clients are taken."""
    return CLIENT_COUNT - tags_of(table).count(0)


def worst_clients(table: Table, policy: Policy, now_ms: int, most: int) -> list[ClientView]:
    """At most ``most`` clients, the worst first: those under a penalty, by its rest, then by score,
    then by live connections. Who has none of the three is not among them. A full table takes some
    130 ms.
    """
    tags = tags_of(table)
    words = table.words
    columns = [column(table, word) for word in (Client.PENALTY_UNTIL, Client.SCORE, Client.LIVE)]
    ranks = []
    for row, (tag, until, score, live) in enumerate(zip(tags, *columns, strict=True)):
        if tag and (until or score or live):
            rest_ms = penalty_rest(until, policy, now_ms)
            points = decayed(words, layout.client_row(row), policy, now_ms) if score else 0
            if rest_ms or points or live:
                ranks.append(((rest_ms, points, live), row))
    worst = heapq.nlargest(most, ranks)
    views = (_view(table, row, tags[row], policy, now_ms) for _, row in worst)
    return [view for view in views if view is not None]


def column(table: Table, word: int) -> list[int]:
    """One word of all rows, free ones too."""
    first = layout.client_row(0) + word
    values = table.words[first : first + CLIENT_COUNT * CLIENT_WORDS : CLIENT_WORDS]
    return values.tolist()


def forgive(table: Table, identity: Identity) -> bool:
    """Takes penalty, score and strikes from a client; whether it has a row. Wants the lock."""
    row = Peers(table, Placement(table)).find(identity.client)
    if row < 0:
        return False
    place = layout.client_row(row)
    keep(table.words, place, CLIENT_WORDS)
    for word in _FORGIVEN:
        table.words[place + word] = 0
    done(table.words)
    return True


def _view(table: Table, row: int, tag: int, policy: Policy, now_ms: int) -> ClientView | None:
    place = layout.client_row(row)
    words = table.words[place : place + CLIENT_WORDS].tolist()
    if table.words[CLIENT_TAGS + row] != tag:
        return None  # given to another meanwhile
    pass_ms = max(words[Client.PASS_UNTIL] - now_ms, 0)
    factor = WIDER if pass_ms else 1
    rates = {
        Limit.CONNECTIONS: policy.connections,
        Limit.MESSAGES: policy.messages,
        Limit.RECIPIENTS: policy.recipients,
        Limit.HANDSHAKES: policy.handshakes,
    }
    return ClientView(
        client=describe(tag),
        live=words[Client.LIVE],
        score=decayed(table.words, place, policy, now_ms) / 1000,
        penalty_s=-(-penalty_rest(words[Client.PENALTY_UNTIL], policy, now_ms) // 1000),
        strikes=standing_strikes(table.words, place, policy, now_ms),
        pass_s=pass_ms // 1000,
        clean_sessions=words[Client.CLEAN_SESSIONS],
        bad_recipients=count_bad(table.words, row, policy.window_ms, now_ms),
        accepted_recipients=accepted_in(table.words, place, policy.window_ms, now_ms),
        rates={
            limit: _used(rate, words[_STAMPS[limit]], factor, now_ms)
            for limit, rate in rates.items()
        },
        peaks=unpack_peaks(words[Client.PEAKS]),
        first_seen_ms=words[Client.FIRST_SEEN],
        last_seen_ms=words[Client.LAST_SEEN],
    )


def tags_of(table: Table) -> list[int]:
    """The tags of all rows, 0 where one is free."""
    tags: list[int] = table.words[CLIENT_TAGS : CLIENT_TAGS + CLIENT_COUNT].tolist()
    return tags


def penalty_rest(until: int, policy: Policy, now_ms: int) -> int:
    """What is left of a penalty in ms; one longer than any can be is another clock's, and none."""
    return until - now_ms if now_ms < until <= now_ms + policy.longest_penalty_ms else 0


def _used(policy: RatePolicy, stamp: int, factor: int, now_ms: int) -> Used:
    burst = policy.rate.burst * factor
    return Used(min(policy.rate.used(stamp, now_ms * 1000, factor), burst), burst)
