"""Reload (HUP): ``loader`` reads the file, and a generation comes of it or nothing changes.

HUPs are counted. Those that come while a reload is under way are remembered as one: the file is
read again afterwards, so that what was written before the last HUP is in effect at the end. While
the table has no room for one generation more, since older ones still drain, a reload waits.

``asked``, ``done``, ``failure`` and ``refused`` are published in the pidfile: whoever sends a HUP
after having read ``asked = n`` knows that it has been dealt with when ``done > n``. ``refused``
says which addresses could not be bound while everything else acts.

systemd (Type=notify-reload) hears RELOADING when the file is read, READY when it is over.
Called by the master's loop only; nothing blocks.
"""

import logging
from collections.abc import Callable

from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.master.generations import Generations
from gwsmtp.master.loader import Loaded, Loader
from gwsmtp.master.logfile import LogFile
from gwsmtp.master.notify import notify

log = logging.getLogger(__name__)

_SHOWN_KEYS = 20


class Reloading:
    """All reloads of one master. ``publish`` is called when one of its public values changed."""

    def __init__(
        self,
        loader: Loader | None,
        generations: Generations,
        logfile: LogFile,
        clock: Clock,
        publish: Callable[[], object],
    ) -> None:
        self._loader = loader
        self._generations = generations
        self._logfile = logfile
        self._clock = clock
        self._publish = publish
        self._taken = 0
        self._must_renew = False
        self._is_under_way = False
        self._has_waited = False
        self.asked = 0
        self.done = 0
        self.failure = ""
        self.refused = ""

    def ask(self) -> None:
        """HUP."""
        self.asked += 1
        self._publish()

    def renew(self) -> None:
        """A new generation of the same configuration: files that it names have changed."""
        self._must_renew = True

    def step(self, ended: dict[int, int], now_ms: int) -> None:
        """One turn; ``ended`` are the processes that ``Children.reap`` did not know."""
        if self._loader is not None:
            self._loader.watch(now_ms)
            loaded = self._loader.take_result(ended)
            if loaded is not None:
                self._take(loaded, now_ms)
        outcome = self._generations.step(now_ms)
        if outcome is not None:
            self._finish(outcome)
        if not self._is_under_way and (self._taken < self.asked or self._must_renew):
            self._start(now_ms)

    def cancel(self) -> None:
        """The master ends."""
        if self._loader is not None:
            self._loader.kill()

    def _start(self, now_ms: int) -> None:
        current = self._generations.current
        if current is None or not self._generations.has_served:
            return  # it is still starting: afterwards
        if not self._generations.has_room_for(current.config):
            if not self._has_waited:
                self._has_waited = True
                log.warning("event=reload_waits reason=%s", quoted("older generations still drain"))
            return
        self._has_waited = False
        self._is_under_way = True
        stamp = int(self._clock.monotonic() * 1_000_000)
        notify(f"RELOADING=1\nMONOTONIC_USEC={stamp}")
        is_asked = self._taken < self.asked
        self._taken, self._must_renew = self.asked, False
        if not is_asked or self._loader is None:
            log.info("event=renewing")
            self._take(Loaded(current.config), now_ms)
            return
        log.info("event=reloading")
        try:
            self._loader.start(current.config, self._logfile.fd, now_ms)
        except OSError as error:
            self._take(Loaded(problems=[f"cannot read the file: {error}"]), now_ms)

    def _take(self, loaded: Loaded, now_ms: int) -> None:
        tell(loaded)
        if loaded.config is None:
            self._finish("the configuration has problems")
            return
        if not self._generations.has_room_for(loaded.config):
            self._finish("the table has no room for so many workers while older ones still drain")
            return
        try:
            self._logfile.open(loaded.config)
            born = self._generations.begin(loaded.config, now_ms)
        except HaltMaster as halt:
            self._finish(halt.reason)
            return
        log.info("event=generation_begins generation=%d", born.number)

    def _finish(self, failure: str) -> None:
        self._is_under_way = False
        self.done, self.failure = self._taken, failure
        current = self._generations.current
        self.refused = "; ".join(current.refused) if current is not None and not failure else ""
        if failure and current is not None:
            try:
                self._logfile.open(current.config)
            except HaltMaster as halt:
                log.error("event=log_kept reason=%s", quoted(halt.reason))
            log.error("event=reload_failed reason=%s note=%s", quoted(failure), "nothing-changed")
        elif current is not None:
            log.info("event=reloaded generation=%d", current.number)
        self._publish()
        notify("READY=1")


def tell(loaded: Loaded) -> None:
    """Says in the log what was found, one line each; names keys, never values."""
    for problem in loaded.problems:
        log.error("event=reload_problem problem=%s", quoted(problem))
    for warning in loaded.warnings:
        log.warning("event=reload_warning warning=%s", quoted(warning))
    for key in loaded.kept:
        note = quoted("needs a restart; the old value stays in effect")
        log.warning("event=setting_kept key=%s note=%s", quoted(key), note)
    if loaded.config is not None:
        acting = [key for key in loaded.changed if key not in set(loaded.kept)]
        more = len(acting) - _SHOWN_KEYS
        shown = ",".join(acting[:_SHOWN_KEYS]) + (f",and {more} more" if more > 0 else "")
        log.info("event=reload_loaded changed=%s", quoted(shown or "-"))
