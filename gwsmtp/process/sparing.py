"""Log lines of which an attacker could cause any number: one a while and key, the rest counted.

What is kept of keys is bounded. Never blocks.
"""

from typing import Final

_MOST_KEYS: Final = 4096


class Sparing:
    """``pause_s`` of silence follow each line about a key."""

    __slots__ = ("_pause_s", "_seen")

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._seen: dict[str, tuple[float, int]] = {}  # until when it is silent, suppressed so far

    def admit(self, key: str, now_s: float) -> int:
        """A line about ``key`` could be written: how many were suppressed since its last one; -1
        where this is to be suppressed as well.
        """
        until, suppressed = self._seen.get(key, (0.0, 0))
        if now_s < until:
            self._seen[key] = (until, suppressed + 1)
            return -1
        if len(self._seen) >= _MOST_KEYS:
            self._seen.clear()
        self._seen[key] = (now_s + self._pause_s, 0)
        return suppressed
