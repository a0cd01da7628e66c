"""One try for some recipients of a spooled item, by the same means as delivery in line.

In line all recipients of a message share one answer, since one client waits for it. Here each has
its own: those a host refuses or puts off are taken out, and the others go at once in a transaction
of their own, so that nobody waits for a mailbox that stays full.

Blocks the calling greenlet, the queue's, only.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

from gwsmtp.base import replies
from gwsmtp.base.seams import Clock
from gwsmtp.delivery.attempt import InlineDelivery, Letter, Outcome, Result
from gwsmtp.delivery.route import Route
from gwsmtp.delivery.schedule import interval
from gwsmtp.spool.item import Envelope, Mark, StateLine
from gwsmtp.spool.stored import Item

PATIENCE_S: Final = 3600.0
_TRANSACTIONS: Final = 4


class Tried:
    """What came of a try: a line for each outcome, not written yet. ``is_host_down``: no host of
    the route could be talked to.
    """

    __slots__ = ("is_host_down", "lines")

    def __init__(self) -> None:
        self.lines: list[StateLine] = []
        self.is_host_down = False


class SpooledDelivery:
    """See the module. ``helo_name`` says what to greet with for a client's name, "" for our own;
    ``note`` hears of every transaction: whether it delivered, and its seconds.
    """

    __slots__ = ("_clock", "_helo_name", "_inline", "_note", "_rng", "schedule")

    def __init__(
        self,
        inline: InlineDelivery,
        clock: Clock,
        rng: random.Random,
        schedule: Sequence[int],
        helo_name: Callable[[str], str],
        note: Callable[[bool, float], object],
    ) -> None:
        self._inline = inline
        self._clock = clock
        self._rng = rng
        self.schedule = schedule
        self._helo_name = helo_name
        self._note = note

    def attempt(self, item: Item, route: Route, places: Sequence[int]) -> Tried:
        """Tries to deliver to the recipients at ``places``; each is in one of the lines."""
        tried, left = Tried(), list(places)
        for _ in range(_TRANSACTIONS):
            result = self._transact(item, route, left)
            asked, left = left, self._sort(tried, item.envelope, result, left)
            if not left:
                break
            if len(left) == len(asked):  # nobody's own answer: it concerns all of them
                tried.is_host_down = result.reply is replies.DELIVERY_UNAVAILABLE
                break
        if left:
            text = result.cause or f"{result.reply}"
            tried.lines += self.deferred(item.envelope, left, result.hop, text)
        return tried

    def _transact(self, item: Item, route: Route, places: Sequence[int]) -> Result:
        envelope = item.envelope
        letter = Letter(
            envelope.sender,
            [envelope.recipients[n].address for n in places],
            item.trace,
            item.body,
            is_8bit=envelope.is_8bit,
            is_utf8=envelope.is_utf8,
            mail_dsn=envelope.mail_dsn,
            rcpt_dsn=envelope.rcpt_dsn,
            helo_name=self._helo_name(envelope.helo),
        )
        before = self._clock.monotonic()
        result = self._inline.deliver(route, letter, PATIENCE_S, _nobody_is_gone)
        self._note(result.outcome is Outcome.DELIVERED, self._clock.monotonic() - before)
        return result

    def _sort(
        self, tried: Tried, envelope: Envelope, result: Result, places: list[int]
    ) -> list[int]:
        """Adds lines for those the result decides about; returns the others."""
        now, hop, text = self._clock.now(), result.hop, f"{result.reply}"
        if result.outcome is Outcome.DELIVERED:
            tried.lines.append(StateLine(now, Mark.DELIVERED, places, 0, hop, text))
            return []
        left = []
        for n in places:
            address = envelope.recipients[n].address
            if refused := result.refused.get(address):
                tried.lines.append(StateLine(now, Mark.REFUSED, (n,), 0, hop, f"{refused}"))
            elif deferred := result.deferred.get(address):
                tried.lines += self.deferred(envelope, (n,), hop, f"{deferred}")
            else:
                left.append(n)
        if left and result.outcome is Outcome.REFUSED:
            tried.lines.append(StateLine(now, Mark.REFUSED, left, 0, hop, text))
            return []
        return left

    def deferred(
        self, envelope: Envelope, places: Sequence[int], hop: str, text: str
    ) -> list[StateLine]:
        """Lines that put recipients off: one for each number of tries, since they wait differently
        long.
        """
        now, lines = self._clock.now(), []
        by_attempts: dict[int, list[int]] = {}
        for n in places:
            by_attempts.setdefault(envelope.recipients[n].attempts, []).append(n)
        for attempts, some in by_attempts.items():
            seconds = interval(attempts + 1, self.schedule, self._rng)
            lines.append(StateLine(now, Mark.DEFERRED, some, now + seconds, hop, text))
        return lines


def _nobody_is_gone() -> bool:
    return False
