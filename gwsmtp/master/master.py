"""The master of one gateway: from an empty machine to a serving one, and back.

``Master(config, options).run()`` blocks until the gateway has ended; it returns ExitCode.OK, or
raises HaltMaster with the exit code and one line for the administrator. What it does, in order:
directories, pidfile, listeners, the shared table, forks; then one loop: take signals, bury the
dead, fork for empty seats, look at heartbeats, and when it is to end, wait for the phases of the
drain. It never talks to a peer and knows no protocol.

The order of a drain is ``children.STOP_ORDER``: workers may finish with the engine still there.
Each phase has a deadline, after which who is left gets SIGKILL.

Invariants: nothing cooperative is imported here or by what this imports; one writer for each file
under ``paths.run``; whoever kills this process, its children notice by the lifeline and drain.

Limits: children of a killed master hold its port until they have closed it; a new master that comes
within that moment says that the address is taken.
"""

# long: one object and its loop; what of it belongs to TLS is four lines

import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import setproctitle

from gwsmtp.base import logs, procid
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.errors import HaltMaster, TableError
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.logs import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.slots import Role, free_dead
from gwsmtp.master import listeners
from gwsmtp.master.children import ENTRIES, STOP_ORDER, Children, outlived_by, send_signal
from gwsmtp.master.directories import make_directories, make_directory
from gwsmtp.master.notify import notify, wants_watchdog
from gwsmtp.master.pidfile import PidFile
from gwsmtp.master.signals import SIGNALS, SignalQueue
from gwsmtp.master.tlscontexts import TlsContexts
from gwsmtp.net.tlsmaterial import TlsMaterial
from gwsmtp.process.context import ChildContext, Settings
from gwsmtp.process.privileges import Account, PrivilegeError, find_account

log = logging.getLogger(__name__)

_BOOT_POLL_S = 0.05
_POLL_S = 1.0
_SWEEP_MS = 5_000
_DRAIN_GRACE_MS = 5_000
_STOP_MS = 5_000
_HANDLERS = {row.signum: row.handler for row in SIGNALS}


@dataclass(frozen=True, slots=True)
class Ready:
    """What is known when everything serves."""

    pid: int
    listen: tuple[str, ...]
    trial: str
    maildir: Path | None
    ssl: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line adds to the configuration. ``trial`` is the loopback address of the
    built-in next hop, None = not started; ``ready_fd`` gets one JSON line when everything serves.
    """

    trial: tuple[str, int] | None = None
    ready_fd: int = -1
    on_ready: Callable[[Ready], None] | None = None
    entries: Mapping[Role, str] = field(default_factory=lambda: ENTRIES)


class Master:
    """One gateway's master process."""

    def __init__(
        self, config: Settings, options: RunOptions | None = None, clock: Clock | None = None
    ) -> None:
        self._config = config
        self._options = options or RunOptions()
        self._clock = clock or SystemClock()
        self._name = config.interface.name
        self._id = procid.own_id()
        run = config.paths.run
        self._table_path = run / f"{self._name}.table"
        self._engine_path = run / f"{self._name}.engine.sock"
        self._pidfile = PidFile(run / f"{self._name}.pid")
        self._maildir = config.paths.base / "trial-maildir" if self._options.trial else None
        self._signals = SignalQueue()
        self._listeners: dict[Role, list[socket.socket]] = {role: [] for role in Role}
        self._ssl_listeners: list[socket.socket] = []
        self._tls_contexts = TlsContexts(self._clock)
        self._tls: TlsMaterial | None = None
        self._lifeline_read, self._lifeline_write = -1, -1
        self._log_fd = 2
        self._account: Account | None = None
        self._table: Table | None = None
        self._children: Children | None = None
        self._generation = 1
        self._was_ready = False
        self._swept_ms = 0
        self._phase = -1  # index into STOP_ORDER while draining
        self._is_stopping = False
        self._deadline_ms = 0

    def run(self) -> int:
        """Runs the gateway; blocks until its end. Raises HaltMaster."""
        try:
            children = self._start()
            try:
                while not self._safe_step(children):
                    pass
            except BaseException:
                self._abandon(children)
                raise
            log.info("event=stopped pid=%d", self._id[0])
        except HaltMaster as halt:
            if self._log_fd != 2:  # there the command line says it
                log.error("event=halted code=%d reason=%s", halt.exit_code, quoted(halt.reason))
            raise
        finally:
            self._close()
        return ExitCode.OK

    # Start

    def _start(self) -> Children:
        config = self._config
        self._set_title("starting")
        try:
            self._account = find_account(config.workers.user, config.workers.group)
        except PrivilegeError as error:
            raise HaltMaster(ExitCode.NO_PERMISSION, str(error)) from error
        os.umask(0o027)
        make_directories(config.paths, self._account)
        self._open_log()
        self._pidfile.acquire()
        self._tls = self._tls_contexts.build(config.tls)
        self._bind()
        table = self._open_table()
        self._warn_about_privileges()
        ssl_connections = config.ssl.max_inbound_connections if config.ssl.enabled else 0
        listeners.raise_file_limit(config.server.max_inbound_connections + ssl_connections)
        self._signals.open()
        self._lifeline_read, self._lifeline_write = os.pipe2(os.O_CLOEXEC)
        children = Children(table, self._id, self._generation, self._make_context)
        if config.scan.runs_embedded:
            children.add_seat(Role.ENGINE, 0, self._options.entries[Role.ENGINE])
        if self._options.trial:
            children.add_seat(Role.TRIAL, 0, self._options.entries[Role.TRIAL])
        for number in range(config.workers.number):
            children.add_seat(Role.WORKER, number, self._options.entries[Role.WORKER])
        self._children = children
        return children

    def _open_log(self) -> None:
        to = self._config.logging.to
        if to in (None, "", "-", "stderr"):
            self._log_fd = 2
        elif to == "stdout":
            self._log_fd = 1
        else:
            path = self._config.paths.log / str(to)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            try:
                self._log_fd = os.open(path, flags, 0o640)
            except OSError as error:
                raise HaltMaster(
                    ExitCode.CANNOT_CREATE, f"cannot write the log {path}: {error.strerror}"
                ) from error
        logs.setup("master", self._config.logging.level, self._log_fd, self._clock)

    def _warn_about_privileges(self) -> None:
        if os.geteuid() == 0 and self._account is None:
            log.warning("event=privileged note=%s", quoted("workers.user is not set"))
        elif os.geteuid() != 0 and self._account and self._account.uid != os.geteuid():
            log.warning(
                "event=unprivileged note=%s", quoted("not root, so workers.user is not used")
            )

    def _bind(self) -> None:
        server = self._config.server
        if server.enabled:
            self._listeners[Role.WORKER] = listeners.bind_listeners(server.listen)
        if self._config.ssl.enabled and self._tls is not None:
            self._ssl_listeners = listeners.bind_listeners(self._config.ssl.listen)
        if self._config.scan.runs_embedded:
            engine = listeners.bind_unix(self._engine_path, self._account)
            self._listeners[Role.ENGINE] = [engine]
        if self._options.trial and self._maildir:
            make_directory(self._maildir, self._account, 0o700)
            self._listeners[Role.TRIAL] = [listeners.bind_tcp(*self._options.trial)]
        self._pidfile.write(self._addresses(Role.WORKER))

    def _addresses(self, role: Role) -> tuple[str, ...]:
        return tuple(listeners.address_text(sock) for sock in self._listeners[role])

    def _open_table(self) -> Table:
        now_ms = self._clock.boot_ms()
        gid = self._account.gid if self._account and os.geteuid() == 0 else -1
        try:
            table = create_table(self._table_path, now_ms=now_ms, gid=gid)
        except TableError as error:
            raise HaltMaster(ExitCode.CANNOT_CREATE, str(error)) from error
        self._table = table
        if table.set_aside:
            log.warning("event=table_set_aside reason=%s", quoted(table.set_aside))
        self._generation = table.generation + 1
        table.lead(self._id, self._generation)
        free_dead(table, procid.is_alive, self._id)
        return table

    def _make_context(self, role: Role, number: int, slot: int) -> ChildContext:
        return ChildContext(
            role=role,
            number=number,
            generation=self._generation,
            config=self._config,
            table_path=self._table_path,
            slot_index=slot,
            listeners=tuple(self._listeners[role]),
            lifeline_fd=self._lifeline_read,
            log_fd=self._log_fd,
            owner=self._id,
            engine_address=f"unix:{self._engine_path}" if self._config.scan.runs_embedded else "",
            maildir=self._maildir if role is Role.TRIAL else None,
            outlives=outlived_by(role),
            ssl_listeners=tuple(self._ssl_listeners) if role is Role.WORKER else (),
            tls=self._tls if role is Role.WORKER else None,
        )

    # The loop

    def _safe_step(self, children: Children) -> bool:
        """A step whose surprises do not take the children along: they go on serving."""
        try:
            return self._step(children)
        except Exception:
            log.exception("event=master_failed")
            self._signals.wait(_POLL_S)
            return False

    def _step(self, children: Children) -> bool:
        """One turn; True when all is over."""
        now_ms = self._clock.boot_ms()
        is_ending = self._phase >= 0 or self._is_stopping
        children.reap(now_ms, stopping=is_ending)
        children.note_ready()
        if is_ending:
            if self._advance(children, now_ms):
                return True
        else:
            children.fill(now_ms)
            if not self._was_ready and children.all_ready:
                self._announce()
        children.watch(now_ms, int(self._config.workers.hang_timeout * 1000))
        self._sweep(now_ms)
        if wants_watchdog():
            notify("WATCHDOG=1")
        self._signals.wait(self._pause_s(children, is_ending=is_ending))
        for signum in self._signals.take():
            if signum in _HANDLERS:
                handler: Callable[[], None] = getattr(self, _HANDLERS[signal.Signals(signum)])
                handler()
        return False

    def _pause_s(self, children: Children, *, is_ending: bool) -> float:
        if is_ending:
            return 0.25
        if not all(child.is_ready for child in children.living.values()):
            return _BOOT_POLL_S
        next_ms = children.next_fill_ms()
        if next_ms is None:
            return _POLL_S
        return min(max((next_ms - self._clock.boot_ms()) / 1000, 0.01), _POLL_S)

    def _announce(self) -> None:
        """Everything serves for the first time: says so to whoever waits for it."""
        self._was_ready = True
        listen, trial = self._addresses(Role.WORKER), self._addresses(Role.TRIAL)
        over_tls = tuple(listeners.address_text(sock) for sock in self._ssl_listeners)
        ready = Ready(self._id[0], listen, trial[0] if trial else "", self._maildir, over_tls)
        self._set_title("ready")
        log.info(
            "event=ready pid=%d listen=%s ssl=%s",
            *(ready.pid, ",".join(listen) or "-", ",".join(over_tls) or "-"),
        )
        if trial:
            note = quoted("for trying out only, this is no mail store")
            log.warning("event=trial_next_hop listen=%s note=%s", trial[0], note)
        notify(f"READY=1\nMAINPID={ready.pid}")
        if self._options.ready_fd >= 0:
            known = {"pid": ready.pid, "listen": listen, "ssl": over_tls, "trial": ready.trial}
            try:
                os.write(self._options.ready_fd, f"{json.dumps(known)}\n".encode())
                os.close(self._options.ready_fd)
            except OSError:
                pass  # who asked has gone
        if self._options.on_ready:
            self._options.on_ready(ready)

    def _sweep(self, now_ms: int) -> None:
        """Gives back slots of earlier masters' children that have died meanwhile."""
        if self._table is not None and now_ms - self._swept_ms >= _SWEEP_MS:
            self._swept_ms = now_ms
            free_dead(self._table, procid.is_alive, self._id)

    # Signals: one method for each handler that master.signals names

    def handle_term(self) -> None:
        """Drain; a second one stops."""
        if self._phase >= 0 or self._is_stopping:
            self.handle_stop()
            return
        log.info("event=draining reason=TERM")
        self._set_title("draining")
        notify("STOPPING=1")
        # New connections are refused from now on, not left waiting in a backlog nobody reads.
        for listener in (*self._listeners[Role.WORKER], *self._ssl_listeners):
            listener.close()
        self._begin_phase(0)

    def handle_stop(self) -> None:
        """Stop now."""
        if self._is_stopping or self._children is None:
            return
        log.info("event=stopping")
        self._set_title("stopping")
        notify("STOPPING=1")
        self._is_stopping = True
        self._deadline_ms = self._clock.boot_ms() + _STOP_MS
        self._children.signal_all(signal.SIGINT)

    def handle_more(self) -> None:
        """One worker more."""
        if self._children is not None and self._phase < 0 and not self._is_stopping:
            numbers = {seat.number for seat in self._children.seats if seat.role is Role.WORKER}
            number = next(free for free in range(len(numbers) + 1) if free not in numbers)
            log.info("event=worker_added number=%d", number)
            self._children.add_seat(Role.WORKER, number, self._options.entries[Role.WORKER])

    def handle_less(self) -> None:
        """One worker less, but never none."""
        if self._children is not None and self._phase < 0 and not self._is_stopping:
            workers = [seat for seat in self._children.seats if seat.role is Role.WORKER]
            if len(workers) == 1:
                log.info("event=worker_kept reason=last")
            else:
                last = max(workers, key=lambda seat: seat.number)
                log.info("event=worker_dismissed number=%d", last.number)
                self._children.dismiss(last)

    # End

    def _begin_phase(self, phase: int) -> None:
        self._phase = phase
        grace_ms = _DRAIN_GRACE_MS
        if phase == 0:
            grace_ms += int(self._config.workers.drain_timeout * 1000)
        self._deadline_ms = self._clock.boot_ms() + grace_ms
        if self._children is not None:
            for child in self._children.of(STOP_ORDER[phase]):
                send_signal(child.pid, signal.SIGTERM)

    def _advance(self, children: Children, now_ms: int) -> bool:
        """The next step of the end; True when nobody lives any more."""
        if not children.living:
            return True
        if self._is_stopping:
            left = list(children.living.values())
        else:
            while not children.of(STOP_ORDER[self._phase]):
                self._begin_phase(self._phase + 1)
            left = children.of(STOP_ORDER[self._phase])
        if now_ms >= self._deadline_ms:
            for child in left:
                log.warning("event=killed child=%s-%d", child.seat.role.name, child.seat.number)
                send_signal(child.pid, signal.SIGKILL)
        return False

    def _abandon(self, children: Children) -> None:
        """The loop was left by an exception: nobody may be left behind."""
        children.signal_all(signal.SIGKILL)
        children.bury_all()

    def _close(self) -> None:
        """Gives everything back, in the reverse order; called whatever happened."""
        self._signals.close()
        for fd in (self._lifeline_read, self._lifeline_write):
            if fd >= 0:
                os.close(fd)
        if self._listeners[Role.ENGINE]:
            self._engine_path.unlink(missing_ok=True)
        for bound in (*self._listeners.values(), self._ssl_listeners):
            for listener in bound:
                listener.close()
        if self._table is not None:
            self._table.close()
        self._pidfile.release()

    def _set_title(self, state: str) -> None:
        setproctitle.setproctitle(f"gwsmtp: master [{self._name}] {state}")
