"""A shared table without a gateway, filled by the code that fills it in workers, and the commands
called on it in this process.

    house = TableHouse(tmp_path)
    house.enter("192.0.2.7")
    done = house.gwsmtp("table", "show", "192.0.2.7", "--json")
"""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import yaml

from gwsmtp.base.audit import Decided
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.decision import Action, Reason
from gwsmtp.cli.main import main
from gwsmtp.limits.admission import Admission
from gwsmtp.limits.arena import create_table
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.guards import Guard
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Offence, Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.ring import RingWriter
from gwsmtp.limits.slots import Role, SlotState, SlotWriter, claim_slot
from tests.support.gateway import merged, smallest_settings
from tests.support.realclock import RealClock


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


class FixedClock(RealClock):
    """The table's time as a test sets it."""

    def __init__(self, boot_ms: int) -> None:
        super().__init__()
        self.at_ms = boot_ms

    def boot_ms(self) -> int:
        return self.at_ms


class TableHouse:
    """One table with one worker's slot in ``folder``, and the configuration that names it."""

    def __init__(self, folder: Path, settings: dict[str, Any] | None = None) -> None:
        self.config_path = folder / "gwsmtp.yaml"
        self.log_path = folder / "gateway.log"
        base = smallest_settings("127.0.0.1:1") | {"logging": {"to": str(self.log_path)}}
        self.config_path.write_text(yaml.safe_dump(merged(base, settings or {})))
        run = folder / "var" / "run"
        run.mkdir(parents=True)
        self.path = run / "test.table"
        self.now_ms = SystemClock().boot_ms()
        self.policy = Policy()
        self.table = create_table(self.path, now_ms=self.now_ms - 5000, secret=bytes(range(16)))
        self.slot = claim_slot(
            self.table, Role.WORKER, 0, 1, (1, 1), max(self.now_ms - 3_600_000, 1)
        )
        self.writer = SlotWriter(self.table, self.slot)
        self.writer.set_state(SlotState.READY, self.now_ms)
        lock = RangeLock(self.table, self.slot, _never)
        peers = Peers(self.table, Placement(self.table))
        self.admission = Admission(self.table, self.slot, lock, peers, self.policy)
        self.guard = Guard(self.table, lock, self.policy)
        self.clock = FixedClock(self.now_ms)
        self.ring = RingWriter(self.table, self.slot, self.clock)

    def enter(self, ip: str) -> Entrance:
        """A connection of ``ip`` on the plain listener."""
        return self.admission.enter(0, identify(ip), self.now_ms)

    def offend(self, ip: str, offence: Offence, times: int = 1) -> None:
        """A connection of ``ip`` that offends so often and goes."""
        verdict = self.enter(ip)
        for _ in range(times):
            self.guard.offend(verdict.row, offence, self.now_ms)
        self.admission.leave(verdict, self.now_ms)

    def decide(
        self,
        session_id: str,
        ip: str,
        reason: Reason = Reason.CONCURRENCY,
        action: Action = Action.REFUSED,
        *,
        age_ms: int = 0,
    ) -> Decided:
        """A decision in the ring of the worker, ``age_ms`` ago."""
        event = Decided(session_id, ip, 0, reason, action)
        event.counter, event.threshold, event.window_s = 25, 25, 0
        self.clock.at_ms = self.now_ms - age_ms
        self.ring(event)
        return event

    def gwsmtp(self, *arguments: str) -> Done:
        """Runs a command as the console script does, with ``-c``."""
        out, err = io.StringIO(), io.StringIO()
        named = [] if "--help" in arguments else ["-c", str(self.config_path)]
        argv = ["gwsmtp", *arguments, *named]
        code: Any = None
        with patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = end.code
        return Done(int(code or 0), out.getvalue(), err.getvalue())


def _never(seconds: float) -> None:
    raise AssertionError(f"slept {seconds} s for a lock nobody else has")
