"""The running child: heartbeat, signals, lifeline, log batches, and the way to its end.

``boot.run_child`` makes one in every child and hands it to the role's ``main(context, child)``.
Main registers what draining and stopping mean for it, says ``ready()``, and either calls ``wait()``
or waits by its own means; when it returns, the process ends with ExitCode.OK.

How a child ends:

* TERM, or the lifeline's end (the master is gone): *drain*. The drain callbacks run one after the
  other in a greenlet of their own; they may wait for work to finish. ``wait()`` returns when they
  are through. ``workers.drain_timeout`` after the signal, or at a second TERM, it becomes a stop.
* INT or QUIT: *stop*. The stop callbacks have 2 s, main one more to return, then the process ends.
* Should even the event loop stand still by then, SIGALRM of the kernel ends the process.

What the master says meanwhile (``process.control``) is done here too: another log file takes the
place of the old descriptor, number and all, so whoever writes notices nothing; ``on_accepting`` is
called with False when accepting is to be held, with True when it is to go on.

An engine serves workers: when the master is gone it drains only after they have ended.

How late the loop comes to its timers stands in the slot (``LOOP_LAG_US``).

Nothing here blocks but ``wait``. Watchers keep the loop alive, so a main that waits for ever is no
LoopExit.

Limits: a child whose loop stands still when the master dies sees neither the lifeline nor a TERM.
"""

import logging
import math
import os
import signal
from collections.abc import Callable
from typing import NoReturn

import gevent
import gevent.event
import setproctitle
from gevent.hub import get_hub

from gwsmtp.base import procid
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.lines import LineWriter
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.limits.arena import Table
from gwsmtp.limits.slots import Gauge, Role, SlotState, SlotWriter, read_slots
from gwsmtp.process.context import ChildContext
from gwsmtp.process.control import Hearing, Word

log = logging.getLogger(__name__)

Callback = Callable[[], object]

_READ = 1  # of libev
_BEAT_S = 1.0
_FLUSH_S = 0.2
_LAG_SHOWN_S = 2.0
_STOP_GRACE_S = 2.0
_RETURN_GRACE_S = 1.0
_ALARM_GRACE_S = 4.0
_ORPHAN_POLL_S = 0.2


class Child:
    """One for each process; its public attributes are the child's tools."""

    def __init__(
        self, context: ChildContext, table: Table, log_writer: LineWriter, clock: Clock
    ) -> None:
        self.context = context
        self.table = table
        self.slot = SlotWriter(table, context.slot_index)
        self.log_writer = log_writer
        self.clock = clock
        self._state = "starting"
        self._drain_callbacks: list[Callback] = []
        self._stop_callbacks: list[Callback] = []
        self._accepting_callbacks: list[Callable[[bool], object]] = []
        self._beat_callbacks: list[Callback] = []
        self._flushed_s = clock.monotonic()
        self._lag_s = self._lag_until_s = 0.0
        self._done = gevent.event.Event()
        self._is_draining = False
        self._is_stopping = False
        self._loop = get_hub().loop
        self._lifeline = self._loop.io(context.lifeline_fd, _READ)
        self._watchers: list[object] = []  # a watcher nobody holds is collected, and silent

    # What main calls

    def on_drain(self, callback: Callback) -> None:
        """Registers what "finish your work" means; it may wait. Registered too late (the drain has
        begun already) it is called at once, in a greenlet.
        """
        self._drain_callbacks.append(callback)
        if self._is_draining:
            gevent.spawn(self._call, callback)

    def on_stop(self, callback: Callback) -> None:
        """Registers what "end now" means; all of them run at the same time and have 2 s."""
        self._stop_callbacks.append(callback)

    def on_accepting(self, callback: Callable[[bool], object]) -> None:
        """Registers who holds (False) and resumes (True) accepting; must not wait."""
        self._accepting_callbacks.append(callback)

    def on_beat(self, callback: Callback) -> None:
        """Registers what is done once a second; must not wait."""
        self._beat_callbacks.append(callback)

    def ready(self) -> None:
        """Tells the master, and through it the world, that this child serves."""
        if not self._is_draining and not self._is_stopping:
            # What it took to get here says nothing about the loop.
            self._flushed_s = self.clock.monotonic()
            self.slot.beat(self.clock.boot_ms())
            self._set_state(SlotState.READY, "ready")

    def wait(self) -> None:
        """Blocks the calling greenlet until the child has drained or is to stop."""
        self._done.wait()

    @property
    def is_draining(self) -> bool:
        """True from the first TERM on."""
        return self._is_draining or self._is_stopping

    def set_title(self, state: str) -> None:
        """Shows ``state`` in ``ps``, for a worker with its live sessions."""
        self._state = state
        self._show_title()

    # Watchers

    def start(self) -> None:
        """Starts the watchers; called by boot just before main."""
        loop = self._loop
        beat = loop.timer(_BEAT_S, _BEAT_S)
        beat.start(self._beat)
        flush = loop.timer(_FLUSH_S, _FLUSH_S)
        flush.start(self._flush)
        self._lifeline.start(self._on_lifeline)
        self._watchers += [beat, flush]
        if self.context.control_fd >= 0:
            hearing = Hearing(self.context.control_fd)
            control = loop.io(hearing.fd, _READ)
            control.start(self._on_control, hearing, control)
            self._watchers.append(control)
        for signum, handler in (
            (signal.SIGTERM, self._on_term),
            (signal.SIGINT, self._on_int),
            (signal.SIGQUIT, self._on_int),
        ):
            watcher = loop.signal(signum)
            watcher.start(handler)
            self._watchers.append(watcher)
        self.set_title("starting")

    def _beat(self) -> None:
        self.slot.beat(self.clock.boot_ms())
        for callback in self._beat_callbacks:
            callback()
        if self.context.role is Role.WORKER:
            self._show_title()

    def _flush(self) -> None:
        """Writes the log out, and shows how late the loop comes to it: a lag for 2 s, unless there
        is a worse one, so that nobody who looks once a second misses it.
        """
        now_s = self.clock.monotonic()
        lag_s = now_s - self._flushed_s - _FLUSH_S
        self._flushed_s = now_s
        if lag_s >= self._lag_s or now_s >= self._lag_until_s:
            self._lag_s, self._lag_until_s = lag_s, now_s + _LAG_SHOWN_S
            self.slot.set_gauge(Gauge.LOOP_LAG_US, int(lag_s * 1_000_000))
        self.log_writer.flush()

    def _show_title(self) -> None:
        context = self.context
        title = f"gwsmtp: {context.title} [{context.config.interface.name}] {self._state}"
        if context.role is Role.WORKER:
            title += f", {self.slot.gauges[Gauge.SESSIONS]} sessions"
        setproctitle.setproctitle(title)

    def _set_state(self, state: SlotState, title: str) -> None:
        self.slot.set_state(state, self.clock.boot_ms())
        self.set_title(title)

    def _on_control(self, hearing: Hearing, watcher: object) -> None:
        try:
            while (heard := hearing.next()) is not None:
                self._obey(*heard)
        except EOFError:  # the lifeline tells it too, and acts
            watcher.stop()  # type: ignore[attr-defined]  # a watcher of the loop

    def _obey(self, word: Word, fd: int) -> None:
        if word is Word.LOG:
            # What stays on a terminal's or a journal's descriptor has nothing to reopen.
            if self.context.log_fd > 2:
                self.log_writer.flush()
                os.dup2(fd, self.context.log_fd, inheritable=False)
            os.close(fd)
            return
        if not self.is_draining:
            for callback in self._accepting_callbacks:
                callback(word is Word.ACCEPT)

    # The way to the end. Watchers' callbacks run in the hub, where nothing may wait.

    def _on_term(self) -> None:
        if self._is_draining:
            self._begin_stop("second TERM")
        else:
            self._begin_drain("TERM")

    def _on_int(self) -> None:
        self._begin_stop("INT or QUIT")

    def _on_lifeline(self) -> None:
        # Nobody writes into the lifeline, so readable means ended; and it stays so: one look.
        self._lifeline.stop()
        gevent.spawn(self._orphaned)

    def _orphaned(self) -> None:
        """The master is gone: drain, but not before those who need us have ended."""
        log.warning("event=orphaned reason=%s", quoted("the master is gone"))
        patience_s = self.context.config.workers.drain_timeout + _STOP_GRACE_S + _RETURN_GRACE_S
        give_up = self.clock.monotonic() + patience_s
        while self._served_live() and self.clock.monotonic() < give_up:
            gevent.sleep(_ORPHAN_POLL_S)
        if not self._is_draining:
            self._begin_drain("the master is gone")

    def _served_live(self) -> bool:
        return any(
            view.role in self.context.outlives
            and view.owner == self.context.owner
            and procid.is_alive(view.pid, view.start_ticks)
            for view in read_slots(self.table)
        )

    def _begin_drain(self, reason: str) -> None:
        if self._is_draining or self._is_stopping:
            return
        self._is_draining = True
        timeout_s = self.context.config.workers.drain_timeout
        log.info("event=draining reason=%s", quoted(reason))
        for hold in self._accepting_callbacks:  # who sees us draining knows that nobody gets in
            hold(False)
        self._set_state(SlotState.DRAINING, "draining")
        self._alarm(timeout_s + _STOP_GRACE_S + _RETURN_GRACE_S + _ALARM_GRACE_S)
        deadline = self._loop.timer(timeout_s)
        deadline.start(self._begin_stop, "drain deadline")
        self._watchers.append(deadline)
        gevent.spawn(self._drain)

    def _drain(self) -> None:
        for callback in list(self._drain_callbacks):
            self._call(callback)
        self._done.set()

    def _begin_stop(self, reason: str) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        log.info("event=stopping reason=%s", quoted(reason))
        self._set_state(SlotState.STOPPING, "stopping")
        self._alarm(_STOP_GRACE_S + _RETURN_GRACE_S + _ALARM_GRACE_S)
        gevent.spawn(self._stop)

    def _stop(self) -> None:
        callbacks = [gevent.spawn(self._call, callback) for callback in self._stop_callbacks]
        gevent.joinall(callbacks, timeout=_STOP_GRACE_S)
        self._done.set()
        gevent.sleep(_RETURN_GRACE_S)
        self.finish(ExitCode.OK)

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception:
            log.exception("event=callback_failed callback=%r", callback)

    def _alarm(self, seconds: float) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(math.ceil(seconds))

    def finish(self, code: int) -> NoReturn:
        """Ends the process at once: what was logged is written, nothing else is tidied up, as the
        kernel does that better (thread pools and greenlets must not delay an end).
        """
        self.log_writer.flush()
        os._exit(code)
