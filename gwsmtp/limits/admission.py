"""Who may come in: exact counts of live connections over all processes, in one hold of the lock.

``enter`` asks, in this order: the listener's maximum; the client's penalty; its connections at one
time; its rate; its network's both; under pressure, whether the last places are reserved for others.
Under severe pressure the maximum comes last, so that a session ends only for a client that would be
let in (``try_replace``). A connection let in stands in its process's ledger before
anything is raised, and is struck out of it after everything has been lowered again (``leave``). So
the ledgers are the truth and the live counts in rows are a cache: when a process has died,
``recover`` recomputes whatever its ledger names from the ledgers of the living, never subtracts.

A proxy's connection is let in by two holds of the lock. ``enter_unnamed`` asks for the listener's
maximum alone and takes a place without rows; ``name``, when the proxy has said who the client is,
asks for all else and puts the rows into the same entry, or takes the place back. In between it
stands in a gauge of its process besides, which ends with that (``end_unnamed``): together all
processes may have a tenth of a listener's places so.

A ledger entry is one word (``ledger``), so it is there or it is not. A row that a living entry
names has a live count and is never given to another, hence row numbers are all it takes.

Called in workers by accept and by the end of a session; ``recover`` by masters. What is said about
the lock stands in ``rangelock``. Time is an argument, ms of CLOCK_BOOTTIME.
"""

from typing import Final

from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.dictionary import accept
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.guards import decayed, threshold
from gwsmtp.limits.identity import Identity
from gwsmtp.limits.layout import (
    CLIENT_WORDS,
    CONTROL,
    LEDGER_SIZE,
    LISTENER_COUNT,
    Client,
    Control,
    Rollup,
    client_row,
    rollup_row,
)
from gwsmtp.limits.ledger import pack
from gwsmtp.limits.peaks import Peak, note_peak
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import WIDER, Limit, Mode, Policy
from gwsmtp.limits.pressure import SEVERE, TENSE, TENSE_SHARE, read_level
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.shadow import effective
from gwsmtp.limits.shedding import note_try
from gwsmtp.limits.slots import Gauge, sum_gauge
from gwsmtp.limits.undo import done, keep

SSL: Final = 1
PASS_MS: Final = 30 * 86_400_000
_CLEAN_FOR_PASS: Final = 3
PASSES_FOR_RESERVE: Final = 100
"""With fewer clients that have a pass nothing is reserved: a new gateway knows nobody yet."""
UNNAMED_SHARE: Final = 0.1
"""Of a listener's places, for proxies' connections that have not named their clients yet."""
_UNNAMED: Final = (Gauge.UNNAMED_PLAIN, Gauge.UNNAMED_SSL)
_NOBODY: Final = Identity(0, 0)
_LIVE: Final = CONTROL + Control.LISTENER_LIVE
_NO_PLACE: Final = (Reason.LISTENER_FULL, Reason.RESERVED)


class Admission:
    """The door of one process: of a worker, whose slot's ledger it alone writes."""

    __slots__ = ("_free", "_lock", "_peers", "_policy", "_table", "_unnamed", "_words")

    def __init__(
        self, table: Table, slot_index: int, lock: RangeLock, peers: Peers, policy: Policy
    ) -> None:
        self._table = table
        self._words = table.words
        self._unnamed = layout.slot_gauges(slot_index) + Gauge.UNNAMED_PLAIN
        self._lock = lock
        self._peers = peers
        self._policy = policy
        first = layout.ledger(slot_index)
        self._free = [first + entry for entry in range(LEDGER_SIZE - 1, -1, -1)]

    def enter(
        self, listener: int, identity: Identity, now_ms: int, *, is_exempt: bool = False
    ) -> Entrance:
        """Lets a connection in, or says why not. May sleep before it has the lock.

        ``is_exempt``: the allow list or row 64 names the client; only the listener's maximum holds.
        """
        self._lock.hold()
        return self._enter(listener, identity, now_ms, is_exempt)

    def try_enter(
        self, listener: int, identity: Identity, now_ms: int, *, is_exempt: bool = False
    ) -> Entrance | None:
        """``enter`` where nothing may wait: None when another process keeps the lock."""
        if not self._lock.try_hold():
            return None
        return self._enter(listener, identity, now_ms, is_exempt)

    def enter_unnamed(self, listener: int, now_ms: int) -> Entrance:
        """A place for a proxy's connection whose client is not known yet, or why there is none. May
        sleep before it has the lock. ``end_unnamed`` must follow where it was let in.
        """
        self._lock.hold()
        try:
            entrance = Entrance(listener, _NOBODY, is_exempt=True)
            most = max(1, int(self._policy.most[listener] * UNNAMED_SHARE))
            unnamed = sum_gauge(self._table, _UNNAMED[listener])
            if unnamed >= most:
                entrance.refuse(Reason.UNNAMED, unnamed, most)
            elif not self._admit(entrance, now_ms).refused:
                self._words[self._unnamed + listener] += 1
            return entrance
        finally:
            self._lock.release()

    def end_unnamed(self, entrance: Entrance) -> None:
        """An unnamed connection that was let in is none any more. Takes no lock."""
        _lower(self._words, self._unnamed + entrance.listener)

    def name(
        self, entrance: Entrance, identity: Identity, now_ms: int, *, is_exempt: bool = False
    ) -> None:
        """An unnamed connection's client is known: ``entrance`` is as ``enter`` leaves one from now
        on, its place given back where it is refused. May sleep before it has the lock.
        """
        self._lock.hold()
        try:
            entrance.identity, entrance.is_exempt = identity, is_exempt
            if is_exempt:
                return
            live: int = self._words[_LIVE + entrance.listener]
            self._judge_peer(entrance, live - 1, now_ms)
            if not entrance.refused:
                self._take_rows(entrance, now_ms)
                rows = pack(entrance.listener, entrance.row, entrance.network_row)
                self._words[entrance.entry] = rows
                self._raise(entrance, now_ms)
                return
            entrance.row = entrance.network_row = -1
            self._take_out(entrance, now_ms)
        finally:
            self._lock.release()

    def leave(self, entrance: Entrance, now_ms: int) -> None:
        """The connection's socket is closed; idempotent. May sleep before it has the lock."""
        if entrance.entry >= 0:
            self._lock.hold()
            self._leave(entrance, now_ms)

    def try_leave(self, entrance: Entrance, now_ms: int) -> bool:
        """``leave`` where nothing may wait: False when another process keeps the lock."""
        if entrance.entry >= 0:
            if not self._lock.try_hold():
                return False
            self._leave(entrance, now_ms)
        return True

    def _enter(self, listener: int, identity: Identity, now_ms: int, is_exempt: bool) -> Entrance:
        try:
            return self._admit(Entrance(listener, identity, is_exempt=is_exempt), now_ms)
        finally:
            self._lock.release()

    def try_replace(self, left: Entrance, entrance: Entrance, now_ms: int) -> Entrance | None:
        """The place of ``left``, whose socket is closed, goes to the client that ``entrance``
        refused: nobody else gets in between. Returns its new entrance, None (and nothing is done)
        when another process keeps the lock.
        """
        if not self._lock.try_hold():
            return None
        try:
            if left.entry >= 0:
                self._take_out(left, now_ms)
            new = Entrance(entrance.listener, entrance.identity, is_exempt=entrance.is_exempt)
            return self._admit(new, now_ms)
        finally:
            self._lock.release()

    def is_spared(self, entrance: Entrance, now_ms: int) -> bool:
        """Whether a client that was let in need not make room for others: it is exempt, or has a
        pass by now. Takes no lock.
        """
        if entrance.row < 0:
            return entrance.is_exempt
        until: int = self._words[layout.client_row(entrance.row) + Client.PASS_UNTIL]
        return until > now_ms

    @property
    def is_severe(self) -> bool:
        """Whether a full listener may end a session for a new client. Takes no lock."""
        return self._policy.is_acting and read_level(self._words) >= SEVERE

    def _admit(self, entrance: Entrance, now_ms: int) -> Entrance:
        self._judge(entrance, now_ms)
        if not entrance.refused:
            self._let_in(entrance, now_ms)
        return entrance

    def _judge(self, entrance: Entrance, now_ms: int) -> None:
        """Whether there is a place, and whether the client may have it: in this order, but when a
        session may have to end for it, the client's own faults count first.
        """
        most = self._policy.most[entrance.listener]
        live: int = self._words[_LIVE + entrance.listener]
        if live >= most and not self.is_severe:
            entrance.refuse(Reason.LISTENER_FULL, live, most)
            return
        if not self._free:
            entrance.refuse(Reason.LEDGER_FULL, LEDGER_SIZE, LEDGER_SIZE)
            return
        if not entrance.is_exempt:
            self._judge_peer(entrance, live, now_ms)
        if live >= most:
            entrance.refuse(Reason.LISTENER_FULL, live, most)
        if entrance.refused in _NO_PLACE:
            entrance.may_replace = self.is_severe

    def _judge_peer(self, entrance: Entrance, live: int, now_ms: int) -> None:
        entrance.row = self._peers.find(entrance.identity.client)
        factor = 1
        if entrance.row >= 0:
            factor = self._judge_client(entrance, now_ms)
        else:
            entrance.stamp = self._judge_rate(entrance, 0, now_ms, 1, Reason.CONNECTION_RATE)
        entrance.network_row = self._peers.find_network(entrance.identity.network)
        if not entrance.refused:
            self._judge_network(entrance, now_ms, WIDER * factor)
        if factor == 1:
            self._judge_reserve(entrance, live)

    def _judge_reserve(self, entrance: Entrance, live: int) -> None:
        """The last places under pressure, which a client without a pass does not get. A listener
        so full is under pressure by itself, whether the leader has looked yet or not: a flood takes
        the last tenth within a tenth of a second.
        """
        policy, words = self._policy, self._words
        most = policy.most[entrance.listener]
        open_to_all = most - policy.reserve[entrance.listener]
        if live < open_to_all or words[CONTROL + Control.PASSES] < PASSES_FOR_RESERVE:
            return
        if live >= TENSE_SHARE * most or read_level(words) >= TENSE:
            entrance.hit(policy, Mode.ENFORCE, Reason.RESERVED, live, open_to_all)

    def _judge_client(self, entrance: Entrance, now_ms: int) -> int:
        """Looks at the client's row; returns how many times the usual it is allowed."""
        policy, words = self._policy, self._words
        place = client_row(entrance.row)
        until: int = words[place + Client.PENALTY_UNTIL]
        if now_ms < until <= now_ms + policy.longest_penalty_ms:
            entrance.hit(policy, Mode.ENFORCE, Reason.PENALTY, (until - now_ms) // 1000, 0)
            if entrance.refused:
                note_try(words, place, now_ms)
        factor = WIDER if words[place + Client.PASS_UNTIL] > now_ms else 1
        live: int = words[place + Client.LIVE]
        most = policy.concurrency[entrance.listener] * factor
        if words[place + Client.SCORE]:
            score = entrance.score = decayed(words, place, policy, now_ms)
            if score >= threshold(policy.restrict_at) and (live or entrance.listener == SSL):
                entrance.hit(policy, Mode.ENFORCE, Reason.RESTRICTED, live, 1 - entrance.listener)
        if live >= most:
            mode = effective(words, Limit.CONCURRENCY, policy.concurrency_mode)
            entrance.hit(policy, mode, Reason.CONCURRENCY, live, most)
        entrance.stamp = self._judge_rate(
            entrance, words[place + Client.TAT_CONNECTIONS], now_ms, factor, Reason.CONNECTION_RATE
        )
        return factor

    def _judge_network(self, entrance: Entrance, now_ms: int, factor: int) -> None:
        policy, words, stamp = self._policy, self._words, 0
        if entrance.network_row >= 0:
            place = rollup_row(entrance.network_row)
            stamp = words[place + Rollup.TAT_CONNECTIONS]
            live: int = words[place + Rollup.LIVE]
            most = policy.concurrency[entrance.listener] * factor
            if live >= most:
                mode = effective(words, Limit.CONCURRENCY, policy.concurrency_mode)
                entrance.hit(policy, mode, Reason.NETWORK_CONCURRENCY, live, most)
        entrance.network_stamp = self._judge_rate(
            entrance, stamp, now_ms, factor, Reason.NETWORK_RATE
        )

    def _judge_rate(
        self, entrance: Entrance, stamp: int, now_ms: int, factor: int, reason: Reason
    ) -> int:
        """The stamp to store when the connection is let in."""
        policy = self._policy
        rate = policy.connections
        mode = effective(self._words, Limit.CONNECTIONS, rate.mode)
        if not mode:
            return 0
        after = rate.rate.next_stamp(stamp, now_ms * 1000, 1, factor)
        if after >= 0:
            return after
        used = rate.rate.used(stamp, now_ms * 1000, factor)
        entrance.hit(policy, mode, reason, used, rate.rate.burst * factor, 60)
        return stamp

    def _let_in(self, entrance: Entrance, now_ms: int) -> None:
        words, listener = self._words, entrance.listener
        if not entrance.is_exempt:
            self._take_rows(entrance, now_ms)
        entry = entrance.entry = self._free.pop()
        words[entry] = pack(listener, entrance.row, entrance.network_row)
        words[_LIVE + listener] += 1
        self._raise(entrance, now_ms)

    def _take_rows(self, entrance: Entrance, now_ms: int) -> None:
        peers, identity = self._peers, entrance.identity
        if entrance.row < 0:
            entrance.row = peers.take(identity.client, now_ms)
        if entrance.network_row < 0:
            entrance.network_row = peers.take_network(identity.network, now_ms)

    def _raise(self, entrance: Entrance, now_ms: int) -> None:
        """Counts a connection whose entry names its rows."""
        words, row, network_row = self._words, entrance.row, entrance.network_row
        if row >= 0:
            place = client_row(row)
            live = words[place + Client.LIVE] + 1
            words[place + Client.LIVE] = live
            words[place + Client.LAST_SEEN] = now_ms
            words[place + Client.TAT_CONNECTIONS] = entrance.stamp
            now_us, rate = now_ms * 1000, self._policy.connections.rate
            if live > 1:  # one at a time, once, is what everybody does
                note_peak(words, place, Peak.CONCURRENCY, live)
            if entrance.stamp > now_us + rate.interval_us:
                note_peak(words, place, Peak.CONNECTIONS, rate.used(entrance.stamp, now_us))
        if network_row >= 0:
            place = rollup_row(network_row)
            words[place + Rollup.LIVE] += 1
            words[place + Rollup.LAST_SEEN] = now_ms
            words[place + Rollup.TAT_CONNECTIONS] = entrance.network_stamp

    def _leave(self, entrance: Entrance, now_ms: int) -> None:
        try:
            self._take_out(entrance, now_ms)
        finally:
            self._lock.release()

    def _take_out(self, entrance: Entrance, now_ms: int) -> None:
        words, entry = self._words, entrance.entry
        if entrance.row >= 0 and (entrance.was_clean or entrance.accepted):
            self._settle(entrance, now_ms)
        _lower(words, _LIVE + entrance.listener)
        if entrance.row >= 0:
            _lower(words, client_row(entrance.row) + Client.LIVE)
        if entrance.network_row >= 0:
            _lower(words, rollup_row(entrance.network_row) + Rollup.LIVE)
        words[entry] = 0
        entrance.entry = -1
        self._free.append(entry)

    def _settle(self, entrance: Entrance, now_ms: int) -> None:
        """What a session leaves with its client: accepted recipients, and a step to a pass."""
        words, place = self._words, client_row(entrance.row)
        keep(words, place, CLIENT_WORDS)
        accept(words, place, entrance.accepted, self._policy.window_ms, now_ms)
        if entrance.was_clean:
            words[place + Client.CLEAN_SESSIONS] += 1
            if words[place + Client.CLEAN_SESSIONS] >= _CLEAN_FOR_PASS:
                words[place + Client.PASS_UNTIL] = now_ms + PASS_MS
        done(words)


def _lower(words: memoryview, place: int) -> None:
    """One less; what damage has made too low stays at 0, for a session must be able to end."""
    live: int = words[place]
    if live:
        words[place] = live - 1


def live_connections(table: Table) -> tuple[int, int]:
    """Live connections of the plain listener and of the SSL listener. Needs no lock."""
    live = table.words[_LIVE : _LIVE + LISTENER_COUNT].tolist()
    return live[0], live[1]
