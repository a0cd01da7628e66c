"""Kernel shedding: banned clients that go on lose their segments before they cost anything.

Twice a second the leader asks the table who is due (``limits.shedding``) and puts a filter that
drops their segments (``net.bpf``) on every listener it has open, of all generations. Such a client
gets no answer to its SYN, everybody else notices nothing. Where nobody is due there is no filter.
The listeners of an address with trusted proxies get none: behind a proxy, the source is the proxy.

A kernel or a user that refuses filters (EPERM when the master is not root) is told by one line in
the log; banned clients then hear 421 as before. A kernel with less room for filters than ours gets
shorter ones.

Called by the master's loop; blocks on nothing.
"""

import errno
import logging
import socket
import weakref
from collections.abc import Sequence
from typing import Final

from gwsmtp.base.quoting import quoted
from gwsmtp.limits import shedding
from gwsmtp.limits.allow import read_allowed
from gwsmtp.limits.arena import Table
from gwsmtp.limits.identity import address_of
from gwsmtp.limits.layout import CONTROL, Control
from gwsmtp.limits.policy import Policy
from gwsmtp.net import bpf
from gwsmtp.process.context import Settings

log = logging.getLogger(__name__)

STEP_MS: Final = 500
_LOG_MS: Final = 60_000
_LEAST_INSTRUCTIONS: Final = 64


class Shedding:
    """One for each master."""

    __slots__ = (
        "_attached",
        "_calls",
        "_due",
        "_is_off",
        "_logged",
        "_logged_ms",
        "_most",
        "_next_ms",
        "_table",
    )

    def __init__(self, table: Table) -> None:
        self._table = table
        self._calls = -1
        self._due: dict[int, int] = {}
        self._attached: weakref.WeakKeyDictionary[socket.socket, bytes] = (
            weakref.WeakKeyDictionary()
        )
        self._most = bpf.MOST_INSTRUCTIONS
        self._is_off = False
        self._next_ms = 0
        self._logged = 0
        self._logged_ms = 0

    def step(self, config: Settings, listening: Sequence[socket.socket], now_ms: int) -> None:
        """One turn of the loop. ``listening``: all open listeners for clients."""
        if self._is_off or now_ms < self._next_ms:
            return
        self._next_ms = now_ms + STEP_MS
        tags = self._tags(config, now_ms)
        octets, count = b"", 0
        if tags:
            octets, count = bpf.program([address_of(tag) for tag in tags], self._most)
        try:
            for listener in listening:
                self._put(listener, octets)
        except OSError as error:
            self._fail(error, listening)
            return
        self._table.words[CONTROL + Control.SHED] = count
        self._tell(count, now_ms)

    def _tags(self, config: Settings, now_ms: int) -> list[int]:
        """The clients to be shed; those that matter most first."""
        group = config.dos_protection
        if not group.enabled or not group.kernel_shedding or config.server.proxy_protocol:
            self._calls = -1
            return []
        policy = Policy(
            strike_fade_ms=group.offences.strike_fade * 1000,
            longest_penalty_ms=group.offences.ban_time_max * 1000,
        )
        calls = shedding.calls(self._table)
        if calls != self._calls:
            self._calls = calls
            self._due = shedding.find_due(self._table, policy, now_ms)
        elif self._due:
            self._due = shedding.still_due(self._table, self._due, policy, now_ms)
        if not self._due:
            return []
        spared = [entry.pattern for entry in read_allowed(self._table, now_ms)]
        sources = config.relay_protection.allowed_sources
        spared += [source.parsed for source in sources if source.skip_connection_tests]
        return [tag for tag in self._due.values() if not shedding.is_spared(tag, spared)]

    def _put(self, listener: socket.socket, octets: bytes) -> None:
        if self._attached.get(listener, b"") == octets:
            return
        if octets:
            # Before the first filter: what is accepted from now on may have inherited it.
            self._table.words[CONTROL + Control.FILTERED] = 1
            bpf.attach(listener, octets)
        else:
            bpf.detach(listener)
        self._attached[listener] = octets

    def _fail(self, error: OSError, listening: Sequence[socket.socket]) -> None:
        if error.errno == errno.ENOMEM and self._most > _LEAST_INSTRUCTIONS:
            self._most //= 2
            return
        self._is_off = True
        for listener in listening:
            try:
                bpf.detach(listener)
            except OSError:
                pass  # closed, or as unwilling as before
        self._table.words[CONTROL + Control.SHED] = 0
        reason = quoted(f"the kernel refuses filters: {error.strerror or error}")
        log.warning("event=kernel_shedding state=off reason=%s", reason)

    def _tell(self, count: int, now_ms: int) -> None:
        """A line when it begins and when it ends, and at most one a minute in between."""
        is_news = not count or not self._logged or now_ms - self._logged_ms >= _LOG_MS
        if count != self._logged and is_news:
            self._logged, self._logged_ms = count, now_ms
            log.info("event=kernel_shedding clients=%d", count)
