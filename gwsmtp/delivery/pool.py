"""Connections to next hops, kept and reused; one pool per kind of use and worker.

Per host at most ``limit`` connections are open; who wants one more waits up to ``wait_s``. A
connection is retired after 100 messages, after 5 minutes, after too many refusals, when it said
anything out of order, or when it was idle for ``idle_s``. Blocks the calling greenlet only.

Limits: the limit is per worker; the worker is given its share of ``delivery.max_connections``, so
that all workers together stay below it, until the shared table counts next hops.
"""

import gevent
from gevent.lock import BoundedSemaphore

from gwsmtp.base.seams import Clock
from gwsmtp.delivery.hop import HopConnection, HopFailure, HopTimeouts, open_connection
from gwsmtp.directory.domains import SmtpHost
from gwsmtp.net.breaker import Breaker
from gwsmtp.net.dial import Dialer

MESSAGES_PER_CONNECTION = 100
CONNECTION_AGE_S = 300.0


class _Hop:
    """What a pool knows of one host."""

    __slots__ = ("breaker", "idle", "places")

    def __init__(self, limit: int) -> None:
        self.places = BoundedSemaphore(limit)
        self.idle: list[HopConnection] = []
        # Three connects in a row that fail, and the host is left alone for two seconds, so that
        # a dead host costs a client no connect timeout of its own.
        self.breaker = Breaker(3, 2.0)


class HopPool:
    """See the module."""

    __slots__ = (
        "_clock",
        "_dialer",
        "_helo_name",
        "_hops",
        "_idle_s",
        "_limit",
        "_max_refusals",
        "_sweeper",
        "_wait_s",
        "timeouts",
    )

    def __init__(
        self,
        dialer: Dialer,
        clock: Clock,
        helo_name: str,
        timeouts: HopTimeouts,
        *,
        limit: int,
        wait_s: float = 10.0,
        idle_s: float = 5.0,
        max_refusals: int = 0,
    ) -> None:
        self._dialer = dialer
        self._clock = clock
        self._helo_name = helo_name
        self.timeouts = timeouts
        self._limit = limit
        self._wait_s = wait_s
        self._idle_s = idle_s
        self._max_refusals = max_refusals
        self._hops: dict[str, _Hop] = {}
        self._sweeper: gevent.Greenlet[[], None] | None = None

    def acquire(self, host: SmtpHost, helo_name: str = "", *, fresh: bool = False) -> HopConnection:
        """A greeted connection, the caller's until ``release`` or ``discard``; raises HopFailure.

        ``helo_name`` is what it was, or is to be, greeted with: "" for our own name. ``fresh``
        asks for a new one: the pooled ones have just proved stale.
        """
        helo_name = helo_name or self._helo_name
        hop = self._hop(host)
        if not hop.places.acquire(blocking=False) and not hop.places.acquire(timeout=self._wait_s):
            raise HopFailure(f"{host}: all connections are busy", is_busy=True)
        try:
            if not fresh:
                connection = self._reusable(hop, helo_name)
                if connection is not None:
                    return connection
            return self._open(hop, host, helo_name)
        except BaseException:
            hop.places.release()
            raise

    def release(self, connection: HopConnection) -> None:
        """Gives a connection back after a complete transaction; its last reply has been read."""
        hop = self._hop(connection.host)
        now = self._clock.monotonic()
        if (
            connection.messages >= MESSAGES_PER_CONNECTION
            or now - connection.opened_at >= CONNECTION_AGE_S
            or connection.protocol.has_unread
            or (self._max_refusals and connection.refusals >= self._max_refusals)
        ):
            connection.quit()
        else:
            connection.is_fresh = False
            connection.idle_since = now
            hop.idle.append(connection)
            if self._sweeper is None:
                self._sweeper = gevent.spawn(self._sweep)
        hop.places.release()

    def discard(self, connection: HopConnection) -> None:
        """Gives back the place of a connection that is of no more use; drops it."""
        connection.drop()
        self._hop(connection.host).places.release()

    def close(self) -> None:
        """Ends all idle connections."""
        for hop in self._hops.values():
            while hop.idle:
                hop.idle.pop().quit()
        if self._sweeper is not None:
            self._sweeper.kill(block=False)
            self._sweeper = None

    def _hop(self, host: SmtpHost) -> _Hop:
        hop = self._hops.get(host.name)
        if hop is None:
            hop = self._hops[host.name] = _Hop(self._limit)
        return hop

    def _reusable(self, hop: _Hop, helo_name: str) -> HopConnection | None:
        now = self._clock.monotonic()
        while hop.idle:
            connection = hop.idle.pop()
            if connection.helo_name != helo_name:
                # Row 51 passes clients' names on: there may be one of this name further down.
                # If not, an idle one makes room for it, since idle ones hold no place.
                hop.idle.append(connection)
                connection = next((c for c in hop.idle if c.helo_name == helo_name), hop.idle[0])
                hop.idle.remove(connection)
                if connection.helo_name != helo_name:
                    connection.quit()
                    return None
            is_young = now - connection.opened_at < CONNECTION_AGE_S
            is_awake = now - connection.idle_since < self._idle_s
            # What it said unasked would be taken for the answer to our next command, and every
            # later answer for that of the command before.
            if is_young and is_awake and not connection.has_spoken():
                return connection
            connection.quit()
        return None

    def _open(self, hop: _Hop, host: SmtpHost, helo_name: str) -> HopConnection:
        now = self._clock.monotonic()
        if not hop.breaker.allows(now):
            raise HopFailure(f"{host}: did not answer just now, left alone for a moment")
        try:
            connection = open_connection(self._dialer, host, helo_name, self.timeouts, self._clock)
        except HopFailure as e:
            # Busy is not down: the host answers.
            if not e.is_busy:
                hop.breaker.failed(self._clock.monotonic())
            raise
        hop.breaker.succeeded()
        return connection

    def _sweep(self) -> None:
        # Runs only while something is idle, so that an idle worker stays asleep.
        while any(hop.idle for hop in self._hops.values()):
            gevent.sleep(1.0)
            now = self._clock.monotonic()
            for hop in self._hops.values():
                stale = [c for c in hop.idle if now - c.idle_since >= self._idle_s]
                hop.idle = [c for c in hop.idle if now - c.idle_since < self._idle_s]
                for connection in stale:
                    connection.quit()
        self._sweeper = None
