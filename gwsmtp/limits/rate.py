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

    Built once, then only read.
    """

    __slots__ = ("burst", "interval_us", "tolerance_us")

    def __init__(self, limit: int, burst: int, per_s: int = 60) -> None:
        self.burst = max(burst, 1)
        self.interval_us = max(per_s * _SECOND_US // limit, 1)
        self.tolerance_us = (self.burst - 1) * self.interval_us

    def next_stamp(self, stamp: int, now_us: int, times: int = 1, factor: int = 1) -> int:
        """The stamp after ``times`` events now, or -1 when they exceed the rate.

        ``factor`` times the rate and the burst are allowed. A stamp further ahead than this rate
        can put one is from another clock or another rate, and counts as fully used, no more.
        """
        interval = self.interval_us // factor or 1
        ahead = max(stamp - now_us, 0)
        most = self.tolerance_us + interval
        ahead = min(ahead, most) + (times - 1) * interval
        if ahead > self.tolerance_us:
            return -1
        return now_us + ahead + interval

    def used(self, stamp: int, now_us: int) -> int:
        """How many events of the burst are taken at ``now_us``, rounded up."""
        return -(-max(stamp - now_us, 0) // self.interval_us)
