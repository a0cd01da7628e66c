"""What is left of the dead: their open connections taken out of all counts, their slots given back.

A slot is free only after its ledger has been recovered, since a free slot's ledger counts for
nothing. Recovery wants the admission lock; where others keep it, the slots stay as they are and the
next turn of the master's loop tries again, so the master never waits longer than a few ms.

The master looks after the lock itself too: one process that keeps it for half a second (stopped, or
hanging) is killed, be it otherwise alive; the kernel gives the lock to the others at once.

Called by the master's loop.
"""

import logging
from collections.abc import Iterable
from typing import Final

from gwsmtp.base import procid
from gwsmtp.base.clock import pause
from gwsmtp.base.errors import TableError
from gwsmtp.base.procid import ProcessId
from gwsmtp.base.seams import Clock
from gwsmtp.limits.arena import Table
from gwsmtp.limits.ledger import recover
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock, holder
from gwsmtp.limits.slots import find_dead, find_free, free_slot

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 0.01
HOLD_MS: Final = 500


class Burial:
    """One for each master."""

    __slots__ = ("_clock", "_held_since_ms", "_holder", "_lock", "_owner", "_table", "_waiting")

    def __init__(self, table: Table, owner: ProcessId, clock: Clock) -> None:
        self._table = table
        self._owner = owner
        self._clock = clock
        self._lock = RangeLock(table, OUTSIDER, pause)
        self._waiting: dict[int, int] = {}  # slot: since when
        self._holder: int | None = None
        self._held_since_ms = 0

    @property
    def is_waiting(self) -> bool:
        """Whether slots wait to be given back, or the lock is being watched."""
        return bool(self._waiting) or self._holder is not None

    def bury(self, slots: Iterable[int]) -> None:
        """The children in these slots were reaped: the slots are given back, now or soon."""
        now_ms = self._clock.boot_ms()
        self._waiting.update(dict.fromkeys(slots, now_ms))
        self.go_on()

    def sweep(self) -> None:
        """The same for children of earlier masters that live no more."""
        known = self._waiting
        dead = find_dead(self._table, procid.is_alive, self._owner)
        self.bury(index for index in dead if index not in known)

    def heal(self) -> None:
        """At a start: recovers all slots that nobody lives in, whatever stands in their ledgers."""
        dead = find_dead(self._table, procid.is_alive, self._owner)
        self.bury([*dead, *find_free(self._table)])

    def go_on(self) -> None:
        """Gives back what waits, if the lock is to be had."""
        if not self._waiting:
            return
        slots = list(self._waiting)
        try:
            connections = recover(self._table, self._lock, slots, _PATIENCE_S)
        except TableError:
            return
        took_ms = self._clock.boot_ms() - min(self._waiting.values())
        for index in slots:
            free_slot(self._table, index)
        self._waiting.clear()
        if connections:
            log.warning("event=connections_recovered connections=%d ms=%d", connections, took_ms)

    def stuck_holder(self) -> int | None:
        """The slot whose process has kept the admission lock for half a second, None: nobody.

        Asked every turn of the loop; the turns come quickly while ``is_waiting``.
        """
        index = holder(self._table)
        if index is None or self._lock.try_hold():
            if index is not None:
                self._lock.release()
            self._holder = None
            return None
        now_ms = self._clock.boot_ms()
        if index != self._holder:
            self._holder, self._held_since_ms = index, now_ms
        if now_ms - self._held_since_ms < HOLD_MS:
            return None
        self._holder = None
        return index
