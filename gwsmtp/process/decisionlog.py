"""The audit reader that logs decisions of the defence: at most a line a second and client.

An attack must not fill the disk: further decisions about the same client in that second are only
counted, and told by ``suppressed=`` in its next line; how many of all kinds there were stands in
the table. What is kept of clients is bounded.
"""

from typing import Final

from gwsmtp.base.audit import AuditEvent, Decided
from gwsmtp.base.logs import LineWriter
from gwsmtp.base.seams import Clock

_MOST_CLIENTS: Final = 4096
_PAUSE_S: Final = 1.0


class DecisionLog:
    """See the module. Never blocks but for the batch's write."""

    __slots__ = ("_clock", "_process", "_seen", "_writer")

    def __init__(self, writer: LineWriter, process: str, clock: Clock) -> None:
        self._writer = writer
        self._process = process
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}  # until when it is silent, suppressed so far

    def __call__(self, event: AuditEvent) -> None:
        """Logs a decision; other events are not its."""
        if not isinstance(event, Decided):
            return
        now = self._clock.monotonic()
        until, suppressed = self._seen.get(event.peer_ip, (0.0, 0))
        if now < until:
            self._seen[event.peer_ip] = (until, suppressed + 1)
            return
        if len(self._seen) >= _MOST_CLIENTS:
            self._seen.clear()
        self._seen[event.peer_ip] = (now + _PAUSE_S, 0)
        listener = "ssl" if event.listener else "plain"
        body = (
            f"event=decision sid={event.session_id} peer={event.peer_ip} listener={listener} "
            f"reason={event.reason.word} action={event.action.word} counter={event.counter} "
            f"threshold={event.threshold} window={event.window_s}"
        )
        if suppressed:
            body += f" suppressed={suppressed}"
        self._writer.add(f"{self._clock.iso()} {self._process} level=INFO {body}\n")
