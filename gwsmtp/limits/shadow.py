"""Limits that a command has put in mode ``shadow``, for all workers and without a reload.

Two words of the table hold a bit for each limit; both set means: shadow, whatever the file says.
An administrator who sees a limit refuse the wrong ones takes its teeth out at once, and changes the
file in peace.
"""

from typing import Final

from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import CONTROL, Control
from gwsmtp.limits.policy import Limit, Mode

_SET: Final = CONTROL + Control.SHADOW_SET
_ON: Final = CONTROL + Control.SHADOW_ON


def effective(words: memoryview, limit: Limit, configured: Mode) -> Mode:
    """The mode of ``limit`` now. Takes no lock; one load while nothing is forced."""
    forced: int = words[_SET]
    if forced and forced & words[_ON] & 1 << limit:
        return Mode.SHADOW
    return configured


def forced_limits(table: Table) -> list[Limit]:
    """Limits that a command has put in mode shadow."""
    forced = table.words[_SET] & table.words[_ON]
    return [limit for limit in Limit if forced & 1 << limit]


def force_shadow(table: Table, limit: Limit, *, is_on: bool) -> None:
    """Puts ``limit`` in mode shadow, or gives it back to the file. Wants the lock."""
    words, bit = table.words, 1 << limit
    if is_on:
        words[_ON] |= bit
        words[_SET] |= bit
    else:
        words[_SET] &= ~bit
        words[_ON] &= ~bit
