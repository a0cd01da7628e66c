"""A worker's main: accepts, runs one session a greenlet, drains.

Lives in its own process below the master (DESIGN, Processes). A worker's configuration never
changes during its life.
"""

import functools
import logging
import socket  # for types only
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import gevent
import gevent.event

from gwsmtp.base.peer import Peer
from gwsmtp.base.quoting import quoted
from gwsmtp.config.root import Config
from gwsmtp.limits.balance import Balance
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.shedding import is_filtered
from gwsmtp.limits.slots import Gauge
from gwsmtp.net.wire import Wire
from gwsmtp.process.acceptor import Acceptor, Handler
from gwsmtp.process.anteroom import Anteroom
from gwsmtp.process.child import Child
from gwsmtp.process.context import ChildContext
from gwsmtp.process.defence import WorkerDefence
from gwsmtp.process.door import SSL, Door
from gwsmtp.process.services import build_scanner, build_services
from gwsmtp.session.room import make_room, slowest
from gwsmtp.session.services import Services
from gwsmtp.session.session import Session

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

log = logging.getLogger(__name__)

PLAIN: Final = 0
_NAMES: Final = ("plain", "ssl")


class Worker:
    """The live sessions of one process."""

    def __init__(
        self,
        child: Child,
        services: Services,
        balance: Balance,
        door: Door,
        anteroom: Anteroom | None,
    ) -> None:
        self._child = child
        self._services = services
        self._balance = balance
        self._door = door
        self._anteroom = anteroom
        self._acceptors: list[Acceptor] = []
        self._sessions: dict[Session, Entrance] = {}
        self._is_draining = False
        self._idle = gevent.event.Event()
        door.on_full(self._make_room)

    def listen(self, listeners: Sequence[socket.socket], take: Handler) -> None:
        """Takes listeners over, whose connections ``take`` gets, once ``set_accepting`` says so."""
        for listener in listeners:
            acceptor = Acceptor(listener, take, self._balance.may_accept, self._is_filtered)
            self._acceptors.append(acceptor)

    def _is_filtered(self) -> bool:
        return is_filtered(self._child.table.words)

    def set_accepting(self, is_accepting: bool) -> None:
        """Holds or resumes all listeners."""
        for acceptor in self._acceptors:
            if is_accepting:
                acceptor.start()
            else:
                acceptor.hold()

    def take(self, wire: Wire, peer: Peer) -> None:
        """A new connection: its session begins in a greenlet of its own, if the door lets it in."""
        self._knock(PLAIN, wire, peer)

    def take_ssl(self, wire: Wire, peer: Peer) -> None:
        """The same on the SSL listener: the handshake is the session's."""
        self._knock(SSL, wire, peer)

    def _knock(self, listener: int, wire: Wire, peer: Peer) -> None:
        if self._anteroom is None:
            self._door.knock(listener, wire, peer, self._begin)
        else:
            self._anteroom.knock(listener, wire, peer, self._begin)

    def _begin(self, wire: Wire, peer: Peer, session_id: str, entrance: Entrance) -> None:
        listener = entrance.listener
        session = Session(
            self._services,
            wire,
            peer,
            _NAMES[listener],
            session_id,
            entrance,
            is_implicit_tls=listener == SSL,
        )
        session.summary.is_check = entrance.is_check
        self._sessions[session] = entrance
        self._child.slot.gauges[Gauge.SESSIONS] = len(self._sessions)
        if self._is_draining:  # it waited for the table's lock meanwhile, or for its header
            session.drain()
        greenlet = gevent.spawn(session.run)
        # Not in the session's own "finally": a greenlet killed before its first switch has none.
        greenlet.rawlink(functools.partial(self._ended, session, wire, entrance))

    def _make_room(self, listener: int) -> Entrance | None:
        """Ends the slowest session that is not spared; its place."""
        sessions, may_end = self._sessions, self._door.may_end
        found = slowest(
            session
            for session, place in sessions.items()
            if place.listener == listener and may_end(place)
        )
        if found is None:
            return None
        make_room(found)
        return sessions[found]

    def beat(self) -> None:
        """Once a second: when pressure has risen, what is waited for already is to come soon."""
        defence = self._services.defence
        if defence.look():
            for session in self._sessions:
                session.deadline.hurry(defence.patience)

    def _ended(self, session: Session, wire: Wire, entrance: Entrance, greenlet: object) -> None:
        # Called by the loop: must not wait.
        del greenlet
        wire.close()
        self._door.leave(entrance)
        self._sessions.pop(session, None)
        self._child.slot.gauges[Gauge.SESSIONS] = len(self._sessions)
        for acceptor in self._acceptors:
            acceptor.session_ended()
        if self._is_draining and not self._sessions:
            self._idle.set()

    def drain(self) -> None:
        """Accepts nobody more; ends idle sessions now, the others at their next command boundary;
        waits for all.
        """
        self._is_draining = True
        for acceptor in self._acceptors:
            acceptor.stop()
        self._acceptors.clear()
        for session in list(self._sessions):
            session.drain()
        if self._anteroom is not None:
            self._anteroom.join()
        while self._sessions:
            self._idle.clear()
            self._idle.wait()


def _note_unraisable(what: "UnraisableHookArgs") -> None:
    """One line instead of a trace on stderr: a client's server name that is not ASCII ends up here,
    as the standard library cannot hand it to us; its handshake fails.
    """
    log.warning("event=unraisable reason=%s", quoted(f"{what.exc_value} in {what.object!r}"))


def main(context: ChildContext, child: Child) -> None:
    """Runs the worker until it is told to drain or stop."""
    sys.unraisablehook = _note_unraisable
    config = cast(Config, context.config)
    scanner = build_scanner(config, child, context.engine_address)
    defence = WorkerDefence(config, child)
    services = build_services(config, child, scanner, defence)
    balance = Balance(child.table, context.slot_index)
    door = defence.door(services.ids)
    worker = Worker(child, services, balance, door, defence.anteroom(door))
    worker.listen(context.listeners, worker.take)
    worker.listen(context.ssl_listeners, worker.take_ssl)

    def drain() -> None:
        worker.drain()
        scanner.close()

    child.on_drain(drain)
    child.on_accepting(worker.set_accepting)
    child.on_beat(worker.beat)
    child.on_beat(lambda: child.slot.set_gauge(Gauge.SCAN_WAIT, int(scanner.wait_share() * 1000)))
    scanner.start()
    if context.is_accepting:
        worker.set_accepting(True)
    child.ready()
    child.wait()
