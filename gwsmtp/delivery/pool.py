"""Connections to next hops, kept and reused; one pool per kind of use and process.

A connection has a place (``places``) from before it is opened until it is closed, idle or not: so
what a message costs is a look at the idle ones. Who finds neither waits up to ``wait_s``, in the
order of coming, for a connection that is given back here, or a place that another process gives up:
one greenlet for each hop asks for it. Where others wait, connections are given up for them as
``places`` says, idle ones within a tenth of a second.

A connection is retired after 100 messages, after 5 minutes, after too many refusals, when it said
anything out of order, or when it was idle for ``idle_s``. Blocks the calling greenlet only.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import gevent
import gevent.event

from gwsmtp.base.seams import Clock
from gwsmtp.delivery.hop import HopConnection, HopFailure, HopTimeouts, open_connection
from gwsmtp.delivery.places import NO_PLACE, Places
from gwsmtp.directory.domains import SmtpHost
from gwsmtp.net.breaker import Breaker
from gwsmtp.net.dial import Dialer

MESSAGES_PER_CONNECTION = 100
CONNECTION_AGE_S = 300.0
_SEEK_S: Final = 0.025
_SWEEP_S: Final = 0.1

PlacesFor = Callable[[SmtpHost], Places]
"""The places at a next hop; asked once for each."""


class _Waiter:
    """Who waits for a connection, or for a place to open one; served with either."""

    __slots__ = ("connection", "place", "served", "since_ms")

    def __init__(self, since_ms: int) -> None:
        self.since_ms = since_ms
        self.served = gevent.event.Event()
        self.connection: HopConnection | None = None
        self.place = NO_PLACE


class _Hop:
    """What a pool knows of one host. ``idle`` ends with the one used last."""

    __slots__ = ("breaker", "idle", "places", "seeker", "waiting")

    def __init__(self, places: Places) -> None:
        self.places = places
        self.idle: list[HopConnection] = []
        self.waiting: deque[_Waiter] = deque()
        self.seeker: gevent.Greenlet[..., None] | None = None
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
        "_max_refusals",
        "_places_for",
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
        places_for: PlacesFor,
        *,
        wait_s: float = 10.0,
        idle_s: float = 5.0,
        max_refusals: int = 0,
    ) -> None:
        self._dialer = dialer
        self._clock = clock
        self._helo_name = helo_name
        self.timeouts = timeouts
        self._places_for = places_for
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
        place = NO_PLACE
        if not hop.waiting:
            if hop.idle:
                connection, place = self._reusable(hop, helo_name, fresh)
                if connection is not None:
                    return connection
            if place == NO_PLACE and hop.seeker is None:
                # While it seeks there was none just now: a busy pool takes no lock a message.
                now_ms = self._clock.boot_ms()
                place = hop.places.take(now_ms, now_ms)
        if place == NO_PLACE:
            waiter = self._wait(hop, host)
            connection, place = waiter.connection, waiter.place
            if connection is not None:
                if not fresh and self._is_fit(connection, helo_name):
                    return connection
                connection.quit()
                place = connection.place
        try:
            opened = self._open(hop, host, helo_name)
        except BaseException:
            self._pass_on(hop, place)
            raise
        opened.place = place
        return opened

    def release(self, connection: HopConnection) -> None:
        """Gives a connection back after a complete transaction; its last reply has been read."""
        hop = self._hop(connection.host)
        now = self._clock.monotonic()
        if (
            connection.messages >= MESSAGES_PER_CONNECTION
            or now - connection.opened_at >= CONNECTION_AGE_S
            or connection.protocol.has_unread
            or (self._max_refusals and connection.refusals >= self._max_refusals)
            or (hop.places.is_claimed and self._must_yield(hop))
        ):
            connection.quit()
            self._pass_on(hop, connection.place)
            return
        connection.is_fresh = False
        connection.idle_since = now
        if hop.waiting:
            self._serve(hop, connection, NO_PLACE)
            return
        hop.idle.append(connection)
        if self._sweeper is None:
            self._sweeper = gevent.spawn(self._sweep)

    def discard(self, connection: HopConnection) -> None:
        """Gives back the place of a connection that is of no more use; drops it."""
        connection.drop()
        self._pass_on(self._hop(connection.host), connection.place)

    def close(self) -> None:
        """Ends all idle connections."""
        for hop in self._hops.values():
            while hop.idle:
                self._end(hop, hop.idle.pop())
        if self._sweeper is not None:
            self._sweeper.kill(block=False)
            self._sweeper = None

    def _hop(self, host: SmtpHost) -> _Hop:
        hop = self._hops.get(host.name)
        if hop is None:
            hop = self._hops[host.name] = _Hop(self._places_for(host))
        return hop

    # Idle connections ----------------------------------------------------------------------

    def _reusable(self, hop: _Hop, helo_name: str, fresh: bool) -> tuple[HopConnection | None, int]:
        """An idle connection, else the place of one that was of no use and is closed."""
        place = NO_PLACE
        while hop.idle:
            # Row 51 passes clients' names on: there may be one of this name further down. If not,
            # the one idle longest makes room for it.
            found = len(hop.idle) - 1
            while found >= 0 and (fresh or hop.idle[found].helo_name != helo_name):
                found -= 1
            connection = hop.idle.pop(max(found, 0))
            is_fit = found >= 0 and self._is_fit(connection, helo_name)
            if place != NO_PLACE:
                self._pass_on(hop, place)
            if is_fit:
                return connection, NO_PLACE
            connection.quit()
            place = connection.place
            if found < 0:
                break
        return None, place

    def _is_fit(self, connection: HopConnection, helo_name: str) -> bool:
        now = self._clock.monotonic()
        # What it said unasked would be taken for the answer to our next command, and every later
        # answer for that of the command before.
        return (
            connection.helo_name == helo_name
            and now - connection.opened_at < CONNECTION_AGE_S
            and now - connection.idle_since < self._idle_s
            and not connection.has_spoken()
        )

    def _end(self, hop: _Hop, connection: HopConnection) -> None:
        connection.quit()
        self._pass_on(hop, connection.place)

    def _sweep(self) -> None:
        # Runs only while something is idle, so that an idle worker stays asleep.
        while any(hop.idle for hop in self._hops.values()):
            gevent.sleep(_SWEEP_S)
            now = self._clock.monotonic()
            for hop in self._hops.values():
                stale = [c for c in hop.idle if now - c.idle_since >= self._idle_s]
                hop.idle = [c for c in hop.idle if now - c.idle_since < self._idle_s]
                if not stale and hop.idle and hop.places.is_claimed and self._must_yield(hop):
                    stale.append(hop.idle.pop(0))
                for connection in stale:
                    self._end(hop, connection)
        self._sweeper = None

    # Places --------------------------------------------------------------------------------

    def _must_yield(self, hop: _Hop) -> bool:
        return hop.places.must_yield(self._clock.boot_ms(), is_wanted=bool(hop.waiting))

    def _pass_on(self, hop: _Hop, place: int) -> None:
        """The place of a closed connection goes to who waits here, or back to all. Never waits."""
        if hop.waiting and not (hop.places.is_claimed and self._must_yield(hop)):
            self._serve(hop, None, place)
        elif not hop.places.try_give_back(place):
            gevent.spawn(hop.places.give_back, place)

    def _serve(self, hop: _Hop, connection: HopConnection | None, place: int) -> None:
        waiter = hop.waiting.popleft()
        waiter.connection, waiter.place = connection, place
        waiter.served.set()

    def _wait(self, hop: _Hop, host: SmtpHost) -> _Waiter:
        """Waits in the queue until it is served; raises HopFailure when that takes too long."""
        waiter = _Waiter(self._clock.boot_ms())
        hop.waiting.append(waiter)
        if hop.seeker is None:
            hop.seeker = gevent.spawn(self._seek, hop)
        try:
            waiter.served.wait(self._wait_s)
        except BaseException:
            if not waiter.served.is_set():
                hop.waiting.remove(waiter)
            elif waiter.connection is not None:
                self._end(hop, waiter.connection)
            else:
                self._pass_on(hop, waiter.place)
            raise
        if not waiter.served.is_set():
            hop.waiting.remove(waiter)
            raise HopFailure(f"{host}: all connections are busy", is_busy=True)
        return waiter

    def _seek(self, hop: _Hop) -> None:
        """Asks for places as long as somebody waits for one."""
        places, clock = hop.places, self._clock
        try:
            while hop.waiting:
                gevent.sleep(_SEEK_S)
                while hop.waiting:
                    place = places.take(clock.boot_ms(), hop.waiting[0].since_ms)
                    if place == NO_PLACE:
                        break
                    if hop.waiting:
                        self._serve(hop, None, place)
                    else:
                        self._pass_on(hop, place)
        finally:
            hop.seeker = None
            places.withdraw()

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
