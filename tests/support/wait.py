"""Waiting for a condition: the one place of the tests where a short poll interval is allowed."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


def wait_for(
    condition: Callable[[], T], what: str | Callable[[], str], deadline_s: float = 10
) -> T:
    """Returns the first true value of ``condition``; after ``deadline_s`` fails, saying that
    ``what`` is missing (a function is called only then, to tell how things stand).
    """
    ends_at = time.monotonic() + deadline_s
    pause_s = _FIRST_PAUSE_S
    while not (value := condition()):
        if time.monotonic() >= ends_at:
            missing = what if isinstance(what, str) else what()
            raise AssertionError(f"after {deadline_s:g} s still missing: {missing}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    return value
