"""Worker slots: who lives, how it is, and what it has counted.

A slot belongs to one child from before its fork until it has been reaped. The master takes it
(``claim_slot``) and gives it back (``free_slot``); in between the child alone writes, through its
``SlotWriter``; anybody reads. Storing costs no lock and no system call.

**Totals are never reset and never moved**: the next child in a slot goes on counting where the
dead one stopped. So the sum over all slots is exact whoever is killed when, and no copying into a
"retired" area can be interrupted half-way. Gauges die with their owner.

Limits: what a child did after its last store before SIGKILL is not counted. A reader that meets a
change of owner may see a mixture of both for a moment; sums of totals are not touched by that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from gwsmtp.base.decision import Reason
from gwsmtp.base.errors import TableError
from gwsmtp.base.procid import ProcessId
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import (
    GAUGE_COUNT,
    HEAD_WORDS,
    PAGE_WORDS,
    SLOT_COUNT,
    TOTAL_COUNT,
    Head,
    slot_gauges,
    slot_head,
    slot_totals,
)


class Role(IntEnum):
    """What a child is. Numbers are frozen: they stand in the table."""

    WORKER = 1
    ENGINE = 2
    TRIAL = 3
    QUEUE = 4
    TRACKER = 5
    METRICS = 6


class SlotState(IntEnum):
    """Where a child stands in its life. Numbers are frozen."""

    FREE = 0
    BOOTING = 1
    READY = 2
    DRAINING = 3
    STOPPING = 4


class Gauge(IntEnum):
    """What is now; goes up and down. Frozen numbers, at most 32."""

    SESSIONS = 0
    SESSIONS_IN_DATA = 1
    MESSAGES_SCANNING = 2
    MESSAGES_DELIVERING = 3
    DRAFT_OCTETS = 4
    NEXT_HOP_CONNECTIONS = 5
    CALLOUTS = 6
    REQUESTS = 7  # of an engine: requests in work
    CLIENTS = 8  # of an engine: connections
    LOOP_LAG_US = 9
    DELAYED = 10  # sessions whose replies wait as the client misbehaved
    SCAN_WAIT = 11  # thousandths of the deadline, of the scan that runs longest but one
    QUEUE_ITEMS = 12  # of a queue: items that wait for a delivery, or are being delivered
    SPOOL_FREE = 13  # of a queue: octets the spool's file system had at SPOOL_LOOKED_MS
    SPOOL_LOOKED_MS = 14  # CLOCK_BOOTTIME; 0: it has not answered yet
    UNNAMED_PLAIN = 15  # connections of proxies that have not named their client yet
    UNNAMED_SSL = 16


UNKNOWN_ROOM = (1 << 63) - 1
"""As SPOOL_FREE: the file system was asked and refused to say."""


class Total(IntEnum):
    """What has happened since the table began; only rises. Frozen numbers, at most 64."""

    SESSIONS = 0
    SESSIONS_REFUSED = 1  # at accept, without a session
    SESSION_MS = 2
    COMMANDS = 3
    COMMAND_ERRORS = 4
    OCTETS_IN = 5
    OCTETS_OUT = 6
    MESSAGES_ACCEPTED = 7
    MESSAGES_REJECTED = 8
    MESSAGES_DEFERRED = 9
    MESSAGES_DISCARDED = 10
    MESSAGES_LOST = 11  # begun, ended by neither side's reply: the connection went
    MESSAGE_OCTETS = 12
    RECIPIENTS = 13
    RECIPIENTS_REJECTED = 14
    SCANS = 15
    SCANS_FAILED = 16
    SCAN_US = 17
    DELIVERIES = 18
    DELIVERY_FAILURES = 19
    DELIVERY_US = 20
    CALLOUTS = 21
    CALLOUT_FAILURES = 22
    REQUESTS = 23  # of an engine
    REQUESTS_FAILED = 24


DECISION_TOTALS = 32
"""From here on totals count decisions of the defence, by ``base.decision.Reason``; below 64."""


IsAlive = Callable[[int, int], bool]
"""(pid, start ticks) -> does this very process live?"""


def claim_slot(
    table: Table, role: Role, number: int, generation: int, owner: ProcessId, now_ms: int
) -> int:
    """Takes the first free slot for a child about to be forked; returns its index.

    Only the master calls it. Raises TableError when all slots are taken.
    """
    words = table.words
    for index in range(SLOT_COUNT):
        head = slot_head(index)
        if words[head + Head.STATE] == SlotState.FREE:
            _clear(table, index)
            words[head + Head.OWNER_PID], words[head + Head.OWNER_TICKS] = owner
            words[head + Head.GENERATION] = generation
            words[head + Head.ROLE] = role
            words[head + Head.NUMBER] = number
            words[head + Head.CLAIMED_MS] = now_ms
            words[head + Head.HEARTBEAT_MS] = now_ms
            words[head + Head.STATE] = SlotState.BOOTING
            return index
    raise TableError(f"{table.path}: all {SLOT_COUNT} slots are taken")


def free_slot(table: Table, index: int) -> None:
    """Gives a slot back after its child was reaped and its ledger recovered; its totals stay.

    The head stays as well until the slot is claimed: a master that dies in here leaves a slot that
    is free, or one that still says whose it was, so that the next master gives it back.
    """
    _clear_gauges(table, index)
    table.words[slot_head(index) + Head.STATE] = SlotState.FREE


def count_free(table: Table) -> int:
    """How many children more the table has room for."""
    return len(find_free(table))


def find_dead(table: Table, is_alive: IsAlive, own: ProcessId) -> list[int]:
    """Slots of children whose master is not the caller and that live no more.

    A slot that was claimed but whose child never signed in is judged by its master.
    """
    dead = []
    for view in read_slots(table):
        if view.owner == own:
            continue
        holder = (view.pid, view.start_ticks) if view.pid else view.owner
        if not is_alive(*holder):
            dead.append(view.index)
    return dead


def find_free(table: Table) -> list[int]:
    """Slots nobody has."""
    words = table.words
    return [i for i in range(SLOT_COUNT) if words[slot_head(i) + Head.STATE] == SlotState.FREE]


def _clear(table: Table, index: int) -> None:
    """Zeroes head (but its state word) and gauges."""
    words = table.words
    head = slot_head(index)
    for word in range(head + Head.STATE + 1, head + HEAD_WORDS):
        words[word] = 0
    _clear_gauges(table, index)


def _clear_gauges(table: Table, index: int) -> None:
    words, gauges = table.words, slot_gauges(index)
    for word in range(gauges, gauges + GAUGE_COUNT):
        words[word] = 0


class SlotWriter:
    """A child's pen: only the child that owns slot ``index`` holds one. Never blocks.

    ``totals`` and ``gauges`` are views of the slot's own words, for a hot path that knows its
    index: ``totals[Total.COMMANDS] += 1`` is 76 ns.
    """

    __slots__ = ("_head", "gauges", "index", "totals")

    def __init__(self, table: Table, index: int) -> None:
        self.index = index
        head, gauges, totals = slot_head(index), slot_gauges(index), slot_totals(index)
        self._head = table.words[head : head + HEAD_WORDS]
        self.gauges = table.words[gauges : gauges + GAUGE_COUNT]
        self.totals = table.words[totals : totals + TOTAL_COUNT]

    def sign_in(self, child: ProcessId, now_ms: int) -> None:
        """Says who owns the slot; the first thing a child does with it."""
        self._head[Head.TICKS] = child[1]
        self._head[Head.PID] = child[0]
        self._head[Head.HEARTBEAT_MS] = now_ms

    def beat(self, now_ms: int) -> None:
        """Says "I live"; called each second from the event loop."""
        self._head[Head.HEARTBEAT_MS] = now_ms

    @property
    def state(self) -> SlotState:
        """What ``set_state`` said last."""
        return SlotState(self._head[Head.STATE])

    def set_state(self, state: SlotState, now_ms: int) -> None:
        """Publishes a step of the child's life."""
        if state is SlotState.READY:
            self._head[Head.READY_MS] = now_ms
        self._head[Head.STATE] = state

    def set_gauge(self, gauge: Gauge, value: int) -> None:
        """Stores ``value``, not below 0."""
        self.gauges[gauge] = max(value, 0)

    def add_gauge(self, gauge: Gauge, change: int) -> None:
        """Moves a gauge up or down. Below 0 it stays at 0: a miscount must not end a session."""
        self.gauges[gauge] = max(self.gauges[gauge] + change, 0)

    def add_total(self, total: Total, amount: int = 1) -> None:
        """Raises a total."""
        self.totals[total] += amount

    def release(self) -> None:
        """Lets go of the table's memory, so that the table can be closed."""
        self._head.release()
        self.gauges.release()
        self.totals.release()


@dataclass(frozen=True, slots=True)
class SlotView:
    """One occupied slot as a reader sees it. Gauges and totals are indexed by their enums."""

    index: int
    state: SlotState
    pid: int
    start_ticks: int
    owner: ProcessId
    generation: int
    role: Role
    number: int
    claimed_ms: int
    ready_ms: int
    heartbeat_ms: int
    gauges: tuple[int, ...]
    totals: tuple[int, ...]


def read_slot(table: Table, index: int) -> SlotView | None:
    """Slot ``index``, None where it is free or a newer version's child sits in it that we cannot
    name.
    """
    start = slot_head(index)
    head = table.words[start : start + HEAD_WORDS].tolist()
    gauges, totals = slot_gauges(index), slot_totals(index)
    try:
        state, role = SlotState(head[Head.STATE]), Role(head[Head.ROLE])
    except ValueError:
        return None
    if state is SlotState.FREE:
        return None
    return SlotView(
        index=index,
        state=state,
        pid=head[Head.PID],
        start_ticks=head[Head.TICKS],
        owner=(head[Head.OWNER_PID], head[Head.OWNER_TICKS]),
        generation=head[Head.GENERATION],
        role=role,
        number=head[Head.NUMBER],
        claimed_ms=head[Head.CLAIMED_MS],
        ready_ms=head[Head.READY_MS],
        heartbeat_ms=head[Head.HEARTBEAT_MS],
        gauges=tuple(table.words[gauges : gauges + GAUGE_COUNT].tolist()),
        totals=tuple(table.words[totals : totals + TOTAL_COUNT].tolist()),
    )


def read_slots(table: Table) -> list[SlotView]:
    """All occupied slots, by index."""
    views = (read_slot(table, index) for index in range(SLOT_COUNT))
    return [view for view in views if view is not None]


def sum_gauge(table: Table, gauge: Gauge) -> int:
    """A gauge over all slots; free ones have nothing."""
    first = slot_gauges(0) + gauge
    return sum(table.words[first : first + SLOT_COUNT * PAGE_WORDS : PAGE_WORDS])


def sum_totals(table: Table) -> dict[Total, int]:
    """Every total over all slots, free ones too: what happened since the table began."""
    sums = dict.fromkeys(Total, 0)
    for index in range(SLOT_COUNT):
        start = slot_totals(index)
        for total in Total:
            sums[total] += table.words[start + total]
    return sums


def sum_decisions(table: Table) -> dict[Reason, int]:
    """How many decisions of each reason there were since the table began, over all slots."""
    sums = dict.fromkeys(Reason, 0)
    for index in range(SLOT_COUNT):
        start = slot_totals(index) + DECISION_TOTALS
        for reason in Reason:
            sums[reason] += table.words[start + reason]
    return sums
