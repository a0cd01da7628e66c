"""The worker processes: how many, as whom, how long they may hang or drain."""

import os
from typing import Annotated

from pydantic import StringConstraints

from gwsmtp.config.setting import Applies, Group, setting
from gwsmtp.config.types import Whole

# The shared table has 64 slots for two generations of workers and the other children
MAX_WORKERS = 28
Account = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^([A-Za-z_][A-Za-z0-9_.-]{0,63}\$?|[0-9]{1,10})?$"),
]


class WorkersGroup(Group):
    """The pre-forked workers."""

    count: Whole = setting(
        0,
        title="Workers",
        description="Worker processes; 0: one per core.",
        enforced=True,
        ge=0,
        le=MAX_WORKERS,
    )
    user: Account = setting(
        "nobody",
        title="User",
        description="Account the children run as when the master was started as root; blank: they "
        "stay what the master is.",
        applies=Applies.RESTART,
        enforced=True,
    )
    group: Account = setting(
        "",
        title="Group",
        description="Group the children run as; blank: the user's own.",
        applies=Applies.RESTART,
        enforced=True,
    )
    hang_timeout: Whole = setting(
        30,
        title="Hang timeout",
        description="Seconds without a heartbeat after which a child is ended and replaced.",
        enforced=True,
        ge=2,
        le=3600,
    )
    drain_timeout: Whole = setting(
        60,
        title="Drain timeout",
        description="Seconds an old generation may go on with its sessions after a reload or TERM; "
        "a message in transfer is finished.",
        enforced=True,
        ge=1,
        le=3600,
    )
    draft_memory: Whole = setting(
        67108864,
        title="Memory for incoming messages",
        description="Octets of message bodies a worker keeps in memory in all; beyond, bodies go "
        "to a file at once.",
        enforced=True,
        ge=1048576,
        le=2**36,
    )

    @property
    def number(self) -> int:
        """How many workers to fork: ``count``, or the cores this process may use."""
        return self.count or min(len(os.sched_getaffinity(0)), MAX_WORKERS)
