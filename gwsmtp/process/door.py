"""The door of a worker: who connects is let in or refused at accept, before a session exists.

Called by the event loop, where nothing may wait: should another process keep the table's lock, a
greenlet waits for it and the connection with it. A refused client costs neither session nor
greenlet: one write that does not wait, our side shut down, closed 0.2 s later by a timer (at once,
the reply would be lost to a client that has talked already). On the SSL listener, where no reply
could be read, the connection is just closed.

Under severe pressure a client that only lacks a place may get that of this worker's slowest
session: it waits for it, 3 s at most, and takes it over in the hold of the lock in which the other
leaves, so that nobody gets in between.

Limits: only this worker's own sessions can make room, and one of them that begins to work in the
very moment it is to end goes on; then the new client is refused after all.
"""

import logging
from collections.abc import Callable
from typing import Final

import gevent

from gwsmtp.base import replies
from gwsmtp.base.audit import Audit, Decided
from gwsmtp.base.decision import Action, Reason
from gwsmtp.base.ids import SessionIds
from gwsmtp.base.netmatch import AddressTable
from gwsmtp.base.peer import Peer
from gwsmtp.base.reply import Reply
from gwsmtp.base.seams import Clock
from gwsmtp.limits.admission import Admission
from gwsmtp.limits.allow import AllowList
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.identity import Identity, identify
from gwsmtp.limits.slots import SlotWriter, Total
from gwsmtp.net.wire import Wire

log = logging.getLogger(__name__)

REFUSED_CLOSE_S: Final = 0.2
PLACE_S: Final = 3.0
_PAUSE_S: Final = 0.001
SSL: Final = 1
_REMEMBERED: Final = 4096

Begin = Callable[[Wire, Peer, str, Entrance], None]
"""(connection, client, session id, its place) -> a session begins; must not wait."""

MakeRoom = Callable[[int], Entrance | None]
"""(listener) -> the place of a session that will end soon, None: there is none that may."""


class _Successor:
    """A client that waits for the place of a session that is to end."""

    __slots__ = ("begin", "entrance", "peer", "timer", "wire")

    def __init__(self, entrance: Entrance, wire: Wire, peer: Peer, begin: Begin) -> None:
        self.entrance = entrance
        self.wire = wire
        self.peer = peer
        self.begin = begin
        self.timer: object = None


class Door:
    """See the module. ``exempt`` are the sources of row 64, ``allowed`` the table's allow list."""

    def __init__(
        self,
        admission: Admission,
        exempt: AddressTable,
        allowed: AllowList,
        ids: SessionIds,
        audit: Audit,
        slot: SlotWriter,
        clock: Clock,
    ) -> None:
        self._admission = admission
        self._exempt = exempt
        self._allowed = allowed
        self._ids = ids
        self._audit = audit
        self._totals = slot.totals
        self._clock = clock
        self._loop = gevent.get_hub().loop
        self._known: dict[str, tuple[Identity, bool]] = {}
        self._timers: set[object] = set()
        self._successors: dict[Entrance, _Successor] = {}
        self._make_room: MakeRoom = lambda _listener: None

    def on_full(self, make_room: MakeRoom) -> None:
        """Registers who ends a session for a new client; must not wait."""
        self._make_room = make_room

    def may_end(self, entrance: Entrance) -> bool:
        """Whether this session may have to make room: it is not spared, nor leaving already."""
        if entrance in self._successors:
            return False
        return not self._admission.is_spared(entrance, self._clock.boot_ms())

    def knock(self, listener: int, wire: Wire, peer: Peer, begin: Begin) -> None:
        """A connection has come; ``begin`` is called with it when it is let in."""
        now_ms = self._clock.boot_ms()
        identity, is_exempt = self.identify(peer.ip, now_ms)
        entrance = self._admission.try_enter(listener, identity, now_ms, is_exempt=is_exempt)
        if entrance is None:
            gevent.spawn(self._knock_slowly, listener, wire, peer, begin)
        else:
            self._answer(entrance, wire, peer, begin)

    def leave(self, entrance: Entrance) -> None:
        """The connection's socket is closed. May be called where nothing may wait."""
        now_ms = self._clock.boot_ms()
        successor = self._successors.pop(entrance, None)
        if successor is not None:
            self._stop_timer(successor.timer)
            self._hand_over(entrance, successor)
        elif not self._admission.try_leave(entrance, now_ms):
            gevent.spawn(self._admission.leave, entrance, now_ms)

    def identify(self, ip: str, now_ms: int) -> tuple[Identity, bool]:
        """The client's identity, and whether it is exempt. Of the last addresses what the
        configuration says is remembered: taking one apart costs as much as all else here.
        """
        known = self._known.get(ip)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[ip] = (identify(ip), self._exempt.find(ip) is not None)
        return known if known[1] else (known[0], self._allowed.covers(ip, now_ms))

    def settle(self, entrance: Entrance, wire: Wire, peer: Peer, begin: Begin) -> None:
        """Whether the client is let in is known: its session begins, or it is told why not."""
        session_id = self._ids.make()
        if entrance.refused or entrance.shadowed:
            self._report(entrance, peer, session_id)
        if not entrance.refused:
            begin(wire, peer, session_id, entrance)
            return
        self._totals[Total.SESSIONS_REFUSED] += 1
        if entrance.listener == SSL or entrance.refused is Reason.UNNAMED:
            wire.close()
            return
        self._refuse(wire, refusal(entrance.refused, session_id))

    def _knock_slowly(self, listener: int, wire: Wire, peer: Peer, begin: Begin) -> None:
        now_ms = self._clock.boot_ms()
        identity, is_exempt = self.identify(peer.ip, now_ms)
        entrance = self._admission.enter(listener, identity, now_ms, is_exempt=is_exempt)
        self._answer(entrance, wire, peer, begin)

    def _answer(self, entrance: Entrance, wire: Wire, peer: Peer, begin: Begin) -> None:
        if entrance.may_replace and (leaving := self._make_room(entrance.listener)) is not None:
            self._await(leaving, _Successor(entrance, wire, peer, begin))
        else:
            self.settle(entrance, wire, peer, begin)

    def _await(self, leaving: Entrance, successor: _Successor) -> None:
        self._successors[leaving] = successor
        successor.timer = self._start_timer(PLACE_S, self._despair, leaving)

    def _despair(self, leaving: Entrance) -> None:
        """The place has not become free in time."""
        successor = self._successors.pop(leaving)
        self.settle(successor.entrance, successor.wire, successor.peer, successor.begin)

    def _hand_over(self, left: Entrance, successor: _Successor) -> None:
        now_ms = self._clock.boot_ms()
        entrance = self._admission.try_replace(left, successor.entrance, now_ms)
        if entrance is None:
            gevent.spawn(self._hand_over_slowly, left, successor)
        else:
            self.settle(entrance, successor.wire, successor.peer, successor.begin)

    def _hand_over_slowly(self, left: Entrance, successor: _Successor) -> None:
        admission, clock = self._admission, self._clock
        while (new := admission.try_replace(left, successor.entrance, clock.boot_ms())) is None:
            gevent.sleep(_PAUSE_S)
        self.settle(new, successor.wire, successor.peer, successor.begin)

    def _report(self, entrance: Entrance, peer: Peer, session_id: str) -> None:
        action = Action.REFUSED if entrance.refused else Action.WOULD_REFUSE
        reason = entrance.refused or entrance.shadowed
        event = Decided(session_id, peer.ip, entrance.listener, reason, action)
        event.counter, event.threshold = entrance.counter, entrance.threshold
        event.window_s = entrance.window_s
        self._audit.emit(event)

    def _refuse(self, wire: Wire, reply: Reply) -> None:
        wire.write_nowait(reply.wire)
        try:
            wire.end_writing()
        except OSError:
            wire.close()
            return
        self._start_timer(REFUSED_CLOSE_S, wire.close)

    def _start_timer(
        self, seconds: float, callback: Callable[..., object], *args: object
    ) -> object:
        timer = self._loop.timer(seconds)
        self._timers.add(timer)  # a watcher nobody holds is collected, and silent
        timer.start(self._fired, timer, callback, args)
        return timer

    def _fired(
        self, timer: object, callback: Callable[..., object], args: tuple[object, ...]
    ) -> None:
        self._stop_timer(timer)
        callback(*args)

    def _stop_timer(self, timer: object) -> None:
        self._timers.discard(timer)
        timer.stop()  # type: ignore[attr-defined]  # a watcher of the loop
        timer.close()  # type: ignore[attr-defined]


def refusal(reason: Reason, session_id: str) -> Reply:
    """What a client hears that is refused at accept."""
    if reason in (Reason.LISTENER_FULL, Reason.LEDGER_FULL, Reason.RESERVED):
        return replies.too_many_connections(session_id)
    if reason is Reason.PENALTY:
        return replies.penalised(session_id)
    return replies.over_limit(session_id)
