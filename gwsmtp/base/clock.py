"""Time enters gwsmtp here (architecture rule 5): one object, passed down, replaced in tests.

``monotonic`` and ``boot_ms`` never go backwards (a wrong wall clock changes no timer and no
limit); ``now`` is for what people read. Date strings are cached per second: formatting one costs
more than parsing a command. A Clock is used from one thread.
"""

import time
from email.utils import formatdate

monotonic = time.monotonic
"""For the timers of an event loop, whose own time no test can replace either."""

pause = time.sleep
"""Seconds of doing nothing, in a process without an event loop; blocks it."""


class SystemClock:
    """The real clock. None of its methods blocks."""

    def __init__(self) -> None:
        self._second = -1
        self._rfc5322 = ""
        self._iso = ""

    def monotonic(self) -> float:
        """Seconds for measuring and deadlines; does not count suspended time."""
        return time.monotonic()

    def boot_ms(self) -> int:
        """CLOCK_BOOTTIME in ms, the time of the shared table: the same in every process."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def rfc5322(self) -> str:
        """The local date and time of a trace field (RFC 5322 3.3), with numeric zone."""
        self._refresh()
        return self._rfc5322

    def iso(self) -> str:
        """The local time of a log line, to the second, with offset (RFC 3339)."""
        self._refresh()
        return self._iso

    def _refresh(self) -> None:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._rfc5322 = formatdate(second, localtime=True)
            offset = time.strftime("%z", time.localtime(second))
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(second))
            self._iso = f"{stamp}{offset[:3]}:{offset[3:]}"
