"""What a connection found at the door (``limits.admission``), and what it holds of the table.

One object a connection, kept by its session until it leaves.
"""

from typing import Final

from gwsmtp.base.decision import Reason
from gwsmtp.limits.identity import Identity
from gwsmtp.limits.policy import Mode, Policy

_NONE: Final = Reason.NONE  # naming a member costs 0.1 µs each time


class Entrance:
    """What ``enter`` found, and the connection's place in the ledger when it was let in.

    ``refused`` is why not, ``shadowed`` what would have refused it in mode ``enforce``; both NONE
    where all is well. ``counter``, ``threshold`` and ``window_s`` explain whichever it is; for a
    penalty the counter is its rest in seconds. ``row`` is the client's row or -1, ``score`` its
    score on coming, in thousandths of a point. ``may_replace``: the only thing in the way is that
    the places are taken, and the slowest session may have to go for this client. ``is_check``: a
    proxy's own connection, to see whether we are there. ``leave`` settles
    what the session has noted here: ``accepted`` recipients, and whether it ``was_clean`` (a
    message accepted, no offence).
    """

    __slots__ = (
        "accepted",
        "counter",
        "entry",
        "identity",
        "is_check",
        "is_exempt",
        "listener",
        "may_replace",
        "network_row",
        "network_stamp",
        "refused",
        "row",
        "score",
        "shadowed",
        "stamp",
        "threshold",
        "was_clean",
        "window_s",
    )

    def __init__(self, listener: int, identity: Identity, *, is_exempt: bool = False) -> None:
        self.listener = listener
        self.identity = identity
        self.is_exempt = is_exempt
        self.may_replace = self.is_check = False
        self.entry = self.row = self.network_row = -1
        self.refused = self.shadowed = _NONE
        self.counter = self.threshold = self.window_s = self.score = 0
        self.stamp = self.network_stamp = self.accepted = 0
        self.was_clean = False

    def refuse(self, reason: Reason, counter: int, threshold: int, window_s: int = 0) -> None:
        """Notes why the connection is not let in; the first reason stays."""
        if not self.refused:
            self.refused, self.shadowed = reason, Reason.NONE
            self.counter, self.threshold, self.window_s = counter, threshold, window_s

    def hit(
        self,
        policy: Policy,
        mode: Mode,
        reason: Reason,
        counter: int,
        threshold: int,
        window_s: int = 0,
    ) -> None:
        """A limit is reached: refuses in mode ``enforce`` while row 86 is on, else remembers."""
        if mode is Mode.ENFORCE and policy.is_acting:
            self.refuse(reason, counter, threshold, window_s)
        elif mode and not self.refused and not self.shadowed:
            self.shadowed = reason
            self.counter, self.threshold, self.window_s = counter, threshold, window_s
