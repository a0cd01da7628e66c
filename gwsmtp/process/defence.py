"""Composes the defence of one process: from the configuration and the table to lock, rows and door.

Called once in a worker, after the fork; the only place that turns settings into ``limits.policy``.
"""

import os
import random

import gevent

from gwsmtp.base.audit import Audit
from gwsmtp.base.eventlog import EventLog
from gwsmtp.base.ids import SessionIds
from gwsmtp.base.netmatch import AddressTable, parse_pattern
from gwsmtp.config.dos import OffencesGroup, RateLimit, RecipientLimit
from gwsmtp.config.root import Config
from gwsmtp.limits.admission import Admission
from gwsmtp.limits.allow import AllowList
from gwsmtp.limits.dictionary import Dictionary
from gwsmtp.limits.guards import Guard
from gwsmtp.limits.identity import Placement
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Mode, Offence, Policy, RatePolicy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.rate import Rate
from gwsmtp.limits.ring import RingWriter
from gwsmtp.process.anteroom import Anteroom
from gwsmtp.process.child import Child
from gwsmtp.process.counters import Counters
from gwsmtp.process.decisionlog import DecisionLog
from gwsmtp.process.door import Door
from gwsmtp.session.defence import Defence

_LEAST_CONCURRENCY = 10
_LEAST_RESERVE = 4
_SHARE = 0.1
_LIMIT_HIT_POINTS = 1


class WorkerDefence:
    """What guards one worker: its lock, its view of the clients' rows, its admission."""

    __slots__ = (
        "_child",
        "_proxies",
        "admission",
        "allowed",
        "audit",
        "dictionary",
        "exempt",
        "guard",
        "lock",
        "peers",
        "placement",
        "policy",
    )

    def __init__(self, config: Config, child: Child) -> None:
        table, slot = child.table, child.context.slot_index
        self._child = child
        self.audit = _audit(child)
        self.policy = make_policy(config)
        self.placement = Placement(table)
        self.peers = Peers(table, self.placement)
        self.lock = RangeLock(table, slot, gevent.sleep)
        self.admission = Admission(table, slot, self.lock, self.peers, self.policy)
        self.guard = Guard(table, self.lock, self.policy)
        self.dictionary = Dictionary(table, self.lock, self.policy)
        self.allowed = AllowList(table)
        self.exempt = exempt_sources(config)
        self._proxies = config.server.proxy_protocol

    def door(self, ids: SessionIds) -> Door:
        """Who lets clients in or refuses them."""
        child = self._child
        return Door(
            self.admission, self.exempt, self.allowed, ids, self.audit, child.slot, child.clock
        )

    def anteroom(self, door: Door) -> Anteroom | None:
        """Where listed proxies wait before it; None where none is listed."""
        if not self._proxies:
            return None
        child = self._child
        proxies = AddressTable(parse_pattern(text) for text in self._proxies)
        return Anteroom(door, self.admission, proxies, child.slot, child.clock)

    def sessions(self) -> Defence:
        """What sessions are given of it."""
        child = self._child
        return Defence(
            self.policy,
            self.guard,
            self.dictionary,
            self.placement,
            child.table,
            child.slot,
            self.audit,
            child.clock,
            random.Random(os.urandom(32)),
        )


def _audit(child: Child) -> Audit:
    label, index, clock = child.context.label, child.context.slot_index, child.clock
    return Audit(
        EventLog(child.log_writer, label, clock),
        DecisionLog(child.log_writer, label, clock),
        Counters(child.slot),
        RingWriter(child.table, index, clock),
    )


def exempt_sources(config: Config) -> AddressTable:
    """The sources that skip limits and penalties, row 64."""
    sources = config.relay_protection.allowed_sources
    return AddressTable(row.parsed for row in sources if row.skip_connection_tests)


def make_policy(config: Config) -> Policy:
    """The numbers of ``dos_protection`` and of rows 11, 29 and 86."""
    group = config.dos_protection
    most = (config.server.max_inbound_connections, config.ssl.max_inbound_connections)
    limits = group.limits
    fixed = limits.concurrency.limit
    plain, ssl = (fixed or max(_LEAST_CONCURRENCY, int(_SHARE * number)) for number in most)
    return Policy(
        most=most,
        is_acting=group.enabled,
        reserve=(_reserve(most[0], group.reserve), _reserve(most[1], group.reserve)),
        concurrency=(plain, ssl),
        concurrency_mode=Mode[limits.concurrency.mode.upper()],
        connections=_rate(limits.connections),
        messages=_rate(limits.messages),
        recipients=_rate(limits.recipients),
        handshakes=_rate(limits.tls_handshakes),
        auth_per_user=limits.auth_failures.limit,
        auth_per_client=max(limits.auth_failures.burst, 1),
        auth_mode=Mode[limits.auth_failures.mode.upper()],
        points=_points(group.offences),
        bad_recipients=_bad_recipients(config),
        window_ms=config.exploit_detection.hiding_window * 1000,
        least_share=config.exploit_detection.hiding_min_ratio,
        clean_message=group.offences.clean_message,
        half_life_ms=group.offences.half_life * 1000,
        delay_at=group.offences.delay_at,
        restrict_at=group.offences.restrict_at,
        ban_at=group.offences.ban_at,
        ban_ms=group.offences.ban_time * 1000,
        strike_fade_ms=group.offences.strike_fade * 1000,
        longest_penalty_ms=group.offences.ban_time_max * 1000,
    )


def _reserve(most: int, share: float) -> int:
    """Places kept under pressure: at least 4, but never more than half of them; 0: none."""
    return min(max(_LEAST_RESERVE, int(share * most)), most // 2) if share else 0


def _points(offences: OffencesGroup) -> tuple[int, ...]:
    """Points by ``Offence``, whose names are those of the settings."""
    by_name = offences.model_dump()
    return tuple(by_name.get(offence.name.lower(), _LIMIT_HIT_POINTS) for offence in Offence)


def _rate(limit: RateLimit | RecipientLimit) -> RatePolicy:
    return RatePolicy(Rate(limit.limit, limit.burst), Mode[limit.mode.upper()])


def _bad_recipients(config: Config) -> int:
    """Rows 59 and 60."""
    group = config.exploit_detection
    return group.max_failed_addresses if group.hide_addresses else -1
