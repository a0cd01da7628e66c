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


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """A rate and what happens beyond it."""

    rate: Rate
    mode: Mode


def _rate(limit: int, burst: int) -> RatePolicy:
    return RatePolicy(Rate(limit, burst), Mode.SHADOW)


@dataclass(frozen=True, slots=True)
class Policy:
    """``most`` and ``concurrency`` are per listener, connections at one time. Everything below
    ``is_acting`` counts also where that is False, and refuses nothing (row 86).
    """

    most: tuple[int, int] = (256, 256)
    is_acting: bool = True
    concurrency: tuple[int, int] = (25, 25)
    concurrency_mode: Mode = Mode.ENFORCE
    connections: RatePolicy = field(default_factory=lambda: _rate(300, 100))
    messages: RatePolicy = field(default_factory=lambda: _rate(300, 100))
    recipients: RatePolicy = field(default_factory=lambda: _rate(1200, 400))
    handshakes: RatePolicy = field(default_factory=lambda: _rate(300, 100))
    longest_penalty_ms: int = 86_400_000
    """A penalty that would last longer was written under another clock, and does not count."""


WIDER: Final = 4
"""How many times a client's limits a network has, and a client with a pass."""
