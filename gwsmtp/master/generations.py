"""Generations of workers: the one that serves, the one that is being born, those that leave.

A worker's configuration never changes during its life; a new one needs new workers. ``begin`` opens
listeners, forks workers (and an engine, when what it is made of has changed) beside those that
serve; ``step`` hands over when all of them are ready: the old ones get TERM and drain. A generation
that cannot live (three early deaths on a seat, or not ready in time) is given up, and the serving
one never noticed.

    begin -> pending -> current -> leaving -> gone
                    \\-> leaving (given up)

Whose engine: each generation of workers has the engine it was born with until the last of them has
ended; an engine whose settings stay is shared by both. A new engine listens on a path of its own,
``NAME.engine-N.sock``.

Invariants: listeners of the serving generation are never closed before its successor is ready; the
table's header names the serving generation. Called by the master's loop only; nothing blocks.
"""

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.procid import ProcessId
from gwsmtp.base.quoting import quoted
from gwsmtp.limits.arena import Table
from gwsmtp.limits.slots import Role, count_free
from gwsmtp.master import listeners
from gwsmtp.master.children import Children, Seat, outlived_by
from gwsmtp.master.listeners import ListenerSet, Rebind
from gwsmtp.master.logfile import LogFile
from gwsmtp.master.tlscontexts import TlsContexts
from gwsmtp.net.tlsmaterial import TlsMaterial
from gwsmtp.process.context import ChildContext, Settings
from gwsmtp.process.control import Word
from gwsmtp.process.privileges import Account

log = logging.getLogger(__name__)

_BIRTH_DEATHS = 3
_BIRTH_MS = 120_000
_RELIEF_MS = 5_000
MAX_WORKERS = 28
"""Two generations of so many, and the other roles, fit into the table."""


@dataclass(frozen=True, slots=True)
class Heritage:
    """What every child of this master gets, whatever its generation."""

    name: str
    run: Path
    table_path: Path
    owner: ProcessId
    lifeline_fd: int
    logfile: LogFile
    account: Account | None
    entries: Mapping[Role, str]
    tls: TlsContexts
    bell: socket.socket


@dataclass(slots=True, eq=False)
class Engine:
    """One embedded engine: its seat, where it listens, and what it was made of."""

    seat: Seat
    path: Path
    listener: socket.socket
    settings: object


@dataclass(slots=True, eq=False)
class Generation:
    """Workers of one configuration."""

    number: int
    config: Settings
    rebind: Rebind
    ssl_rebind: Rebind
    engine: Engine | None
    is_new_engine: bool
    tls: TlsMaterial | None
    began_ms: int
    seats: list[Seat] = field(default_factory=list)
    """Those of workers."""
    queue: list[Seat] = field(default_factory=list)

    @property
    def needed(self) -> list[Seat]:
        """The seats that must be taken before it serves."""
        return [*self.leaving, self.engine.seat] if self.engine else self.leaving

    @property
    def refused(self) -> tuple[str, ...]:
        """Why addresses of its configuration could not be bound."""
        return self.rebind.refused + self.ssl_rebind.refused

    @property
    def own(self) -> list[Seat]:
        """The seats that it brought."""
        return self.needed if self.is_new_engine else self.leaving

    @property
    def leaving(self) -> list[Seat]:
        """The seats that go when another takes its place."""
        return [*self.seats, *self.queue]


class Generations:
    """See the module. ``current`` is there from the first ``begin`` on, ready or not."""

    def __init__(self, children: Children, table: Table, heritage: Heritage, number: int) -> None:
        self._children = children
        self._table = table
        self._heritage = heritage
        self._next_number = number
        self._leaving: list[Generation] = []
        self._relieved: Generation | None = None  # asked to leave, and may accept yet
        self._relieved_ms = 0
        self.smtp = ListenerSet()
        self.ssl = ListenerSet()
        self.is_accepting = True
        self.has_served = False
        """True once all of the first generation was ready; until then nothing is reloaded."""
        self.current: Generation | None = None
        self.pending: Generation | None = None

    # Birth

    def begin(self, config: Settings, now_ms: int) -> Generation:
        """A generation more; the first one is current at once and must get all its listeners.
        Raises HaltMaster when listeners or the engine's socket cannot be had.
        """
        is_first = self.current is None
        number = self._next_number
        self._next_number += 1
        sessions = config.server.max_inbound_connections
        sessions += config.ssl.max_inbound_connections if config.ssl.enabled else 0
        listeners.raise_file_limit(sessions)
        endpoints = config.server.listen if config.server.enabled else ()
        tls = self._heritage.tls.build(config.tls)
        # Row 27: without a certificate there is no such listener.
        over_tls = config.ssl.listen if config.ssl.enabled and tls is not None else ()
        rebind = self.smtp.prepare(endpoints, must_bind=is_first)
        ssl_rebind: Rebind | None = None
        try:
            ssl_rebind = self.ssl.prepare(over_tls, must_bind=is_first)
            engine, is_new = self._engine_for(config, number)
        except HaltMaster:
            self.smtp.abandon(rebind)
            if ssl_rebind is not None:
                self.ssl.abandon(ssl_rebind)
            raise
        born = Generation(number, config, rebind, ssl_rebind, engine, is_new, tls, now_ms)
        if is_new and engine is not None:
            self._children.add_seat(engine.seat)
        for worker in range(config.workers.number):
            self._add_worker(born, worker)
        self._add_queue(born)
        if is_first:
            self.current = born
            self._commit(born)
        else:
            self.pending = born
        return born

    def _engine_for(self, config: Settings, number: int) -> tuple[Engine | None, bool]:
        """The engine of a new generation: (the serving one, False) while it fits."""
        if not config.scan.runs_embedded:
            return None, False
        settings = (config.scan, config.logging.level)
        serving = self.current.engine if self.current is not None else None
        # A file named in the settings may have changed where the settings have not.
        has_file = getattr(config.scan, "rules_file", None) is not None
        if serving is not None and serving.settings == settings and not has_file:
            return serving, False
        suffix = "engine" if self.current is None else f"engine-{number}"
        path = self._heritage.run / f"{self._heritage.name}.{suffix}.sock"
        listener = listeners.bind_unix(path, self._heritage.account)

        def context(seat: Seat, slot: int, control_fd: int) -> ChildContext:
            return self.context(config, seat, slot, control_fd, (listener,))

        entry = self._heritage.entries[Role.ENGINE]
        return Engine(Seat(Role.ENGINE, 0, entry, number, context), path, listener, settings), True

    def _add_worker(self, generation: Generation, number: int) -> None:
        def context(seat: Seat, slot: int, control_fd: int) -> ChildContext:
            sockets = generation.rebind.sockets
            engine = f"unix:{generation.engine.path}" if generation.engine else ""
            return self.context(
                generation.config,
                seat,
                slot,
                control_fd,
                sockets,
                engine=engine,
                over_tls=generation.ssl_rebind.sockets,
                tls=generation.tls,
            )

        entry = self._heritage.entries[Role.WORKER]
        seat = Seat(Role.WORKER, number, entry, generation.number, context)
        generation.seats.append(self._children.add_seat(seat))

    def _add_queue(self, generation: Generation) -> None:
        def context(seat: Seat, slot: int, control_fd: int) -> ChildContext:
            bell = (self._heritage.bell,)
            return self.context(generation.config, seat, slot, control_fd, bell)

        entry = self._heritage.entries[Role.QUEUE]
        seat = Seat(Role.QUEUE, 0, entry, generation.number, context)
        generation.queue.append(self._children.add_seat(seat))

    def context(
        self,
        config: Settings,
        seat: Seat,
        slot: int,
        control_fd: int,
        sockets: tuple[socket.socket, ...],
        *,
        engine: str = "",
        maildir: Path | None = None,
        over_tls: tuple[socket.socket, ...] = (),
        tls: TlsMaterial | None = None,
    ) -> ChildContext:
        """One child's inheritance."""
        heritage = self._heritage
        return ChildContext(
            role=seat.role,
            number=seat.number,
            generation=seat.generation,
            config=config,
            table_path=heritage.table_path,
            slot_index=slot,
            listeners=sockets,
            lifeline_fd=heritage.lifeline_fd,
            log_fd=heritage.logfile.fd,
            owner=heritage.owner,
            engine_address=engine,
            maildir=maildir,
            outlives=outlived_by(seat.role),
            control_fd=control_fd,
            is_accepting=self.is_accepting,
            ssl_listeners=over_tls,
            tls=tls,
        )

    def has_room_for(self, config: Settings) -> bool:
        """Whether the table has slots for one more generation like ``config``'s."""
        return count_free(self._table) >= config.workers.number + 2

    # Life

    def step(self, now_ms: int) -> str | None:
        """Buries what has left, and decides about the pending generation: None while there is
        nothing to decide, "" when it alone accepts, else why it was given up.
        """
        for generation in list(self._leaving):
            if self._children.are_empty(generation.leaving):
                self._leaving.remove(generation)
                self._retire(generation)
                log.info("event=generation_gone generation=%d", generation.number)
        if not self.has_served and self.current is not None:
            self.has_served = self._children.are_ready(self.current.needed)
        if self._relieved is not None:
            return self._await_relieved(self._relieved, now_ms)
        born = self.pending
        if born is None:
            return None
        if self._children.are_ready(born.needed):
            self._hand_over(born, now_ms)
            return None
        worst = max(born.own, key=lambda seat: seat.early_deaths, default=None)
        if worst is not None and worst.early_deaths >= _BIRTH_DEATHS:
            label = f"{worst.role.name.lower()}-{worst.number}"
            return self._give_up(born, f"{label} died {worst.early_deaths} times at boot")
        if now_ms - born.began_ms > _BIRTH_MS:
            return self._give_up(born, f"not ready within {_BIRTH_MS // 1000} s")
        return None

    @property
    def is_changing(self) -> bool:
        """True while ``step`` has something to decide soon."""
        return self.pending is not None or self._relieved is not None

    def _await_relieved(self, old: Generation, now_ms: int) -> str | None:
        """Nobody is told that the new generation serves while an old worker may take his client."""
        if not self._children.are_draining(old.leaving) and now_ms - self._relieved_ms < _RELIEF_MS:
            return None
        self._relieved = None
        return ""

    def _hand_over(self, born: Generation, now_ms: int) -> None:
        old, self.current, self.pending = self.current, born, None
        self._table.lead(self._heritage.owner, born.number)
        self._commit(born)
        if old is not None:
            self._children.dismiss(old.leaving)
            self._leaving.append(old)
            self._relieved, self._relieved_ms = old, now_ms

    def _commit(self, born: Generation) -> None:
        self.smtp.commit(born.rebind)
        self.ssl.commit(born.ssl_rebind)

    def _abandon(self, born: Generation) -> None:
        self.smtp.abandon(born.rebind)
        self.ssl.abandon(born.ssl_rebind)

    def _give_up(self, born: Generation, reason: str) -> str:
        log.error("event=generation_given_up generation=%d reason=%s", born.number, quoted(reason))
        self.pending = None
        self._abandon(born)
        # Those of its workers that were ready may have clients by now: they drain.
        self._children.dismiss(born.leaving)
        self._leaving.append(born)
        return reason

    def _retire(self, generation: Generation) -> None:
        """The engine of workers that have ended, unless others use it."""
        # Seats know their generation: while it knows them nobody frees the configuration, as what
        # was frozen before a fork is never looked at by the collector again.
        generation.seats.clear()
        generation.queue.clear()
        engine = generation.engine
        others = (self.current, self.pending, *self._leaving)
        if engine is None or any(other and other.engine is engine for other in others):
            return
        self._children.dismiss([engine.seat])
        _close_unix(engine.listener)

    def add_worker(self) -> int | None:
        """One worker more in the serving generation; None where the table has no room for two
        generations of so many.
        """
        current = self.current
        if current is None or len(current.seats) >= MAX_WORKERS:
            return None
        taken = {seat.number for seat in current.seats}
        number = next(free for free in range(len(taken) + 1) if free not in taken)
        self._add_worker(current, number)
        return number

    def dismiss_worker(self) -> int | None:
        """One worker less; None where it is the last."""
        current = self.current
        if current is None or len(current.seats) <= 1:
            return None
        last = max(current.seats, key=lambda seat: seat.number)
        current.seats.remove(last)
        self._children.dismiss([last])
        return last.number

    @property
    def listening(self) -> tuple[socket.socket, ...]:
        """All open listeners for clients, of all generations."""
        born = self.pending
        opened = (*born.rebind.opened, *born.ssl_rebind.opened) if born is not None else ()
        return (*self.smtp.sockets, *self.ssl.sockets, *opened)

    def set_accepting(self, is_accepting: bool) -> None:
        """Holds or resumes accepting, in workers that live and in those to come."""
        self.is_accepting = is_accepting
        word = Word.ACCEPT if is_accepting else Word.HOLD
        self._children.tell((Role.WORKER,), word)

    # End

    def close_listeners(self) -> None:
        """New connections are refused, as soon as workers stop listening."""
        self.smtp.close()
        self.ssl.close()
        if self.pending is not None:
            self._abandon(self.pending)

    def close(self) -> None:
        """Gives everything back; no child lives any more."""
        self.close_listeners()
        found = (self.current, self.pending, *self._leaving)
        for engine in {one.engine for one in found if one and one.engine}:
            _close_unix(engine.listener)
        _close_unix(self._heritage.bell)


def _close_unix(sock: socket.socket) -> None:
    try:
        os.unlink(sock.getsockname())
    except OSError:
        pass
    sock.close()
