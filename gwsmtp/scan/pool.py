"""All engines of an interface as one thing that gives verdicts (SETTINGS 2.8 and 2.15).

Engines of the best priority that are up take turns. An engine that is busy, or takes no body of
that size, is passed over for this message; one whose connection dies with the request in flight
costs the request one more try, elsewhere or after the reconnect, for which it waits at most 5 s.
The second death, the deadline, an engine's error on this message, or nobody left to ask:
``ScanUnavailable`` with the cause, which is for the log.

Contract: one pool per process; ``scan`` blocks the calling greenlet, never the process.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from gevent.event import Event

from gwsmtp.base.errors import ScanUnavailable
from gwsmtp.base.reply import printable
from gwsmtp.base.seams import Clock
from gwsmtp.scan.client import EngineClient, EngineState
from gwsmtp.scan.connection import EngineLost, Timings
from gwsmtp.scan.messages import Busy, Verdict
from gwsmtp.scan.outcome import ScanOutcome, ScanRequest

_RULE_LENGTH = 64


class EngineStatus(NamedTuple):
    """One engine for gauges and status."""

    name: str
    state: EngineState
    in_flight: int
    license: str
    cause: str


class ScanPool:
    """See the module. ``addresses`` are ``unix:/path`` or ``host:port``; ``priorities`` names
    those that are not 1, the highest.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        interface: str,
        deadline_s: float,
        clock: Clock,
        priorities: Mapping[str, int] | None = None,
        timings: Timings = Timings(),  # noqa: B008 - immutable
    ) -> None:
        self._interface = interface
        self._deadline_s = deadline_s
        self._clock = clock
        self._failover_s = timings.failover
        self._changed = Event()
        known = priorities or {}
        self._engines = sorted(
            (
                EngineClient(address, clock, self._note_change, timings, known.get(address, 1))
                for address in addresses
            ),
            key=lambda engine: engine.priority,
        )
        self._turn = 0
        self._running: dict[ScanRequest, float] = {}
        self.in_flight = 0
        self.verdicts = 0
        self.failures = 0

    def start(self) -> None:
        """Begins to connect to every engine; does not block."""
        for engine in self._engines:
            engine.start()

    def close(self) -> None:
        """Closes every connection; scans in flight raise ScanUnavailable."""
        for engine in self._engines:
            engine.close()

    @property
    def engines(self) -> tuple[EngineStatus, ...]:
        """The state of every engine, best priority first."""
        return tuple(
            EngineStatus(engine.name, engine.state, engine.in_flight, engine.license, engine.cause)
            for engine in self._engines
        )

    @property
    def is_up(self) -> bool:
        """At least one engine takes requests now."""
        return any(engine.is_up for engine in self._engines)

    def scan(self, request: ScanRequest) -> ScanOutcome:
        """The verdict on ``request``; raises ScanUnavailable with a cause for the log."""
        self.in_flight += 1
        self._running[request] = self._clock.monotonic()
        try:
            outcome = self._scan(request)
        except ScanUnavailable:
            self.failures += 1
            raise
        finally:
            self.in_flight -= 1
            del self._running[request]
        self.verdicts += 1
        return outcome

    def wait_share(self) -> float:
        """How much of its deadline the scan has used that has run longest but one: a queue makes
        many wait, a message that takes long by itself but one.
        """
        begun = [*islice(self._running.values(), 1, 2)]
        return (self._clock.monotonic() - begun[0]) / self._deadline_s if begun else 0.0

    def _scan(self, request: ScanRequest) -> ScanOutcome:
        deadline = self._clock.monotonic() + self._deadline_s
        patience = min(deadline, self._clock.monotonic() + self._failover_s)
        passed_over: dict[EngineClient, str] = {}
        lost = ""
        while True:
            engine = self._choose(passed_over)
            if engine is None:
                engine = self._wait(passed_over, patience, lost)
            try:
                answer = engine.scan(request, self._interface, deadline)
            except EngineLost as error:
                if lost:
                    raise ScanUnavailable(f"{lost}; then {engine.name}: {error}") from error
                lost = f"{engine.name}: {error}"
                patience = min(deadline, self._clock.monotonic() + self._failover_s)
                continue
            except ScanUnavailable as failed:
                raise ScanUnavailable(f"{engine.name}: {failed}") from failed
            if isinstance(answer, Verdict):
                return ScanOutcome(
                    answer.action,
                    printable(answer.text) if answer.text else "",
                    printable(answer.rule, _RULE_LENGTH) if answer.rule else "",
                    answer.headers,
                    engine.name,
                    answer.category,
                )
            if isinstance(answer, Busy):
                passed_over[engine] = "busy"
            elif answer.id:
                raise ScanUnavailable(f"{engine.name}: error: {printable(answer.reason)}")
            else:
                passed_over[engine] = answer.reason

    def _choose(self, passed_over: Mapping[EngineClient, str]) -> EngineClient | None:
        engines = self._engines
        if len(engines) == 1:  # the usual case
            engine = engines[0]
            return engine if engine.is_up and engine not in passed_over else None
        usable = [engine for engine in engines if engine.is_up and engine not in passed_over]
        if not usable:
            return None
        best = usable[0].priority
        equals = [engine for engine in usable if engine.priority == best]
        self._turn += 1
        return equals[self._turn % len(equals)]

    def _wait(
        self, passed_over: Mapping[EngineClient, str], patience: float, lost: str
    ) -> EngineClient:
        """The first engine to come up; raises ScanUnavailable when nobody is expected to."""
        while True:
            hoped_for = [engine for engine in self._engines if engine not in passed_over]
            left = patience - self._clock.monotonic()
            # One that is down is probed every 10 s: no message waits for that.
            if left <= 0 or all(engine.state is EngineState.DOWN for engine in hoped_for):
                causes = [f"{engine.name}: {why}" for engine, why in passed_over.items()]
                causes += [
                    f"{engine.name}: {engine.state.value}: {engine.cause}" for engine in hoped_for
                ]
                raise ScanUnavailable("; ".join((*((lost,) if lost else ()), *causes)))
            self._changed.wait(left)
            engine = self._choose(passed_over)
            if engine is not None:
                return engine

    def _note_change(self) -> None:
        # A new event for the next change: whoever waits on the old one wakes for certain.
        changed, self._changed = self._changed, Event()
        changed.set()
