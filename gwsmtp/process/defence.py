"""Composes the defence of one process: from the configuration and the table to lock, rows and door.

Called once in a worker, after the fork; the only place that turns settings into ``limits.policy``.
"""

import gevent

from gwsmtp.base.netmatch import AddressTable
from gwsmtp.config.dos import RateLimit, RecipientLimit
from gwsmtp.config.root import Config
from gwsmtp.limits.admission import Admission
from gwsmtp.limits.identity import Placement
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Mode, Policy, RatePolicy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.rate import Rate
from gwsmtp.process.child import Child

_LEAST_CONCURRENCY = 10
_SHARE = 0.1


class Defence:
    """What guards one worker: its lock, its view of the clients' rows, its admission."""

    __slots__ = ("admission", "exempt", "lock", "peers", "placement", "policy")

    def __init__(self, config: Config, child: Child) -> None:
        table, slot = child.table, child.context.slot_index
        self.policy = make_policy(config)
        self.placement = Placement(table)
        self.peers = Peers(table, self.placement)
        self.lock = RangeLock(table, slot, gevent.sleep)
        self.admission = Admission(table, slot, self.lock, self.peers, self.policy)
        sources = config.relay_protection.allowed_sources
        self.exempt = AddressTable(row.parsed for row in sources if row.skip_connection_tests)


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
        concurrency=(plain, ssl),
        concurrency_mode=Mode[limits.concurrency.mode.upper()],
        connections=_rate(limits.connections),
        messages=_rate(limits.messages),
        recipients=_rate(limits.recipients),
        handshakes=_rate(limits.tls_handshakes),
        longest_penalty_ms=group.offences.ban_time_max * 1000,
    )


def _rate(limit: RateLimit | RecipientLimit) -> RatePolicy:
    return RatePolicy(Rate(limit.limit, limit.burst), Mode[limit.mode.upper()])
