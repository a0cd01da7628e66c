"""Rates by GCRA: one time stamp each, no window whose edge lets twice as much through.

The stamp is the theoretical arrival time (ITU-T I.371): when the client would arrive next if it
kept exactly to its rate. An event is within the rate while it comes less than ``burst`` intervals
before that. The stamp decays by itself: an old one says "long quiet". Zero is a valid stamp.

Pure arithmetic on microseconds of CLOCK_BOOTTIME; no table, no clock.
"""

from typing import Final

_SECOND_US: Final = 1_000_000


class Rate:
    """``limit`` events in ``per_s`` seconds on average, at most ``burst`` at once (at least one).

    Built once, then only read. ``full_us`` is how far ahead of now a stamp is whose burst is used.
    """

    __slots__ = ("burst", "full_us", "interval_us")

    def __init__(self, limit: int, burst: int, per_s: int = 60) -> None:
        self.burst = max(burst, 1)
        self.interval_us = max(per_s * _SECOND_US // limit, 1)
        self.full_us = self.burst * self.interval_us

    def next_stamp(self, stamp: int, now_us: int, times: int = 1, factor: int = 1) -> int:
        """The stamp after ``times`` events now, or -1 when they exceed the rate.

        ``factor`` times the rate and the burst are allowed. A stamp further ahead than this rate
        can put one is from another clock or another rate: these events are within the rate, and the
        stamp is that of a burst fully used, so that it shuts nobody out for ever.
        """
        events_us = times * (self.interval_us // factor or 1)
        ahead = stamp - now_us
        if ahead > self.full_us:
            ahead = self.full_us - events_us
        ahead = max(ahead, 0) + events_us
        return now_us + ahead if ahead <= self.full_us else -1

    def used(self, stamp: int, now_us: int, factor: int = 1) -> int:
        """How many events of the burst are taken at ``now_us``, rounded up."""
        return -(-max(stamp - now_us, 0) // (self.interval_us // factor or 1))
