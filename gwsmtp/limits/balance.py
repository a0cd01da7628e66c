"""May this worker take one session more, or do the others of its generation have fewer?

A worker with s sessions takes another while ``s + 1 <= 1.25 x mean + 1``, the mean over the ready
workers of its generation counted with that session. So the one with the fewest may always, 20
persistent sessions over 2 workers are never worse than 13 and 7, and with many sessions nobody has
more than a quarter above the mean. A split that ending sessions leave behind is mended by those
that come.

Each worker keeps one ``Balance`` and asks before each accept: a few loads from the table, without a
lock or a system call. Who the others are is looked up at most every 100 ms. Time is an argument.

Limits: two workers that ask in the same moment do not see each other's next session.
"""

from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import SLOT_COUNT, Head, slot_gauges, slot_head
from gwsmtp.limits.slots import Gauge, Role, SlotState

_REFRESH_S = 0.1
_SHARE = 1.25


class Balance:
    """One worker's view of its siblings."""

    __slots__ = ("_index", "_looked_s", "_own", "_places", "_words")

    def __init__(self, table: Table, index: int) -> None:
        self._words = table.words
        self._index = index
        self._own = slot_gauges(index) + Gauge.SESSIONS
        self._places: tuple[int, ...] = (self._own,)
        self._looked_s = float("-inf")

    def may_accept(self, now_s: float) -> bool:
        """Whether one session more leaves this worker within its share."""
        words = self._words
        own: int = words[self._own]
        if own == 0:
            return True
        if now_s - self._looked_s >= _REFRESH_S:
            self._refresh(now_s)
        places = self._places
        total = 1
        for place in places:
            total += words[place]
        return own <= _SHARE * total / len(places)

    def _refresh(self, now_s: float) -> None:
        """Looks who serves beside us; ourselves always, ready or not yet."""
        self._looked_s = now_s
        words, own = self._words, slot_head(self._index)
        kind = (words[own + Head.OWNER_PID], words[own + Head.GENERATION])
        places = [self._own]
        for index in range(SLOT_COUNT):
            head = slot_head(index)
            if (
                words[head + Head.STATE] == SlotState.READY
                and words[head + Head.ROLE] == Role.WORKER
                and (words[head + Head.OWNER_PID], words[head + Head.GENERATION]) == kind
                and index != self._index
            ):
                places.append(slot_gauges(index) + Gauge.SESSIONS)
        self._places = tuple(places)
