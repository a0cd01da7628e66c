"""The master of one gateway: from an empty machine to a serving one, and back.

``Master(config, options).run()`` blocks until the gateway has ended; it returns ExitCode.OK, or
raises HaltMaster with the exit code and one line for the administrator. What it does, in order:
directories, log, pidfile, the shared table, listeners, forks; then one loop: take signals, bury the
dead, fork for empty seats, look at heartbeats, move reloads and, when it is to end, the drain on.
It never talks to a peer and knows no protocol. Each duty has a file of its own: ``children``,
``generations``, ``reload``, ``drain``, ``listeners``, ``logfile``, ``pidfile``.

Invariants: nothing cooperative is imported here or by what this imports; one writer for each file
under ``paths.run``; whoever kills this process, its children notice by the lifeline and drain.

Limits: children of a killed master hold its port until they have closed it; a new master that comes
within that moment says that the address is taken.
"""

import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import setproctitle

from gwsmtp.base import procid
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.limits.slots import Role
from gwsmtp.master import listeners
from gwsmtp.master.burial import Burial
from gwsmtp.master.children import ENTRIES, Children, Seat
from gwsmtp.master.directories import make_directories, make_directory
from gwsmtp.master.drain import Drain
from gwsmtp.master.generations import Generations, Heritage
from gwsmtp.master.leader import Leader
from gwsmtp.master.loader import Load, Loader
from gwsmtp.master.logfile import LogFile
from gwsmtp.master.notify import notify, wants_watchdog
from gwsmtp.master.pidfile import PidFile
from gwsmtp.master.readiness import Ready, announce
from gwsmtp.master.reload import Reloading
from gwsmtp.master.shedding import Shedding
from gwsmtp.master.signals import SIGNALS, SignalQueue, is_on_terminal
from gwsmtp.master.tlscontexts import TlsContexts
from gwsmtp.process.context import ChildContext, Settings, bell_path
from gwsmtp.process.control import Word
from gwsmtp.process.privileges import Account, PrivilegeError, find_account, warn_about

log = logging.getLogger(__name__)

_BOOT_POLL_S = 0.05
_POLL_S = 0.25  # the table's lock is looked at each time
_ENDING_POLL_S = 0.25
_SWEEP_MS = 5_000
_HANDLERS = {row.signum: row.handler for row in SIGNALS}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line adds to the configuration. ``trial`` is the loopback address of the
    built-in next hop, None = not started; ``ready_fd`` gets one JSON line when everything serves;
    ``load`` reads the configuration again, None = a reload goes on with the one there is.
    """

    trial: tuple[str, int] | None = None
    ready_fd: int = -1
    on_ready: Callable[[Ready], None] | None = None
    entries: Mapping[Role, str] = field(default_factory=lambda: ENTRIES)
    load: Load | None = None


@dataclass(slots=True)
class _Duties:
    """What exists once the gateway has started."""

    burial: Burial
    children: Children
    generations: Generations
    reloading: Reloading
    leader: Leader
    shedding: Shedding


class Master:
    """One gateway's master process."""

    def __init__(
        self, config: Settings, options: RunOptions | None = None, clock: Clock | None = None
    ) -> None:
        self._config = config  # that of the start; what changes is the generations'
        self._options = options or RunOptions()
        self._clock = clock or SystemClock()
        self._name = config.interface.name
        self._id = procid.own_id()
        self._table_path = config.paths.run / f"{self._name}.table"
        self._pidfile = PidFile(config.paths.run / f"{self._name}.pid")
        self._maildir = config.paths.base / "trial-maildir" if self._options.trial else None
        self._signals = SignalQueue()
        self._logfile = LogFile(self._clock)
        self._tls = TlsContexts(self._clock)
        self._drain = Drain()
        self._lifeline_read, self._lifeline_write = -1, -1
        self._trial_address = ""
        self._duties: _Duties | None = None
        self._leader: Leader | None = None
        self._was_ready = False
        self._swept_ms = 0

    def run(self) -> int:
        """Runs the gateway; blocks until its end. Raises HaltMaster."""
        try:
            duties = self._duties = self._start()
            try:
                while not self._safe_step(duties):
                    pass
            except BaseException:
                self._abandon(duties)
                raise
            duties.leader.finish()
            log.info("event=stopped pid=%d", self._id[0])
        except HaltMaster as halt:
            if self._logfile.fd != 2:  # there the command line says it
                log.error("event=halted code=%d reason=%s", halt.exit_code, quoted(halt.reason))
            raise
        finally:
            self._close()
        return ExitCode.OK

    # Start

    def _start(self) -> _Duties:
        config = self._config
        self._set_title("starting")
        try:
            account = find_account(config.workers.user, config.workers.group)
        except PrivilegeError as error:
            raise HaltMaster(ExitCode.NO_PERMISSION, str(error)) from error
        os.umask(0o027)
        make_directories(config.paths, account)
        self._logfile.open(config)
        self._pidfile.acquire()
        listeners.remove_stale(config.paths.run, f"{self._name}.engine-*.sock")
        leader = self._leader = Leader(config, self._id, account, self._clock)
        table, generation = leader.table, leader.generation
        warn_about(account)
        self._signals.open()
        self._lifeline_read, self._lifeline_write = os.pipe2(os.O_CLOEXEC)
        burial = Burial(table, self._id, self._clock)
        burial.heal()
        children = Children(table, self._id, generation, burial)
        heritage = Heritage(
            name=self._name,
            run=config.paths.run,
            table_path=self._table_path,
            owner=self._id,
            lifeline_fd=self._lifeline_read,
            logfile=self._logfile,
            account=account,
            entries=self._options.entries,
            tls=self._tls,
            bell=listeners.bind_datagrams(bell_path(config.paths.run, self._name), account),
        )
        generations = Generations(children, table, heritage, generation)
        load = self._options.load
        loader = Loader(load, self._lifeline_read) if load is not None else None
        reloading = Reloading(loader, generations, self._logfile, self._clock, self._publish)
        shedding = Shedding(table)
        duties = _Duties(burial, children, generations, reloading, leader, shedding)
        self._duties = duties
        if self._options.trial:
            self._add_trial(duties, self._options.trial, account, generation)
        generations.begin(config, self._clock.boot_ms())
        self._publish()
        return duties

    def _add_trial(
        self, duties: _Duties, address: tuple[str, int], account: Account | None, number: int
    ) -> None:
        """The built-in next hop: of the first configuration, whatever is reloaded."""
        if self._maildir is not None:
            make_directory(self._maildir, account, 0o700)
        listener = listeners.bind_tcp(*address)
        self._trial_address = listeners.address_text(listener)
        generations, config, maildir = duties.generations, self._config, self._maildir

        def context(seat: Seat, slot: int, control_fd: int) -> ChildContext:
            return generations.context(config, seat, slot, control_fd, (listener,), maildir=maildir)

        entry = self._options.entries[Role.TRIAL]
        duties.children.add_seat(Seat(Role.TRIAL, 0, entry, number, context))

    def _addresses(self, *, is_ssl: bool = False) -> tuple[str, ...]:
        if self._duties is None:
            return ()
        generations = self._duties.generations
        sockets = (generations.ssl if is_ssl else generations.smtp).sockets
        return tuple(listeners.address_text(sock) for sock in sockets)

    def _publish(self) -> None:
        """Brings the pidfile up to date."""
        if self._duties is not None:
            reloading = self._duties.reloading
            self._pidfile.write(
                (*self._addresses(), *self._addresses(is_ssl=True)),
                reloading.asked,
                reloading.done,
                reloading.failure,
                reloading.refused,
            )

    # The loop

    def _safe_step(self, duties: _Duties) -> bool:
        """A step whose surprises do not take the children along: they go on serving."""
        try:
            return self._step(duties)
        except Exception:
            log.exception("event=master_failed")
            self._signals.wait(_POLL_S)
            return False

    def _step(self, duties: _Duties) -> bool:
        """One turn; True when all is over."""
        now_ms = self._clock.boot_ms()
        children, current = duties.children, duties.generations.current
        ended = children.reap(now_ms, stopping=self._drain.is_ending)
        children.note_ready()
        config = current.config if current else self._config
        duties.leader.step(config, ended, self._logfile.fd, self._lifeline_read)
        if self._drain.is_ending:
            if self._drain.advance(children, now_ms):
                return True
        else:
            duties.shedding.step(config, duties.generations.listening, now_ms)
            if self._tls.watch(now_ms):
                duties.reloading.renew()
            duties.reloading.step(ended, now_ms)
            children.fill(now_ms)
            if not self._was_ready and children.are_ready(children.seats):
                self._announce()
        children.watch(now_ms, int(config.workers.hang_timeout * 1000))
        self._sweep(duties.burial, now_ms)
        if wants_watchdog():
            notify("WATCHDOG=1")
        self._signals.wait(self._pause_s(duties))
        for signum in self._signals.take():
            if signum in _HANDLERS:
                handler: Callable[[_Duties], None]
                handler = getattr(self, _HANDLERS[signal.Signals(signum)])
                handler(duties)
        return False

    def _pause_s(self, duties: _Duties) -> float:
        if self._drain.is_ending:
            return _ENDING_POLL_S
        children = duties.children
        is_booting = any(not c.is_ready and not c.is_dismissed for c in children.living.values())
        if is_booting or duties.burial.is_waiting or duties.generations.is_changing:
            return _BOOT_POLL_S
        next_ms = children.next_fill_ms()
        if next_ms is None:
            return _POLL_S
        return min(max((next_ms - self._clock.boot_ms()) / 1000, 0.01), _POLL_S)

    def _announce(self) -> None:
        """Everything serves for the first time: says so to whoever waits for it."""
        self._was_ready = True
        over_tls = self._addresses(is_ssl=True)
        ready = Ready(self._id[0], self._addresses(), self._trial_address, self._maildir, over_tls)
        self._set_title("ready")
        announce(ready, self._options.ready_fd)
        if self._options.on_ready:
            self._options.on_ready(ready)

    def _sweep(self, burial: Burial, now_ms: int) -> None:
        """Gives back slots that wait for it, and those of earlier masters' children that died."""
        burial.go_on()
        if now_ms - self._swept_ms >= _SWEEP_MS:
            self._swept_ms = now_ms
            burial.sweep()

    # Signals: one method for each handler that master.signals names

    def handle_reload(self, duties: _Duties) -> None:
        """Reload, and accept again."""
        if self._drain.is_ending:
            return
        if not duties.generations.is_accepting:
            log.info("event=accepting")
            duties.generations.set_accepting(True)
            self._set_title("ready")
        duties.reloading.ask()

    def handle_term(self, duties: _Duties) -> None:
        """Drain; a second one stops."""
        if self._drain.is_ending:
            self.handle_stop(duties)
            return
        log.info("event=draining reason=TERM")
        self._set_title("draining")
        notify("STOPPING=1")
        duties.reloading.cancel()
        # New connections are refused from now on, not left waiting in a backlog nobody reads.
        duties.generations.close_listeners()
        current = duties.generations.current
        drain_s = (current.config if current else self._config).workers.drain_timeout
        self._drain.begin(duties.children, self._clock.boot_ms(), int(drain_s * 1000))

    def handle_stop(self, duties: _Duties) -> None:
        """Stop now."""
        if self._drain.is_stopping:
            return
        log.info("event=stopping")
        self._set_title("stopping")
        notify("STOPPING=1")
        duties.reloading.cancel()
        self._drain.stop(duties.children, self._clock.boot_ms())

    def handle_reopen(self, duties: _Duties) -> None:
        """Reopen the log file, in every child too."""
        if self._logfile.reopen():
            duties.children.tell(tuple(Role), Word.LOG, self._logfile.fd)
            log.info("event=log_reopened")
        elif not self._logfile.is_file:
            log.info("event=log_kept reason=%s", quoted("logging.to names no file"))

    def handle_upgrade(self, duties: _Duties) -> None:
        """Nothing yet."""
        del duties
        log.warning("event=upgrade_unknown note=%s", quoted("USR2 has no effect yet"))

    def handle_hold(self, duties: _Duties) -> None:
        """Stop accepting until a reload."""
        if self._drain.is_ending:
            return
        if is_on_terminal():
            log.info("event=hold_ignored reason=%s", quoted("in the foreground of a terminal"))
            return
        log.warning("event=holding note=%s", quoted("nothing is accepted until HUP"))
        duties.generations.set_accepting(False)
        self._set_title("holding")

    def handle_more(self, duties: _Duties) -> None:
        """One worker more."""
        if not self._drain.is_ending:
            number = duties.generations.add_worker()
            if number is None:
                log.warning("event=worker_not_added reason=%s", quoted("no room in the table"))
            else:
                log.info("event=worker_added number=%d", number)

    def handle_less(self, duties: _Duties) -> None:
        """One worker less, but never none."""
        if not self._drain.is_ending:
            number = duties.generations.dismiss_worker()
            if number is None:
                log.info("event=worker_kept reason=last")
            else:
                log.info("event=worker_dismissed number=%d", number)

    # End

    def _abandon(self, duties: _Duties) -> None:
        """The loop was left by an exception: nobody may be left behind."""
        duties.reloading.cancel()
        duties.children.signal_all(signal.SIGKILL)
        duties.children.bury_all()

    def _close(self) -> None:
        """Gives everything back, in the reverse order; called whatever happened."""
        self._signals.close()
        for fd in (self._lifeline_read, self._lifeline_write):
            if fd >= 0:
                os.close(fd)
        if self._duties is not None:
            self._duties.generations.close()
        if self._leader is not None:
            self._leader.table.close()
        self._pidfile.release()

    def _set_title(self, state: str) -> None:
        setproctitle.setproctitle(f"gwsmtp: master [{self._name}] {state}")
