"""The audit reader that logs decisions of the defence: at most a line a second and client.

An attack must not fill the disk: further decisions about the same client in that second are only
counted, and told by ``suppressed=`` in its next line; how many of all kinds there were stands in
the table.
"""

from typing import Final

from gwsmtp.base.audit import AuditEvent, Decided
from gwsmtp.base.lines import LineWriter
from gwsmtp.base.seams import Clock
from gwsmtp.process.sparing import Sparing

_PAUSE_S: Final = 1.0


class DecisionLog:
    """See the module. Never blocks but for the batch's write."""

    __slots__ = ("_clock", "_process", "_sparing", "_writer")

    def __init__(self, writer: LineWriter, process: str, clock: Clock) -> None:
        self._writer = writer
        self._process = process
        self._clock = clock
        self._sparing = Sparing(_PAUSE_S)

    def __call__(self, event: AuditEvent) -> None:
        """Logs a decision; other events are not its."""
        if not isinstance(event, Decided):
            return
        suppressed = self._sparing.admit(event.peer_ip, self._clock.monotonic())
        if suppressed < 0:
            return
        listener = "ssl" if event.listener else "plain"
        body = (
            f"event=decision sid={event.session_id} peer={event.peer_ip} listener={listener} "
            f"reason={event.reason.word} action={event.action.word} counter={event.counter} "
            f"threshold={event.threshold} window={event.window_s}"
        )
        if suppressed:
            body += f" suppressed={suppressed}"
        self._writer.add(f"{self._clock.iso()} {self._process} level=INFO {body}\n")
