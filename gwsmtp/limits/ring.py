"""The last 1,024 decisions of each child, for ``explain`` and ``top``, also when the child is gone.

A ring has one writer, the child in its slot; the next child in the slot writes on. Nobody waits for
anybody: an entry's sequence number is zeroed first and stored last, and a reader takes what carries
the number it had before.
"""

from dataclasses import dataclass
from typing import Final

from gwsmtp.base.audit import AuditEvent, Decided
from gwsmtp.base.decision import Action, Reason
from gwsmtp.base.ids import id_number, id_text
from gwsmtp.base.seams import Clock
from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.identity import describe, identify
from gwsmtp.limits.layout import DECISION_WORDS, RING_SIZE, SLOT_COUNT, Decision

_BYTE: Final = 0xFF
_DAMAGED: Final = 1 << 62  # no ring has seen so many decisions


class RingWriter:
    """The audit reader that keeps decisions in the slot's ring. Never blocks."""

    __slots__ = ("_clock", "_first", "_next", "_words")

    def __init__(self, table: Table, slot_index: int, clock: Clock) -> None:
        self._words = table.words
        self._first = layout.ring(slot_index)
        self._clock = clock
        places = range(self._first, self._first + RING_SIZE * DECISION_WORDS, DECISION_WORDS)
        numbers = (self._words[place + Decision.SEQUENCE] for place in places)
        self._next = 1 + max((number for number in numbers if number < _DAMAGED), default=0)

    def __call__(self, event: AuditEvent) -> None:
        """Keeps a decision; other events are not its."""
        if not isinstance(event, Decided):
            return
        words, sequence = self._words, self._next
        place = self._first + sequence % RING_SIZE * DECISION_WORDS
        words[place + Decision.SEQUENCE] = 0
        words[place + Decision.AT_MS] = self._clock.boot_ms()
        words[place + Decision.SESSION] = id_number(event.session_id)
        words[place + Decision.CLIENT] = identify(event.peer_ip).client
        words[place + Decision.WHAT] = event.reason | event.action << 8 | event.listener << 16
        words[place + Decision.COUNTER] = max(event.counter, 0)
        words[place + Decision.THRESHOLD] = max(event.threshold, 0)
        words[place + Decision.WINDOW_S] = event.window_s
        words[place + Decision.SEQUENCE] = sequence
        self._next = sequence + 1


@dataclass(frozen=True, slots=True)
class DecisionView:
    """One decision as a reader sees it; ``client`` is an address or an IPv6 /64."""

    slot: int
    at_ms: int
    session_id: str
    client: str
    reason: Reason
    action: Action
    listener: int
    counter: int
    threshold: int
    window_s: int


def read_decisions(table: Table) -> list[DecisionView]:
    """All decisions that are still there, oldest first; 65,000 of them take a tenth of a second."""
    found = [view for index in range(SLOT_COUNT) for view in _read_ring(table, index)]
    found.sort(key=lambda view: view.at_ms)
    return found


def _read_ring(table: Table, index: int) -> list[DecisionView]:
    first = layout.ring(index)
    words = table.words[first : first + RING_SIZE * DECISION_WORDS].tolist()
    views = []
    for start in range(0, len(words), DECISION_WORDS):
        entry = words[start : start + DECISION_WORDS]
        sequence = entry[Decision.SEQUENCE]
        if not sequence or table.words[first + start + Decision.SEQUENCE] != sequence:
            continue
        what = entry[Decision.WHAT]
        try:
            reason, action = Reason(what & _BYTE), Action(what >> 8 & _BYTE)
        except ValueError:
            continue  # of a newer version
        views.append(
            DecisionView(
                slot=index,
                at_ms=entry[Decision.AT_MS],
                session_id=id_text(entry[Decision.SESSION]),
                client=describe(entry[Decision.CLIENT]),
                reason=reason,
                action=action,
                listener=what >> 16 & _BYTE,
                counter=entry[Decision.COUNTER],
                threshold=entry[Decision.THRESHOLD],
                window_s=entry[Decision.WINDOW_S],
            )
        )
    return views
