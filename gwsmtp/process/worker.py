"""A worker's main: accepts, runs one session a greenlet, drains.

Lives in its own process below the master (DESIGN, Processes). A worker's configuration never
changes during its life.
"""

import logging
import socket  # for types only
from collections.abc import Sequence
from typing import cast

import gevent
import gevent.event

from gwsmtp.base.peer import Peer
from gwsmtp.config.root import Config
from gwsmtp.limits.balance import Balance
from gwsmtp.limits.slots import Gauge
from gwsmtp.net.wire import Wire
from gwsmtp.process.acceptor import Acceptor
from gwsmtp.process.child import Child
from gwsmtp.process.context import ChildContext
from gwsmtp.process.services import build_scanner, build_services
from gwsmtp.session.services import Services
from gwsmtp.session.session import Session

log = logging.getLogger(__name__)

PLAIN = "plain"


class Worker:
    """The live sessions of one process."""

    def __init__(self, child: Child, services: Services, balance: Balance) -> None:
        self._child = child
        self._services = services
        self._balance = balance
        self._acceptors: list[Acceptor] = []
        self._sessions: set[Session] = set()
        self._is_draining = False
        self._idle = gevent.event.Event()

    def listen(self, listeners: Sequence[socket.socket]) -> None:
        """Takes listeners over; accepts once ``set_accepting`` says so."""
        for listener in listeners:
            self._acceptors.append(Acceptor(listener, self.take, self._balance.may_accept))

    def set_accepting(self, is_accepting: bool) -> None:
        """Holds or resumes all listeners."""
        for acceptor in self._acceptors:
            if is_accepting:
                acceptor.start()
            else:
                acceptor.hold()

    def take(self, wire: Wire, peer: Peer) -> None:
        """A new connection: its session begins in a greenlet of its own."""
        session = Session(self._services, wire, peer, PLAIN)
        self._sessions.add(session)
        self._child.slot.gauges[Gauge.SESSIONS] = len(self._sessions)
        gevent.spawn(self._run, session)

    def _run(self, session: Session) -> None:
        try:
            session.run()
        finally:
            self._sessions.discard(session)
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
        if self._sessions:
            self._idle.wait()


def main(context: ChildContext, child: Child) -> None:
    """Runs the worker until it is told to drain or stop."""
    config = cast(Config, context.config)
    scanner = build_scanner(config, child, context.engine_address)
    services = build_services(config, child, scanner)
    worker = Worker(child, services, Balance(child.table, context.slot_index))
    worker.listen(context.listeners)

    def drain() -> None:
        worker.drain()
        scanner.close()

    child.on_drain(drain)
    child.on_accepting(worker.set_accepting)
    scanner.start()
    if context.is_accepting:
        worker.set_accepting(True)
    child.ready()
    child.wait()
