"""The end of a gateway: who is told to end when, and who is killed in the end.

A drain goes through ``children.STOP_ORDER``: workers may finish with the queue and the engine still
there, so TERM goes to one phase after the other has ended. A stop is INT for all. Each has a
deadline, after which whoever is left gets SIGKILL. Driven by the master's loop; nothing blocks.
"""

import logging
import signal

from gwsmtp.limits.slots import Role
from gwsmtp.master.children import STOP_ORDER, Children, send_signal

log = logging.getLogger(__name__)

_DRAIN_GRACE_MS = 5_000
_STOP_MS = 5_000


class Drain:
    """The master's way to its end, from ``begin`` or ``stop`` on."""

    def __init__(self) -> None:
        self._phase = -1  # index into STOP_ORDER
        self._deadline_ms = 0
        self._drain_ms = 0
        self.is_stopping = False

    @property
    def is_ending(self) -> bool:
        """True from the first signal on."""
        return self._phase >= 0 or self.is_stopping

    def begin(self, children: Children, now_ms: int, drain_ms: int) -> None:
        """Everybody may finish; who talks to others has ``drain_ms`` for it."""
        self._drain_ms = drain_ms
        self._enter(0, children, now_ms)

    def stop(self, children: Children, now_ms: int) -> None:
        """Nobody may finish."""
        self.is_stopping = True
        self._deadline_ms = now_ms + _STOP_MS
        children.signal_all(signal.SIGINT)

    def advance(self, children: Children, now_ms: int) -> bool:
        """The next step; True when nobody lives any more."""
        if not children.living:
            return True
        if self.is_stopping:
            left = list(children.living.values())
        else:
            while not children.of(STOP_ORDER[self._phase]):
                self._enter(self._phase + 1, children, now_ms)
            left = children.of(STOP_ORDER[self._phase])
        if now_ms >= self._deadline_ms:
            for child in left:
                log.warning("event=killed child=%s-%d", child.seat.role.name, child.seat.number)
                send_signal(child.pid, signal.SIGKILL)
        return False

    def _enter(self, phase: int, children: Children, now_ms: int) -> None:
        self._phase = phase
        self._deadline_ms = now_ms + _DRAIN_GRACE_MS
        if Role.WORKER in STOP_ORDER[phase] or Role.QUEUE in STOP_ORDER[phase]:
            self._deadline_ms += self._drain_ms
        for child in children.of(STOP_ORDER[phase]):
            if not child.is_dismissed:  # it drains already, and a second TERM would stop it
                child.is_dismissed = True
                send_signal(child.pid, signal.SIGTERM)
