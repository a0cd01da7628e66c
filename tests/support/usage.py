"""What a gateway's workers hold, as the kernel and the shared table tell it.

before = workers_usage(gateway)
...
expect_usage(gateway, before, more_fds=2, more_mib=8)
"""

import os
from pathlib import Path
from typing import NamedTuple

from gwsmtp.limits.slots import Gauge, Role
from tests.support.gateway import Gateway
from tests.support.processes import children
from tests.support.wait import wait_for

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """Of one worker: open descriptors, live sessions, MiB of resident memory."""

    fds: int
    sessions: int
    mib: float


def workers_usage(gateway: Gateway) -> dict[int, Usage]:
    """By pid, of each ready worker."""
    found = {}
    for worker in children(gateway, Role.WORKER):
        process = Path(f"/proc/{worker.pid}")
        pages = int((process / "statm").read_text("ascii").split()[1])
        fds = len(list((process / "fd").iterdir()))
        found[worker.pid] = Usage(fds, worker.gauges[Gauge.SESSIONS], pages * _PAGE / 2**20)
    return found


def calm_usage(gateway: Gateway, deadline_s: float = 10) -> dict[int, Usage]:
    """The same once no worker has a session any more."""
    wait_for(
        lambda: not any(one.sessions for one in workers_usage(gateway).values()),
        lambda: f"the end of all sessions: {workers_usage(gateway)}\n{gateway.log_tail()}",
        deadline_s,
    )
    return workers_usage(gateway)


def expect_usage(
    gateway: Gateway, before: dict[int, Usage], *, more_fds: int, more_mib: float
) -> None:
    """Fails unless the same workers have no sessions, and hardly more than ``before`` else."""

    def is_back() -> bool:
        now = workers_usage(gateway)
        return now.keys() == before.keys() and all(
            one.sessions == 0 and one.fds <= before[pid].fds + more_fds for pid, one in now.items()
        )

    def how() -> str:
        return f"resources given back; before {before}, now {workers_usage(gateway)}"

    wait_for(is_back, how)
    for pid, now in workers_usage(gateway).items():
        assert now.mib < before[pid].mib + more_mib, how()
