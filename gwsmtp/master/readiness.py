"""What is told, and to whom, when everything serves for the first time.

The log, systemd, and a descriptor that the command line named: one JSON line, then it is closed.
Called once by the master's loop; blocks no longer than a write.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from gwsmtp.base.build import form
from gwsmtp.base.quoting import quoted
from gwsmtp.master.notify import notify, tell_ready

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """What is known when everything serves."""

    pid: int
    listen: tuple[str, ...]
    trial: str
    maildir: Path | None
    ssl: tuple[str, ...] = ()


def announce(ready: Ready, ready_fd: int) -> None:
    """Tells all of them; ``ready_fd`` -1 where nobody asked for the line."""
    shown = (",".join(addresses) or "-" for addresses in (ready.listen, ready.ssl))
    log.info("event=ready pid=%d listen=%s ssl=%s build=%s", ready.pid, *shown, form())
    if ready.trial:
        note = quoted("for trying out only, this is no mail store")
        log.warning("event=trial_next_hop listen=%s note=%s", ready.trial, note)
    notify(f"READY=1\nMAINPID={ready.pid}")
    if ready_fd >= 0:
        found = {"pid": ready.pid, "listen": ready.listen, "ssl": ready.ssl, "trial": ready.trial}
        tell_ready(ready_fd, found)
