"""How slow a client may be, whatever the manual's timers say (DEFENCE, Always).

Two limits. A transaction lasts an hour at most, from MAIL to its end of data. And while payload is
read, its octets are counted in consecutive windows of 30 s: three windows in a row below
``protocol.data_min_rate`` are enough, one under pressure. Both are looked at only when a window or
the hour is over (``net.deadline.Deadline.watch``); a read costs a comparison.

A window holds time spent waiting for payload and nothing else: not ours (a slow disk), not the
pauses between the chunks of BDAT, and nothing before the first octet, which has a timer of its own
(SETTINGS row 39). One look ends one window, however late it comes.

Pure: the time and the octets read are arguments; octets are those of the wire.

Limits: a pause in the payload beyond three windows is too slow even where row 40 would allow it
(``timeout_profile: relaxed``). What the rate was while octets waited unread cannot be told, so a
worker that lags by whole windows may count one as slow; three in a row it cannot.
"""

from gwsmtp.base import replies
from gwsmtp.base.errors import GatewayError
from gwsmtp.base.reply import Reply


class CutOff(GatewayError):
    """A limit is exceeded: what the client is told, and the reason for the log."""

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply
        self.reason = reason


class PaceLimits:
    """``min_rate`` in octets a second, 0 for no limit; ``windows`` in a row make it too slow."""

    __slots__ = ("min_rate", "transaction_s", "window_s", "windows")

    def __init__(
        self,
        min_rate: float = 0,
        transaction_s: float = 3600.0,
        window_s: float = 30.0,
        windows: int = 3,
    ) -> None:
        self.min_rate = min_rate
        self.transaction_s = transaction_s
        self.window_s = window_s
        self.windows = windows

    def pressed(self) -> "PaceLimits":
        """Those under pressure: one slow window is enough."""
        return PaceLimits(self.min_rate, self.transaction_s, self.window_s, 1)


class Rate:
    """The windows of one message; runs from its making on."""

    __slots__ = ("_limits", "_mark", "_since", "_slow", "_spent_s", "begun", "is_paused")

    def __init__(self, limits: PaceLimits, now: float, octets: int) -> None:
        self._limits = limits
        self._mark = octets
        self._since = now
        self._slow = 0
        self._spent_s = 0.0
        self.begun = now
        self.is_paused = False

    def pause(self, now: float) -> None:
        """No payload is waited for from now on; may be called again."""
        if not self.is_paused:
            self._spent_s += now - self._since
            self.is_paused = True

    def resume(self, now: float) -> None:
        """Payload is waited for again; the window goes on."""
        self._since = now
        self.is_paused = False

    def excuse(self, seconds: float) -> None:
        """So much of the time that runs was ours."""
        self._since += seconds

    def left_s(self, now: float) -> float:
        """Until the window ends."""
        return self._limits.window_s - self._elapsed_s(now)

    def is_too_slow(self, now: float, octets: int, windows: int = 0) -> bool:
        """Ends the window if it is over; whether too many in a row were slow: ``windows``, where
        that is not 0, instead of what the limits say.
        """
        limits, elapsed_s = self._limits, self._elapsed_s(now)
        if elapsed_s >= limits.window_s:
            is_slow = octets - self._mark < limits.min_rate * elapsed_s
            self._slow = self._slow + 1 if is_slow else 0
            self._mark = octets
            self._since = now
            self._spent_s = 0.0
        return self._slow >= (windows or limits.windows)

    def _elapsed_s(self, now: float) -> float:
        return self._spent_s if self.is_paused else self._spent_s + now - self._since


def look(
    limits: PaceLimits, now: float, octets: int, begun: float | None, rate: Rate | None
) -> float | CutOff:
    """When to look again, or why the session ends: ``begun`` is the transaction's MAIL.

    Without a transaction there is nothing to look at for as long as the next one could last.
    """
    if begun is None:
        # Payload that belongs to none (a refused chunk's) must not last for ever either.
        begun = rate.begun if rate is not None else now
    left_s = begun + limits.transaction_s - now
    if left_s <= 0:
        return CutOff(replies.TRANSACTION_TOO_LONG, "transaction too long")
    if rate is None or rate.is_paused:
        return left_s
    if rate.is_too_slow(now, octets, limits.windows):
        return CutOff(replies.DATA_TOO_SLOW, "data too slow")
    return min(left_s, rate.left_s(now))
