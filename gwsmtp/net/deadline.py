"""One timer per connection, armed for whatever its greenlet waits for now.

A gevent Timeout per read costs 2-3 µs; this costs two attribute stores in the usual case: the
loop's timer is not moved when the deadline moves later, it looks again when it fires.

Used from one loop. ``arm`` before a wait, ``disarm`` after it; while armed, the greenlet that
called ``arm`` gets PeerTimeout thrown into its wait. ``close`` when the connection ends.

What must end at its hour however often the connection is armed anew has ``watch``: a question
that the same timer asks besides, so that it costs nothing until its time has come.

Seconds are those of the monotonic clock: the loop's own ``now`` is the wall clock, and setting
that would end every wait, or none.
"""

from collections.abc import Callable
from math import inf

import gevent
import greenlet

from gwsmtp.base.clock import monotonic
from gwsmtp.base.errors import GatewayError, PeerTimeout

Look = Callable[[], float | GatewayError]
"""In how many seconds to be asked again, or what is thrown into the wait. Must not block."""

_SLACK_S = 0.001
"""The loop's idea of now is a little old: what is due within this much is due."""


class Deadline:
    """The deadline of one connection's waits."""

    __slots__ = (
        "_armed",
        "_expires",
        "_fires",
        "_greenlet",
        "_look",
        "_looks",
        "_loop",
        "_phase",
        "_timer",
    )

    def __init__(self) -> None:
        self._loop = gevent.get_hub().loop
        self._timer: object | None = None
        self._greenlet: greenlet.greenlet | None = None
        self._armed = 0.0
        self._expires = 0.0
        self._fires = 0.0
        self._phase = ""
        self._look: Look | None = None
        self._looks = inf

    def arm(self, seconds: float, phase: str) -> None:
        """From now on, the calling greenlet's waiting ends after ``seconds``."""
        now = monotonic()
        expires = now + seconds
        self._armed = now
        self._expires = expires
        self._phase = phase
        self._greenlet = greenlet.getcurrent()
        if self._timer is None or self._fires > expires:
            self._start()

    def rearm(self) -> None:
        """Goes on with the deadline armed last: the wait was interrupted, not ended."""
        self._greenlet = greenlet.getcurrent()
        if self._timer is None:
            self._start()

    def disarm(self) -> None:
        """Nothing is waited for."""
        self._greenlet = None

    @property
    def armed(self) -> float:
        """When the wait that lasts now was armed, infinity without one."""
        return inf if self._greenlet is None else self._armed

    def hurry(self, patience: Callable[[float], float]) -> None:
        """The wait that lasts now, armed for ``seconds``, ends after ``patience(seconds)`` of them
        if that is earlier; at once where they are over. Called from another greenlet.
        """
        if self._greenlet is None:
            return
        expires = self._armed + patience(self._expires - self._armed)
        if expires < self._expires:
            self._expires = expires
            if self._timer is not None and self._fires > expires:
                self._start()

    def watch(self, seconds: float, look: Look) -> None:
        """Asks ``look`` in ``seconds``, or earlier if a watch is due earlier, and then whenever
        its answers say; only while armed: a question that is due in between is asked then.
        """
        looks = monotonic() + seconds
        self._look = look
        if looks < self._looks:
            self._looks = looks
            if self._timer is not None and self._fires > looks:
                self._start()

    def unwatch(self) -> None:
        """Nothing is asked any more."""
        self._look = None
        self._looks = inf

    def interrupt(self, decide: Callable[[], Exception | None]) -> None:
        """Soon throws what ``decide`` returns then, if anything, into the wait that is armed.
        Called from another greenlet.
        """
        self._loop.run_callback(self._throw, decide)

    def _throw(self, decide: Callable[[], Exception | None]) -> None:
        waiting = self._greenlet
        if waiting is not None and (error := decide()) is not None:
            self._greenlet = None
            waiting.throw(error)

    def close(self) -> None:
        """Stops the timer for good."""
        self._greenlet = None
        self.unwatch()
        self._stop()

    def _start(self) -> None:
        self._stop()
        self._fires = min(self._expires, self._looks)
        timer = self._loop.timer(max(0.0, self._fires - monotonic()))
        timer.start(self._fired)
        self._timer = timer

    def _stop(self) -> None:
        timer = self._timer
        if timer is not None:
            self._timer = None
            timer.stop()  # type: ignore[attr-defined]  # a watcher of the loop
            timer.close()  # type: ignore[attr-defined]

    def _fired(self) -> None:
        self._stop()
        waiting = self._greenlet
        if waiting is None:
            return
        now = monotonic() + _SLACK_S
        error: GatewayError | None = None
        if self._look is not None and self._looks <= now:
            answer = self._look()
            if isinstance(answer, GatewayError):
                self.unwatch()
                error = answer
            else:
                self._looks = now + max(answer, _SLACK_S)
        if error is None and self._expires <= now:
            error = PeerTimeout(self._phase)
        if error is None:
            self._start()
            return
        self._greenlet = None
        waiting.throw(error)
