"""What is allowed, as plain numbers: what the table's arithmetic needs of the configuration.

Built once per process by the composition root; nothing here knows keys or files.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from gwsmtp.limits.rate import Rate


class Mode(IntEnum):
    """What a limit that is hit does. ``SHADOW`` counts and reports, and refuses nothing."""

    OFF = 0
    SHADOW = 1
    ENFORCE = 2


class Limit(IntEnum):
    """The limits that have a mode of their own. Numbers stand in the table."""

    CONCURRENCY = 0
    CONNECTIONS = 1
    MESSAGES = 2
    RECIPIENTS = 3
    HANDSHAKES = 4
    AUTH_FAILURES = 5


class Offence(IntEnum):
    """What counts against a client; ``Policy.points`` is indexed by it."""

    EARLY_TALK = 0
    FOREIGN_PROTOCOL = 1
    UNKNOWN_COMMAND = 2
    SYNTAX_ERROR = 3
    IDLE_COMMAND = 4
    RELAY_ATTEMPT = 5
    BAD_RECIPIENT = 6
    AUTH_FAILURE = 7
    BARE_NEWLINE = 8
    UNASKED_PIPELINING = 9
    FAILED_HANDSHAKE = 10
    SLOW_DATA = 11
    MALWARE = 12
    SPAM = 13
    LIMIT_HIT = 14


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """A rate and what happens beyond it."""

    rate: Rate
    mode: Mode


def _rate(limit: int, burst: int) -> RatePolicy:
    return RatePolicy(Rate(limit, burst), Mode.SHADOW)


@dataclass(frozen=True, slots=True)
class Policy:
    """``most`` and ``concurrency`` are per listener, connections at one time. Without ``is_acting``
    (row 86) everything but ``most`` is counted, and refuses nothing. ``points``, ``clean_message``
    and what is ``_at`` a score are in points, in the order of ``Offence``.
    """

    most: tuple[int, int] = (256, 256)
    is_acting: bool = True
    reserve: tuple[int, int] = (25, 25)
    """Places per listener that are kept, under pressure, for exempt clients and those with a pass.
    """
    concurrency: tuple[int, int] = (25, 25)
    concurrency_mode: Mode = Mode.ENFORCE
    connections: RatePolicy = field(default_factory=lambda: _rate(300, 100))
    messages: RatePolicy = field(default_factory=lambda: _rate(300, 100))
    recipients: RatePolicy = field(default_factory=lambda: _rate(1200, 400))
    handshakes: RatePolicy = field(default_factory=lambda: _rate(300, 100))
    points: tuple[int, ...] = (10, 20, 2, 1, 1, 3, 2, 4, 1, 5, 1, 3, 10, 2, 1)
    clean_message: int = 3
    auth_per_user: int = 5
    auth_per_client: int = 20
    auth_mode: Mode = Mode.ENFORCE
    bad_recipients: int = 3
    """Distinct ones in ``window_ms`` from which a client is hidden from; -1: never."""
    window_ms: int = 3_600_000
    least_share: float = 0.3
    """Of bad ones among the recipients of a client with many accepted ones, to be hidden from."""
    half_life_ms: int = 600_000
    delay_at: int = 10
    restrict_at: int = 20
    ban_at: int = 40
    ban_ms: int = 600_000
    strike_fade_ms: int = 21_600_000
    longest_penalty_ms: int = 86_400_000
    """A penalty that would last longer was written under another clock, and does not count."""


WIDER: Final = 4
"""How many times a client's limits a network has, and a client with a pass."""
