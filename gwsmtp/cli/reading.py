"""What ``gwsmtp top`` knows: one reading of the table, and a frame made of two.

A frame is plain values, printed by ``--json`` as it is. Rates come from totals that only rise, so
they are exact whoever died in between.
"""

from dataclasses import dataclass
from typing import Any

from gwsmtp.base import procid
from gwsmtp.base.decision import Reason
from gwsmtp.cli.clientview import client_as_dict, limit_word
from gwsmtp.cli.opened import WallTime
from gwsmtp.config.root import Config
from gwsmtp.limits.admission import live_connections
from gwsmtp.limits.arena import Table
from gwsmtp.limits.clients import ClientView, count_clients, worst_clients
from gwsmtp.limits.hops import HopView, read_hops
from gwsmtp.limits.layout import CONTROL, Control
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.shadow import forced_limits
from gwsmtp.limits.shedding import count_shed
from gwsmtp.limits.slots import (
    Gauge,
    Role,
    SlotView,
    Total,
    read_slots,
    sum_decisions,
    sum_totals,
)
from gwsmtp.master.pidfile import RunningMaster

_OUTCOMES = {
    "accepted": Total.MESSAGES_ACCEPTED,
    "rejected": Total.MESSAGES_REJECTED,
    "deferred": Total.MESSAGES_DEFERRED,
    "discarded": Total.MESSAGES_DISCARDED,
    "lost": Total.MESSAGES_LOST,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """The table at ``now_ms``; ``created_ms`` tells two tables apart."""

    now_ms: int
    created_ms: int
    generation: int
    live: tuple[int, int]
    pressure: int
    pressure_since_ms: int
    forced: tuple[str, ...]
    known: int
    evicted: int
    overflow: int
    shed: int
    totals: dict[Total, int]
    decisions: dict[Reason, int]
    worst: list[ClientView]
    slots: list[SlotView]
    hops: list[HopView]
    hops_overflow: int


def read(table: Table, policy: Policy, now_ms: int, most: int) -> Reading:
    """Reads everything once; takes no lock. ``most`` is how many of the worst clients."""
    words = table.words
    return Reading(
        now_ms=now_ms,
        created_ms=table.created_ms,
        generation=table.generation,
        live=live_connections(table),
        pressure=words[CONTROL + Control.PRESSURE],
        pressure_since_ms=words[CONTROL + Control.PRESSURE_SINCE_MS],
        forced=tuple(limit_word(limit) for limit in forced_limits(table)),
        known=count_clients(table),
        evicted=words[CONTROL + Control.CLIENTS_EVICTED],
        overflow=words[CONTROL + Control.CLIENTS_OVERFLOW],
        shed=count_shed(table),
        totals=sum_totals(table),
        decisions=sum_decisions(table),
        worst=worst_clients(table, policy, now_ms, most),
        slots=read_slots(table),
        hops=read_hops(table),
        hops_overflow=words[CONTROL + Control.HOPS_OVERFLOW],
    )


def frame(
    config: Config, master: RunningMaster | None, before: Reading, after: Reading, wall: WallTime
) -> dict[str, Any]:
    """Everything ``--json`` prints; rates are per second between both readings."""
    most = (config.server.max_inbound_connections, config.ssl.max_inbound_connections)
    opened = (config.server.enabled, config.ssl.enabled)
    return {
        "interface": config.interface.name,
        "running": master is not None,
        "pid": master.pid if master else None,
        "generation": after.generation,
        "counting_s": (after.now_ms - after.created_ms) / 1000,
        "listeners": [
            {"name": name, "live": live, "most": limit}
            for name, live, limit, is_open in zip(
                ("plain", "ssl"), after.live, most, opened, strict=True
            )
            if is_open or live
        ],
        "rates": _rates(before, after),
        "pressure": {
            "level": after.pressure,
            "since_s": wall.ago(after.pressure_since_ms) if after.pressure_since_ms else None,
        },
        "shadow": list(after.forced),
        "clients": {
            "known": after.known,
            "evicted": after.evicted,
            "overflow": after.overflow,
            "shed": after.shed,
        },
        "next_hops": {
            "most": config.delivery.max_connections,
            "connections": {view.name: view.live for view in after.hops},
            "overflow": after.hops_overflow,
        },
        "worst": [client_as_dict(view, wall) for view in after.worst],
        "workers": [
            _process(view, wall) | {"sessions": view.gauges[Gauge.SESSIONS]}
            for view in after.slots
            if view.role is Role.WORKER
        ],
        "queues": [
            _process(view, wall) | {"items": view.gauges[Gauge.QUEUE_ITEMS]}
            for view in after.slots
            if view.role is Role.QUEUE
        ],
        "engines": [
            _process(view, wall)
            | {
                "in_work": view.gauges[Gauge.REQUESTS],
                "requests": view.totals[Total.REQUESTS],
                "failed": view.totals[Total.REQUESTS_FAILED],
                "requests_per_s": _engine_rate(view, before, after),
            }
            for view in after.slots
            if view.role is Role.ENGINE
        ],
    }


def _rates(before: Reading, after: Reading) -> dict[str, Any] | None:
    """None where there is nothing to compare: another table, or no time between."""
    seconds = (after.now_ms - before.now_ms) / 1000
    if before.created_ms != after.created_ms or seconds <= 0:
        return None

    def rate(total: Total) -> float:
        return round((after.totals[total] - before.totals[total]) / seconds, 2)

    return {
        "over_s": seconds,
        "sessions": rate(Total.SESSIONS),
        "refused": rate(Total.SESSIONS_REFUSED),
        "messages": {name: rate(total) for name, total in _OUTCOMES.items()},
        "octets_in": rate(Total.OCTETS_IN),
        "octets_out": rate(Total.OCTETS_OUT),
        "decisions": {
            reason.word: round((count - before.decisions[reason]) / seconds, 2)
            for reason, count in after.decisions.items()
            if count
        },
    }


def _engine_rate(view: SlotView, before: Reading, after: Reading) -> float | None:
    seconds = (after.now_ms - before.now_ms) / 1000
    for earlier in before.slots:
        if earlier.index == view.index and before.created_ms == after.created_ms and seconds > 0:
            done = view.totals[Total.REQUESTS] - earlier.totals[Total.REQUESTS]
            return round(done / seconds, 2)
    return None


def _process(view: SlotView, wall: WallTime) -> dict[str, Any]:
    is_alive = procid.is_alive(view.pid, view.start_ticks)
    return {
        "number": view.number,
        "generation": view.generation,
        "pid": view.pid,
        "state": view.state.name.lower() if is_alive or not view.pid else "dead",
        "heartbeat_s": wall.ago(view.heartbeat_ms),
    }
