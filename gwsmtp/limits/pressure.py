"""How hard pressed the gateway is: one of three levels, from a handful of readings.

The leader judges its readings once a second and publishes what comes of them in the control page;
everybody else reads one word of it. Up goes at once, down only when the readings have been lower
for 30 s. What a level means stands where it acts: ``admission`` (the reserve), ``process.door``
(who has to make room), ``session.defence`` (timers, errors, tarpits).

Arithmetic only; but for ``publish`` and ``read_pressure``, which touch the table. Time is an
argument, ms of CLOCK_BOOTTIME.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gwsmtp.limits.layout import CONTROL, Control

HOLD_MS: Final = 30_000
TENSE: Final = 1
"""Timers are halved, the last places are reserved."""
SEVERE: Final = 2
"""Besides, a full listener ends its slowest session for a new client."""
TENSE_SHARE: Final = 0.9
"""Of its connections that make a listener tense."""

_PLACE: Final = CONTROL + Control.PRESSURE


class Cause(IntEnum):
    """Which reading is the worst. Numbers stand in the table: only appended."""

    NONE = 0
    CONNECTIONS = 1
    SCANS = 2
    SPOOL = 3
    LOOP = 4

    @property
    def word(self) -> str:
        """As logs and commands write it: ``connections``."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Readings:
    """``connections``: live ones as a share of the fuller listener's maximum. ``scan_wait``: of a
    scan that runs, as a share of its deadline. ``free_spool``: free octets as a multiple of what
    has to stay free. ``loop_lag_s``: of the worst worker.
    """

    connections: float = 0.0
    scan_wait: float = 0.0
    free_spool: float = float("inf")
    loop_lag_s: float = 0.0


def judge(readings: Readings) -> tuple[int, Cause]:
    """(level, cause) of these readings alone; of equal causes the first in their order."""
    found = (
        (_level(readings.connections, TENSE_SHARE, 0.97), Cause.CONNECTIONS),
        (_level(readings.scan_wait, 0.50, 0.80), Cause.SCANS),
        # Below, not at: what is just enough is enough.
        (int(readings.free_spool < 4) + int(readings.free_spool < 2), Cause.SPOOL),
        (_level(readings.loop_lag_s, 0.5, 2.0), Cause.LOOP),
    )
    level, cause = max(found, key=lambda pair: pair[0])
    return (level, cause) if level else (0, Cause.NONE)


def _level(value: float, tense: float, severe: float) -> int:
    return int(value >= tense) + int(value >= severe)


class Pressure:
    """The level over time: a level lasts until readings have been below it for 30 s.

    ``level`` and ``cause`` begin as an earlier leader left them.
    """

    __slots__ = ("_causes", "_reached_ms", "cause", "level")

    def __init__(self, level: int, cause: Cause, now_ms: int) -> None:
        self.level = level = min(max(level, 0), SEVERE)
        self.cause = cause if level else Cause.NONE
        self._causes = [Cause.NONE, self.cause, self.cause]
        self._reached_ms = [now_ms if level >= above else None for above in range(SEVERE + 1)]

    def step(self, readings: Readings, now_ms: int) -> bool:
        """Takes new readings; whether level or cause have changed."""
        before = self.level, self.cause
        level, cause = judge(readings)
        for reached in range(TENSE, level + 1):
            self._reached_ms[reached] = now_ms
            self._causes[reached] = cause
        for held in range(level + 1, SEVERE + 1):
            since_ms = self._reached_ms[held]
            if since_ms is not None and now_ms - since_ms < HOLD_MS:
                level, cause = held, self._causes[held]
        self.level, self.cause = level, cause
        return before != (level, cause)


@dataclass(frozen=True, slots=True)
class PressureView:
    """What the table says; ``since_ms`` 0: never changed."""

    level: int
    cause: Cause
    since_ms: int


def publish(words: memoryview, pressure: Pressure, now_ms: int) -> None:
    """Tells everybody; the leader alone calls it. ``since`` is the change of the level."""
    if words[_PLACE] != pressure.level:
        words[CONTROL + Control.PRESSURE_SINCE_MS] = now_ms
    words[CONTROL + Control.PRESSURE_CAUSE] = pressure.cause
    words[_PLACE] = pressure.level


def read_level(words: memoryview) -> int:
    """The level that stands in the table: one load."""
    level: int = words[_PLACE]
    return level


def read_pressure(words: memoryview) -> PressureView:
    """All of it. A cause that a newer version knows is ``NONE``."""
    number: int = words[CONTROL + Control.PRESSURE_CAUSE]
    cause = Cause(number) if number <= max(Cause) else Cause.NONE
    return PressureView(read_level(words), cause, words[CONTROL + Control.PRESSURE_SINCE_MS])
