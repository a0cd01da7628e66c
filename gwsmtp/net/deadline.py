"""One timer per connection, armed for whatever its greenlet waits for now.

A gevent Timeout per read costs 2-3 µs; this costs two attribute stores in the usual case: the
loop's timer is not moved when the deadline moves later, it looks again when it fires.

Used from one loop. ``arm`` before a wait, ``disarm`` after it; while armed, the greenlet that
called ``arm`` gets PeerTimeout thrown into its wait. ``close`` when the connection ends.
"""

from collections.abc import Callable

import gevent
import greenlet

from gwsmtp.base.errors import PeerTimeout


class Deadline:
    """The deadline of one connection's waits."""

    __slots__ = ("_expires", "_fires", "_greenlet", "_loop", "_phase", "_timer")

    def __init__(self) -> None:
        self._loop = gevent.get_hub().loop
        self._timer: object | None = None
        self._greenlet: greenlet.greenlet | None = None
        self._expires = 0.0
        self._fires = 0.0
        self._phase = ""

    def arm(self, seconds: float, phase: str) -> None:
        """From now on, the calling greenlet's waiting ends after ``seconds``."""
        expires = self._loop.now() + seconds
        self._expires = expires
        self._phase = phase
        self._greenlet = greenlet.getcurrent()
        if self._timer is None or self._fires > expires:
            self._start(seconds, expires)

    def rearm(self) -> None:
        """Goes on with the deadline armed last: the wait was interrupted, not ended."""
        self._greenlet = greenlet.getcurrent()
        if self._timer is None:
            self._start(self._expires - self._loop.now(), self._expires)

    def disarm(self) -> None:
        """Nothing is waited for."""
        self._greenlet = None

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
        self._stop()

    def _start(self, seconds: float, fires: float) -> None:
        self._stop()
        self._fires = fires
        timer = self._loop.timer(max(0.0, seconds))
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
        left = self._expires - self._loop.now()
        if left > 0.001:
            self._start(left, self._expires)
            return
        self._greenlet = None
        waiting.throw(PeerTimeout(self._phase))
