"""How much room the spool's file system has, said once a second in the process's slot.

A file system that hangs (a network's, a disk that is gone) keeps whoever asks it for as long as it
likes. So the queue process asks, in a thread of its own that waits for nothing else; what it has
not said for ten seconds the leader takes for unknown (``master.pressure``), and nobody stands
still.

Spawned by the queue's main; blocks its own greenlet only.

Limits: a process whose thread hangs in the kernel may not end before the file system answers.
"""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import gevent

from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.limits.slots import UNKNOWN_ROOM, Gauge, SlotWriter
from gwsmtp.net.offload import Offload

log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0


def watch_room(spool: Path, slot: SlotWriter, clock: Clock) -> NoReturn:
    """Looks for ever. A spool that cannot be seen is unknown, and told once."""
    thread = Offload("room", 1, 0)
    is_blind = False
    while True:
        free = UNKNOWN_ROOM
        try:
            free = min(thread.run(partial(_free_octets, spool)), UNKNOWN_ROOM)
        except OSError as error:
            if not is_blind:
                reason = quoted(error.strerror or str(error))
                log.error("event=spool_unseen path=%s reason=%s", quoted(str(spool)), reason)
            is_blind = True
        else:
            is_blind = False
        slot.set_gauge(Gauge.SPOOL_FREE, free)
        slot.set_gauge(Gauge.SPOOL_LOOKED_MS, clock.boot_ms())
        gevent.sleep(_LOOK_S)


def _free_octets(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
