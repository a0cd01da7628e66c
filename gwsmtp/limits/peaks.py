"""The most that each client has used at once of each limit: what thresholds are proposed from.

Four counts in one word of the client's row, 16 bits each. They live as long as the row; a client
that a limit stops, or would stop, is seen at that limit's threshold and not beyond. Of rates it is
the part of the burst that was taken, so a client with a pass, which may use four times as much,
counts a quarter.
"""

from enum import IntEnum
from typing import Final

from gwsmtp.limits.layout import Client

_BITS: Final = 16
_MOST: Final = (1 << _BITS) - 1


class Peak(IntEnum):
    """What is remembered. Numbers stand in the table."""

    CONCURRENCY = 0
    CONNECTIONS = 1
    MESSAGES = 2
    RECIPIENTS = 3


def note_peak(words: memoryview, place: int, peak: Peak, used: int) -> None:
    """Remembers ``used`` in the client's row at word ``place`` if it is more than ever. Wants the
    lock.
    """
    word: int = words[place + Client.PEAKS]
    shift = peak * _BITS
    before = word >> shift & _MOST
    if used > before:
        words[place + Client.PEAKS] = word ^ (before ^ min(used, _MOST)) << shift


def exceeds_peak(words: memoryview, place: int, peak: Peak, used: int) -> bool:
    """Whether ``note_peak`` would change the row. Takes no lock."""
    word: int = words[place + Client.PEAKS]
    return min(used, _MOST) > word >> peak * _BITS & _MOST


def unpack_peaks(word: int) -> dict[Peak, int]:
    """What a row remembers."""
    return {peak: word >> peak * _BITS & _MOST for peak in Peak}
