"""One engine, seen from a gateway: the connections to it, kept up, and its state.

One greenlet per engine keeps the main connection: connect, hello, wait for its end, again. A
connection that was of use is replaced at once, then after 0.1 s, twice as long each time, up to
10 s. After two failures in a row the engine counts as down (SETTINGS 2.15). Bodies above 1 MiB go
over a second connection, opened when the first of them comes, so that they hold up nobody.

Contract: ``scan`` blocks the calling greenlet only. State changes are logged here, once each.
"""

import logging
from collections.abc import Callable
from enum import Enum
from typing import Final

from gevent import Greenlet, sleep
from gevent.lock import Semaphore

from gwsmtp.base.endpoint import parse_service_address
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.scan.connection import (
    Connection,
    EngineLate,
    EngineLost,
    Timings,
    open_connection,
)
from gwsmtp.scan.messages import Answer, Failure
from gwsmtp.scan.outcome import ScanRequest
from gwsmtp.scan.wire import Encoder

log = logging.getLogger(__name__)

BULK: Final = 1024 * 1024
"""Bodies above this travel on the second connection."""
_DOWN_AFTER = 2
_PROBE = 30  # as a count of failures: the longest pause
_USEFUL_S = 1.0  # a connection that lived so long, or answered anything, is replaced at once


class EngineState(Enum):
    """CONNECTING is the moment before the first hello or after a loss: worth waiting for."""

    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"


class EngineClient:
    """See the module. ``on_change`` is called, and must not block, when ``state`` changed."""

    def __init__(
        self,
        address: str,
        clock: Clock,
        on_change: Callable[[], None],
        timings: Timings = Timings(),  # noqa: B008 - immutable
        priority: int = 1,
    ) -> None:
        self.name = address
        self.priority = priority
        self.state = EngineState.CONNECTING
        self.cause = "not connected yet"
        self._endpoint = parse_service_address(address)
        self._clock = clock
        self._on_change = on_change
        self._timings = timings
        self._encoder = Encoder()
        self._main: Connection | None = None
        self._bulk: Connection | None = None
        self._bulk_lock = Semaphore()
        self._retiring: set[Connection] = set()
        self._keeper: Greenlet[..., None] | None = None

    def start(self) -> None:
        """Begins to connect; does not block."""
        self._keeper = Greenlet.spawn(self._keep)

    def close(self) -> None:
        """Closes everything; what is in flight is lost."""
        if self._keeper is not None:
            self._keeper.kill(block=False)
            self._keeper = None
        for connection in (self._main, self._bulk, *self._retiring):
            if connection is not None:
                connection.close("gateway closes")
        self._main = self._bulk = None
        self.cause = "gateway closes"
        self._change(EngineState.DOWN)

    @property
    def is_up(self) -> bool:
        """It takes requests now."""
        return self._main is not None and self._main.is_usable

    @property
    def in_flight(self) -> int:
        """Requests without an answer, over all connections."""
        connections = (self._main, self._bulk, *self._retiring)
        return sum(connection.in_flight for connection in connections if connection is not None)

    @property
    def license(self) -> str:
        """The licence state the engine reported last; ``ok`` where it never did."""
        return self._main.license if self._main is not None else "ok"

    def scan(self, request: ScanRequest, interface: str, deadline: float) -> Answer:
        """The engine's answer; raises EngineLost, EngineLate or ScanUnavailable."""
        main = self._main
        if main is None or not main.is_usable:
            raise EngineLost(self.cause)
        body = request.body
        if body.data is None and main.takes_descriptors:
            return main.call(request, interface, deadline)
        if body.size > main.max_body:
            return Failure(0, f"the engine takes bodies up to {main.max_body} octets")
        if body.size <= BULK and body.data is not None:
            return main.call(request, interface, deadline)
        return self._scan_bulk(request, interface, deadline)

    def _scan_bulk(self, request: ScanRequest, interface: str, deadline: float) -> Answer:
        if not self._bulk_lock.acquire(timeout=max(deadline - self._clock.monotonic(), 0)):
            raise EngineLate("no second connection in time")
        try:
            bulk = self._bulk
            if bulk is None or not bulk.is_usable:
                bulk = self._bulk = self._open()
        finally:
            self._bulk_lock.release()
        return bulk.call(request, interface, deadline, is_bulk=True)

    def _open(self) -> Connection:
        return open_connection(self._endpoint, self._clock, self._encoder, self._timings)

    # The keeper ------------------------------------------------------------------------------

    def _keep(self) -> None:
        failures = 0
        while True:
            try:
                connection = self._open()
            except EngineLost as lost:
                failures += 1
                self._failed(failures, str(lost))
            except Exception as error:  # top of a greenlet: without it the engine is gone for good
                log.exception("event=engine_error engine=%s", self.name)
                failures += 1
                self._failed(failures, repr(error))
            else:
                failures = self._use(connection, failures)
            if failures:
                sleep(self._pause(failures))

    def _use(self, connection: Connection, failures: int) -> int:
        """Lives with a connection until it takes no more; gives the new count of failures."""
        since = self._clock.monotonic()
        self._main = connection
        self.cause = ""
        log.info("event=engine_up engine=%s", self.name)
        self._change(EngineState.UP)
        reason = connection.over.get() or "connection closed"
        self._main = None
        self.cause = reason
        if connection.is_draining:
            log.info("event=engine_draining engine=%s", self.name)
            self._retire(connection)
            self._change(EngineState.CONNECTING)
            return 0
        if connection.is_slow:
            failures = _PROBE
            self._failed(failures, reason)
            return failures
        log.warning("event=engine_lost engine=%s cause=%s", self.name, quoted(reason))
        self._change(EngineState.CONNECTING)
        was_useful = connection.answers or self._clock.monotonic() - since > _USEFUL_S
        return 0 if was_useful else failures + 1

    def _retire(self, connection: Connection) -> None:
        self._retiring.add(connection)
        connection.ended.rawlink(lambda _: self._retiring.discard(connection))

    def _pause(self, failures: int) -> float:
        timings = self._timings
        return min(timings.first_retry * 2.0 ** (min(failures, _PROBE) - 1), timings.last_retry)

    def _failed(self, failures: int, cause: str) -> None:
        self.cause = cause
        if failures >= _DOWN_AFTER and self.state is not EngineState.DOWN:
            log.warning("event=engine_down engine=%s cause=%s", self.name, quoted(cause))
            self._change(EngineState.DOWN)

    def _change(self, state: EngineState) -> None:
        self.state = state
        self._on_change()
