"""A circuit breaker: after failures in a row, what is down is left alone for a while.

Time is an argument. Nothing blocks.
"""


class Breaker:
    """Opens after ``failures`` failures in a row; while open, one call per ``pause_s`` tries."""

    __slots__ = ("_failures", "_in_row", "_pause_s", "_retry_at")

    def __init__(self, failures: int, pause_s: float) -> None:
        self._failures = failures
        self._pause_s = pause_s
        self._in_row = 0
        self._retry_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last failures were too many."""
        return self._in_row >= self._failures

    def allows(self, now: float) -> bool:
        """Whether to try at ``now``; claims the one trial of a pause when open."""
        if not self.is_open:
            return True
        if now < self._retry_at:
            return False
        self._retry_at = now + self._pause_s
        return True

    def succeeded(self) -> None:
        """The call worked."""
        self._in_row = 0

    def failed(self, now: float) -> bool:
        """The call failed; True when this failure opened the breaker."""
        self._in_row += 1
        self._retry_at = now + self._pause_s
        return self._in_row == self._failures
