"""When the queue tries again. Pure.

Times on disk are wall-clock times, and a wall clock may be wrong, set back, or set right while
nobody looks. So what was planned is believed only as far as it can be: nobody waits longer than
the interval that was planned, whatever the clock says now.
"""

import random
from collections.abc import Sequence
from typing import Final

JITTER: Final = 0.25


def interval(attempts: int, schedule: Sequence[int], rng: random.Random) -> float:
    """Seconds until the next try after the ``attempts``-th one failed (from 1), at most a quarter
    earlier or later, so that what failed together does not come again together.
    """
    planned = schedule[min(max(attempts, 1), len(schedule)) - 1]
    return planned * rng.uniform(1 - JITTER, 1 + JITTER)


def wait_for(tried_at: float, next_at: float, now: float) -> float:
    """Seconds left of an interval that was planned at ``tried_at`` to end at ``next_at``."""
    return min(max(next_at - now, 0.0), max(next_at - tried_at, 0.0))
