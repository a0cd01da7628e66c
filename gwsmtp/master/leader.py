"""What the leader does besides: the table's begin and end, pressure, snapshots.

There is one leader to a table, named in its header: the master that opened it last. In a hot
upgrade the older one goes on without these duties.
"""

import logging
import os
from typing import Final

from gwsmtp.base.errors import HaltMaster, TableError
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.procid import ProcessId
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.master.pressure import PressureWatch
from gwsmtp.master.snapshots import Snapshots
from gwsmtp.process.context import Settings
from gwsmtp.process.privileges import Account

log = logging.getLogger(__name__)

_SECRET_OCTETS: Final = 16


class Leader:
    """One for each master, which owns the table: it closes it."""

    __slots__ = ("_clock", "_id", "_name", "_pressure", "_snapshots", "generation", "table")

    def __init__(
        self, config: Settings, own: ProcessId, account: Account | None, clock: Clock
    ) -> None:
        """Opens the table, or makes one and loads the snapshot. Raises HaltMaster. Blocks on the
        file system.
        """
        self._id = own
        self._name = config.interface.name
        self._clock = clock
        now_ms = clock.boot_ms()
        path = config.paths.run / f"{self._name}.table"
        gid = account.gid if account and os.geteuid() == 0 else -1
        try:
            self.table: Table = create_table(
                path, now_ms=now_ms, gid=gid, secret=os.urandom(_SECRET_OCTETS)
            )
        except TableError as error:
            raise HaltMaster(ExitCode.CANNOT_CREATE, str(error)) from error
        if self.table.set_aside:
            log.warning("event=table_set_aside reason=%s", quoted(self.table.set_aside))
        spool = config.paths.spool
        self._snapshots = Snapshots(self.table, spool / f"{self._name}.table-snapshot", clock)
        self._snapshots.load()
        self.generation = self.table.generation + 1
        self.table.lead(own, self.generation)
        self._pressure = PressureWatch(self.table, spool, now_ms)

    def step(self, config: Settings, ended: dict[int, int], log_fd: int, lifeline_fd: int) -> None:
        """One turn of the master's loop; ``ended`` are the processes that ``Children.reap`` did not
        know.
        """
        if self.table.leader == self._id:
            self._pressure.step(config, self._clock.boot_ms())
            self._snapshots.step(ended, log_fd, lifeline_fd, self._name)

    def finish(self) -> None:
        """All children have ended: keeps what is known of clients."""
        if self.table.leader == self._id:
            self._snapshots.save()
