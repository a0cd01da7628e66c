"""What is left of the dead: their open connections taken out of all counts, their slots given back.

A slot is free only after its ledger has been recovered, since a free slot's ledger counts for
nothing. Recovery wants the admission lock; where others keep it, the slots stay as they are and the
next turn of the master's loop tries again, so the master never waits longer than a few ms.

A dead child is known by what stands in its slot's head. Its slot is looked at again under the lock
and freed under it: meanwhile its own master may have buried it and given the slot to another.

The master looks after the lock itself too: one process that keeps it for half a second (stopped, or
hanging) is killed, be it otherwise alive; the kernel gives the lock to the others at once.

Called by the master's loop.
"""

import logging
import os
import signal
from collections.abc import Iterable
from typing import Final

from gwsmtp.base import procid
from gwsmtp.base.clock import pause
from gwsmtp.base.errors import TableError
from gwsmtp.base.procid import ProcessId
from gwsmtp.base.seams import Clock
from gwsmtp.limits.arena import Table
from gwsmtp.limits.keeper import find_keeper
from gwsmtp.limits.layout import Head, slot_head
from gwsmtp.limits.ledger import recover
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock
from gwsmtp.limits.slots import SlotState, find_dead, free_slot, read_slots

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 0.01
HOLD_MS: Final = 500
LOOKS: Final = 5
"""So often at least, too: the machine, or the master alone, may have stood still meanwhile."""

Dead = tuple[int, ...]
"""The head's words that tell a slot's child from any other."""


class Burial:
    """One for each master."""

    __slots__ = (
        "_clock",
        "_is_healing",
        "_keeper",
        "_kept_since_ms",
        "_lock",
        "_looks",
        "_owner",
        "_table",
        "_waiting",
        "_waiting_since_ms",
    )

    def __init__(self, table: Table, owner: ProcessId, clock: Clock) -> None:
        self._table = table
        self._owner = owner
        self._clock = clock
        self._lock = RangeLock(table, OUTSIDER, pause)
        self._waiting: dict[int, Dead] = {}
        self._waiting_since_ms = 0
        self._is_healing = False
        self._keeper: ProcessId | None = None
        self._kept_since_ms = self._looks = 0

    @property
    def is_waiting(self) -> bool:
        """Whether slots wait to be given back, or the lock is being watched."""
        return bool(self._waiting) or self._is_healing or self._keeper is not None

    def bury(self, slots: Iterable[int]) -> None:
        """The children in these slots were reaped: the slots are given back, now or soon."""
        if not self._waiting:
            self._waiting_since_ms = self._clock.boot_ms()
        for index in slots:
            self._waiting[index] = self._child_in(index)
        self.go_on()

    def sweep(self) -> None:
        """The same for children of earlier masters that live no more."""
        self.bury(find_dead(self._table, procid.is_alive, self._owner))

    def heal(self) -> None:
        """At a start: all counts recomputed, whatever stands in the ledgers of dead and free slots
        taken out.
        """
        self._is_healing = True
        self.sweep()

    def go_on(self) -> None:
        """Gives back what waits, if the lock is to be had."""
        if not self._waiting and not self._is_healing:
            return
        try:
            self._lock.hold(_PATIENCE_S)
        except TableError:
            return
        try:
            dead = [index for index, who in self._waiting.items() if self._child_in(index) == who]
            connections = recover(self._table, dead)
            for index in dead:
                free_slot(self._table, index)
        finally:
            self._lock.release()
        self._waiting.clear()
        self._is_healing = False
        if connections:
            took_ms = self._clock.boot_ms() - self._waiting_since_ms
            log.warning("event=connections_recovered connections=%d ms=%d", connections, took_ms)

    def free_lock(self) -> None:
        """Ends a process that has kept the admission lock for half a second. Asked every turn of
        the loop; the turns come quickly while ``is_waiting``.
        """
        if self._lock.try_hold():
            self._lock.release()
            self._keeper = None
            return
        if self._keeper is None:
            self._keeper, self._looks = find_keeper(self._table), 0
            self._kept_since_ms = self._clock.boot_ms()  # looking may have taken long
            return
        self._looks += 1
        if self._looks >= LOOKS and self._clock.boot_ms() - self._kept_since_ms >= HOLD_MS:
            keeper, self._keeper = self._keeper, None
            if find_keeper(self._table) == keeper:
                self._end(keeper[0])

    def _end(self, pid: int) -> None:
        names = [
            f"{v.role.name.lower()}-{v.number}" for v in read_slots(self._table) if v.pid == pid
        ]
        child, stopped = names[0] if names else "none", procid.is_stopped(pid)
        log.error("event=lock_kept child=%s pid=%d stopped=%s", child, pid, stopped)
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError as error:
            log.error("event=lock_kept pid=%d reason=%s", pid, error.strerror)

    def _child_in(self, index: int) -> Dead:
        """Empty where the slot is free."""
        head, words = slot_head(index), self._table.words
        if words[head + Head.STATE] == SlotState.FREE:
            return ()
        return tuple(words[head + Head.PID : head + Head.READY_MS].tolist())
