"""The master's children: forked, known, watched, reaped, and forked again.

The one place that knows a role's entry point, as a string: what it names is imported by the child
after the fork, so that the master never loads it.

* A child that dies early (before it was ready, or within 2 s of its birth) is forked again after a
  pause that doubles up to 30 s. While no child of its role has ever become ready, the fifth such
  death ends the master: waiting does not mend a broken installation. That is so for the first
  generation only; a later one that cannot live is given up by ``generations``.
* A child whose heartbeat is too old is ended: SIGABRT, so that faulthandler writes where it hung,
  3 s later SIGKILL; stopped ones at once. One at a time: what looks like many hanging children is
  mostly a machine that hung itself, and so is a pause of the master, which is forgiven.

Called by the master's loop only; nothing blocks.
"""

import gc
import importlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from gwsmtp.base import procid
from gwsmtp.base.errors import HaltMaster, TableError
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.procid import ProcessId
from gwsmtp.base.quoting import quoted
from gwsmtp.limits.arena import Table
from gwsmtp.limits.slots import Role, SlotState, claim_slot, free_slot, read_slot
from gwsmtp.master.burial import Burial
from gwsmtp.master.signals import QUEUED
from gwsmtp.process.context import ChildContext
from gwsmtp.process.control import Word, make_pair, tell

log = logging.getLogger(__name__)

ENTRIES: Mapping[Role, str] = MappingProxyType(
    {
        Role.WORKER: "gwsmtp.process.worker:main",
        Role.ENGINE: "gwsmtp.process.engine:main",
        Role.TRIAL: "gwsmtp.process.trial:main",
        Role.QUEUE: "gwsmtp.process.queue:main",
    }
)
_BOOT = "gwsmtp.process.boot"

STOP_ORDER: tuple[tuple[Role, ...], ...] = (
    (Role.WORKER,),
    (Role.QUEUE, Role.TRACKER, Role.METRICS),
    (Role.ENGINE,),
    (Role.TRIAL,),
)
"""Who is drained after whom: those that are needed by others last."""

_EARLY_MS = 2_000
_FIRST_PAUSE_MS = 100
_LONGEST_PAUSE_MS = 30_000
_BOOT_DEATHS = 5
_BOOT_TIMEOUT_MS = 30_000
_ABORT_GRACE_MS = 3_000
_MASTER_PAUSE_MS = 5_000


def outlived_by(role: Role) -> tuple[Role, ...]:
    """The roles that must have ended before ``role`` may."""
    earlier: tuple[Role, ...] = ()
    for phase in STOP_ORDER:
        if role in phase:
            break
        earlier += phase
    return earlier


MakeContext = Callable[["Seat", int, int], ChildContext]
"""(seat, slot index, control descriptor) -> the child's inheritance."""


@dataclass(slots=True, eq=False)
class Seat:
    """One place that is to be filled: ``worker 0`` of a generation, with the history of who sat
    there.
    """

    role: Role
    number: int
    entry: str
    generation: int
    make_context: MakeContext
    early_deaths: int = 0
    not_before_ms: int = 0


@dataclass(slots=True, eq=False)
class Living:
    """One child that was forked and not reaped yet."""

    seat: Seat
    pid: int
    slot: int
    forked_ms: int
    control: socket.socket
    is_ready: bool = False
    aborted_ms: int = 0
    is_dismissed: bool = False  # asked to end: its death is no surprise, its seat not refilled


class Children:
    """All children of this master. Times are CLOCK_BOOTTIME in ms."""

    def __init__(
        self, table: Table, owner: ProcessId, first_generation: int, burial: Burial
    ) -> None:
        self._table = table
        self._burial = burial
        self._owner = owner
        self._first_generation = first_generation
        self._ready_roles: set[Role] = set()
        self._watched_ms = 0
        self._forgiven_ms = 0
        self.seats: list[Seat] = []
        self.living: dict[int, Living] = {}

    # Seats

    def add_seat(self, seat: Seat) -> Seat:
        """One more child is wanted; ``fill`` forks it."""
        self.seats.append(seat)
        return seat

    def dismiss(self, seats: Iterable[Seat]) -> None:
        """Fewer children are wanted: TERM for who sits there."""
        leaving = set(seats)
        self.seats = [seat for seat in self.seats if seat not in leaving]
        for child in self.living.values():
            if child.seat in leaving and not child.is_dismissed:
                child.is_dismissed = True
                send_signal(child.pid, signal.SIGTERM)

    def are_ready(self, seats: Iterable[Seat]) -> bool:
        """True when every one of ``seats`` is taken by a child that serves."""
        ready = {child.seat for child in self.living.values() if child.is_ready}
        return ready.issuperset(seats)

    def are_empty(self, seats: Iterable[Seat]) -> bool:
        """True when nobody lives who sits, or sat, on one of ``seats``."""
        return {child.seat for child in self.living.values()}.isdisjoint(seats)

    def are_draining(self, seats: Iterable[Seat]) -> bool:
        """True when nobody on one of ``seats`` accepts any more, by what the table says."""
        leaving = set(seats)
        views = (read_slot(self._table, c.slot) for c in self.living.values() if c.seat in leaving)
        return not any(view is not None and view.state is SlotState.READY for view in views)

    def fill(self, now_ms: int) -> None:
        """Forks for every empty seat whose pause is over."""
        taken = {child.seat for child in self.living.values()}
        for seat in self.seats:
            if seat not in taken and now_ms >= seat.not_before_ms:
                self._fork(seat, now_ms)

    def next_fill_ms(self) -> int | None:
        """When the first pause of an empty seat is over, None without one."""
        taken = {child.seat for child in self.living.values()}
        pauses = [seat.not_before_ms for seat in self.seats if seat not in taken]
        return min(pauses, default=None)

    # Birth

    def _fork(self, seat: Seat, now_ms: int) -> None:
        try:
            slot = claim_slot(
                self._table, seat.role, seat.number, seat.generation, self._owner, now_ms
            )
        except TableError as error:
            seat.not_before_ms = now_ms + _LONGEST_PAUSE_MS
            log.error("event=fork_failed child=%s reason=%s", _label(seat), quoted(str(error)))
            return
        try:
            control, theirs = make_pair()
        except OSError as error:
            self._not_forked(seat, slot, error, now_ms)
            return
        context = seat.make_context(seat, slot, theirs.fileno())
        gc.collect()
        gc.freeze()  # pages that no collection of a child touches stay shared
        before = signal.pthread_sigmask(signal.SIG_BLOCK, QUEUED)
        try:
            pid = os.fork()
            if pid == 0:
                _become(context, seat.entry)
        except OSError as error:
            control.close()
            self._not_forked(seat, slot, error, now_ms)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self.living[pid] = Living(seat, pid, slot, now_ms, control)
        log.info(
            "event=child_forked child=%s pid=%d slot=%d generation=%d",
            _label(seat),
            pid,
            slot,
            seat.generation,
        )

    def _not_forked(self, seat: Seat, slot: int, error: OSError, now_ms: int) -> None:
        free_slot(self._table, slot)
        self._pause(seat, now_ms)
        log.error("event=fork_failed child=%s reason=%s", _label(seat), quoted(str(error)))

    # Life

    def note_ready(self) -> None:
        """Learns from the table who has become ready."""
        for child in self.living.values():
            if not child.is_ready:
                view = read_slot(self._table, child.slot)
                if view is not None and view.ready_ms:
                    child.is_ready = True
                    self._ready_roles.add(child.seat.role)
                    log.info("event=child_ready child=%s pid=%d", _label(child.seat), child.pid)

    def watch(self, now_ms: int, hang_ms: int) -> None:
        """Ends a child that hangs; called at least every few seconds."""
        if now_ms - self._watched_ms > _MASTER_PAUSE_MS:
            self._forgiven_ms = now_ms  # we stood still ourselves, or this is the first look
        self._watched_ms = now_ms
        self._burial.free_lock()
        for child in self.living.values():
            if child.aborted_ms:
                if now_ms - child.aborted_ms > _ABORT_GRACE_MS:
                    send_signal(child.pid, signal.SIGKILL)
                return
        hanging = [child for child in self.living.values() if self._hangs(child, now_ms, hang_ms)]
        if hanging:
            stopped = [child for child in hanging if procid.is_stopped(child.pid)]
            child = (stopped or hanging)[0]
            child.aborted_ms = now_ms
            log.error(
                "event=child_hangs child=%s pid=%d stopped=%s",
                _label(child.seat),
                child.pid,
                bool(stopped),
            )
            send_signal(child.pid, signal.SIGKILL if stopped else signal.SIGABRT)

    def _hangs(self, child: Living, now_ms: int, hang_ms: int) -> bool:
        view = read_slot(self._table, child.slot)
        beat_ms = view.heartbeat_ms if view is not None else 0
        patience_ms = hang_ms if child.is_ready else max(hang_ms, _BOOT_TIMEOUT_MS)
        return now_ms - max(beat_ms, child.forked_ms, self._forgiven_ms) > patience_ms

    # Death

    def reap(self, now_ms: int, *, stopping: bool) -> dict[int, int]:
        """Buries the dead; returns (pid: exit code) of those that are no children of the table.
        Raises HaltMaster when nothing can come of forking again.
        """
        others: dict[int, int] = {}
        self.note_ready()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid, status = 0, 0
            if pid == 0:
                return others
            code = os.waitstatus_to_exitcode(status)
            child = self.living.pop(pid, None)
            if child is None:
                others[pid] = code
                continue
            child.control.close()
            self._burial.bury((child.slot,))
            self._note_death(child, code, now_ms, stopping=stopping)

    def bury_all(self) -> None:
        """Waits for every child, all of which were killed, and gives their slots back."""
        for child in list(self.living.values()):
            try:
                os.waitpid(child.pid, 0)
            except ChildProcessError:
                pass
            child.control.close()
        self._burial.bury(child.slot for child in self.living.values())
        self.living.clear()

    def _note_death(self, child: Living, code: int, now_ms: int, *, stopping: bool) -> None:
        seat = child.seat
        expected = stopping or child.is_dismissed
        log.log(
            logging.INFO if expected and code == ExitCode.OK else logging.WARNING,
            "event=child_ended child=%s pid=%d generation=%d end=%s ready=%s seconds=%.1f",
            _label(seat),
            child.pid,
            seat.generation,
            _end(code),
            child.is_ready,
            (now_ms - child.forked_ms) / 1000,
        )
        if expected:
            return
        if child.is_ready and now_ms - child.forked_ms >= _EARLY_MS:
            seat.early_deaths = 0
            return
        self._pause(seat, now_ms)
        is_first = seat.generation == self._first_generation
        if is_first and seat.role not in self._ready_roles:
            if code == ExitCode.NO_PERMISSION:
                raise HaltMaster(code, f"{_label(seat)} cannot work as workers.user; see the log")
            if seat.early_deaths >= _BOOT_DEATHS:
                raise HaltMaster(
                    ExitCode.BOOT_FAILED,
                    f"{_label(seat)} died {seat.early_deaths} times before it was ready "
                    f"(last: {_end(code)}); see the log",
                )

    def _pause(self, seat: Seat, now_ms: int) -> None:
        seat.early_deaths += 1
        pause_ms = _FIRST_PAUSE_MS << min(seat.early_deaths - 1, 20)
        seat.not_before_ms = now_ms + min(pause_ms, _LONGEST_PAUSE_MS)

    # Signals

    def of(self, roles: tuple[Role, ...]) -> list[Living]:
        """The living children of these roles, of all generations."""
        return [child for child in self.living.values() if child.seat.role in roles]

    def signal_all(self, signum: signal.Signals) -> None:
        """Sends ``signum`` to every living child."""
        for child in self.living.values():
            send_signal(child.pid, signum)

    def tell(self, roles: tuple[Role, ...], word: Word, fd: int = -1) -> None:
        """Says ``word`` to the living children of these roles."""
        for child in self.of(roles):
            if not tell(child.control, word, fd):
                log.warning("event=child_deaf child=%s word=%s", _label(child.seat), word.name)


def send_signal(pid: int, signum: signal.Signals) -> None:
    """Signals a child of ours. Until it is reaped its pid is its own, so it cannot hit another."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        pass


def _become(context: ChildContext, entry: str) -> NoReturn:
    """In the child, with signals blocked: the boot takes over and never comes back."""
    try:
        importlib.import_module(_BOOT).run_child(context, entry)
    except BaseException:
        log.exception("event=boot_failed")
    finally:
        os._exit(ExitCode.BOOT_FAILED)


def _label(seat: Seat) -> str:
    return f"{seat.role.name.lower()}-{seat.number}"


def _end(code: int) -> str:
    """How a child ended: ``exit-0``, ``SIGKILL``."""
    if code >= 0:
        return f"exit-{code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal-{-code}"
