"""What guards the sessions of one worker: built once, shared by all of them.

The composition root that fills this is ``process.defence``.
"""

import random
from typing import Final

from gwsmtp.base.audit import Audit
from gwsmtp.base.seams import Clock
from gwsmtp.limits.arena import Table
from gwsmtp.limits.dictionary import Dictionary
from gwsmtp.limits.guards import Guard, threshold
from gwsmtp.limits.identity import Placement
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.pressure import TENSE, read_level
from gwsmtp.limits.slots import Gauge, SlotWriter, sum_gauge

_DELAYED_SHARE: Final = 0.1
LEAST_PATIENCE_S: Final = 5.0
"""No timer is halved to less."""


class Defence:
    """See the module. Scores are in thousandths of a point."""

    __slots__ = (
        "_clock",
        "_most_delayed",
        "_slot",
        "_table",
        "audit",
        "bad_recipients",
        "ban_at",
        "delay_at",
        "delayed",
        "dictionary",
        "guard",
        "is_acting",
        "is_pressed",
        "placement",
        "random",
        "window_s",
    )

    def __init__(
        self,
        policy: Policy,
        guard: Guard,
        dictionary: Dictionary,
        placement: Placement,
        table: Table,
        slot: SlotWriter,
        audit: Audit,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.guard = guard
        self.dictionary = dictionary
        self.placement = placement
        self.audit = audit
        self.random = rng.random
        self.delay_at = threshold(policy.delay_at)
        self.ban_at = threshold(policy.ban_at)
        self.bad_recipients = policy.bad_recipients
        self.window_s = policy.window_ms // 1000
        self.is_acting = policy.is_acting
        self.delayed = 0
        self._most_delayed = tuple(int(most * _DELAYED_SHARE) for most in policy.most)
        self._table = table
        self._slot = slot
        self._clock = clock
        self.is_pressed = False
        """Whether the gateway is under pressure, and row 86 lets it act."""
        self.look()

    def look(self) -> bool:
        """Learns from the table whether there is pressure; whether it has just come. Called by the
        worker once a second, so that it knows which waits began before: those it hurries.
        """
        was_pressed = self.is_pressed
        self.is_pressed = self.is_acting and read_level(self._table.words) >= TENSE
        return self.is_pressed and not was_pressed

    def patience(self, seconds: float) -> float:
        """How long to wait for a client where it is usually given ``seconds``."""
        return halved(seconds) if self.is_pressed else seconds

    def now_ms(self) -> int:
        """CLOCK_BOOTTIME in ms, the table's time."""
        return self._clock.boot_ms()

    def may_delay(self, listener: int) -> bool:
        """Whether one session more may sit in a delay, over all workers."""
        return sum_gauge(self._table, Gauge.DELAYED) < self._most_delayed[listener]

    def show_delayed(self) -> None:
        """Tells the other workers how many sit in a delay here."""
        self._slot.gauges[Gauge.DELAYED] = self.delayed


def halved(seconds: float) -> float:
    """Half of it, but not below 5 s; what is less by itself stays."""
    return max(seconds / 2, min(seconds, LEAST_PATIENCE_S))
