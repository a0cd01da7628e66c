"""The leader's look at how hard pressed its gateway is, once a second.

Reads the table alone: connections, what workers say of their scans and of their loops, what queues
say of the spool's room (``process.spoolroom``: a file system that hangs hangs nobody here). Level
and cause are published (``limits.pressure``). Every ten seconds it counts the clients with a pass,
on whose number the reserve depends. Changes are logged.

Called by the master's loop; blocks on nothing.

Limits: a spool of which no queue has said anything for ten seconds counts as one with room enough.
"""

import logging
from pathlib import Path
from typing import Final

from gwsmtp.base.quoting import quoted
from gwsmtp.limits.admission import live_connections
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import CONTROL, Control
from gwsmtp.limits.peers import count_passes
from gwsmtp.limits.pressure import Pressure, Readings, publish, read_pressure
from gwsmtp.limits.slots import UNKNOWN_ROOM, Gauge, Role, SlotState, SlotView, read_slots
from gwsmtp.process.context import Settings

log = logging.getLogger(__name__)

LOOK_MS: Final = 1_000
COUNT_MS: Final = 10_000
STALE_MS: Final = 10_000
"""So old a word about the spool says nothing any more."""
_BEAT_S: Final = 1.0  # of a child's heartbeat
_PER_MILLE: Final = 1_000
_MICROSECONDS: Final = 1_000_000


class PressureWatch:
    """One for each leader."""

    __slots__ = (
        "_counted_ms",
        "_free",
        "_heard_ms",
        "_is_blind",
        "_looked_ms",
        "_pressure",
        "_spool",
        "_table",
    )

    def __init__(self, table: Table, spool: Path, now_ms: int) -> None:
        left = read_pressure(table.words)
        self._table = table
        self._spool = spool
        self._pressure = Pressure(left.level, left.cause, now_ms)
        self._looked_ms = now_ms - LOOK_MS
        self._counted_ms = now_ms - COUNT_MS
        self._free = UNKNOWN_ROOM
        self._heard_ms = now_ms
        self._is_blind = False

    def step(self, config: Settings, now_ms: int) -> None:
        """Looks, if it is time."""
        words = self._table.words
        if now_ms - self._counted_ms >= COUNT_MS:
            self._counted_ms = now_ms
            words[CONTROL + Control.PASSES] = count_passes(words, now_ms)
        if now_ms - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = now_ms
        before, pressure = self._pressure.level, self._pressure
        has_changed = pressure.step(self._read(config, now_ms), now_ms)
        publish(words, pressure, now_ms)
        if has_changed:
            log.log(
                logging.WARNING if pressure.level > before else logging.INFO,
                "event=pressure level=%d cause=%s",
                pressure.level,
                pressure.cause.word,
            )

    def _read(self, config: Settings, now_ms: int) -> Readings:
        slots = read_slots(self._table)
        workers = [v for v in slots if v.role is Role.WORKER and v.state is SlotState.READY]
        queues = [view for view in slots if view.role is Role.QUEUE]
        waits = [view.gauges[Gauge.SCAN_WAIT] / _PER_MILLE for view in workers]
        return Readings(
            connections=self._connections(config),
            scan_wait=max(waits, default=0.0),
            free_spool=self._free_spool(queues, config.delivery.min_free, now_ms),
            loop_lag_s=max((_lag_s(view, now_ms) for view in workers), default=0.0),
        )

    def _connections(self, config: Settings) -> float:
        shares = [
            live / listener.max_inbound_connections
            for live, listener in zip(
                live_connections(self._table), (config.server, config.ssl), strict=True
            )
            if listener.enabled and listener.max_inbound_connections
        ]
        return max(shares, default=0.0)

    def _free_spool(self, queues: list[SlotView], min_free: int, now_ms: int) -> float:
        """Free octets as a multiple of ``min_free``, by the newest word of any queue."""
        for view in queues:
            looked_ms = view.gauges[Gauge.SPOOL_LOOKED_MS]
            if self._heard_ms <= looked_ms <= now_ms:
                self._heard_ms, self._free = looked_ms, view.gauges[Gauge.SPOOL_FREE]
        silent_ms = now_ms - self._heard_ms
        if silent_ms > STALE_MS:
            self._free = UNKNOWN_ROOM
        if min_free:
            self._tell(silent_ms)
        if not min_free or self._free >= UNKNOWN_ROOM:
            return float("inf")
        return self._free / min_free

    def _tell(self, silent_ms: int) -> None:
        """A line when nothing is known of the spool any more, and one when there is again."""
        is_blind = silent_ms > STALE_MS
        if is_blind != self._is_blind:
            self._is_blind, path = is_blind, quoted(str(self._spool))
            if is_blind:
                reason = quoted(f"no answer for {silent_ms // 1000} s")
                log.error("event=spool_unseen path=%s reason=%s", path, reason)
            else:
                log.info("event=spool_seen path=%s", path)


def _lag_s(view: SlotView, now_ms: int) -> float:
    """How late a worker's loop is: what it says itself, or that it has said nothing for so long."""
    silent_s = (now_ms - view.heartbeat_ms) / 1000 - _BEAT_S
    return max(view.gauges[Gauge.LOOP_LAG_US] / _MICROSECONDS, silent_s)
