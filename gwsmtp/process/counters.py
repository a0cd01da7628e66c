"""The audit reader that counts: events become totals of the worker's own slot.

Plain increments of shared memory, one writer; no lock, nothing blocks.
"""

from typing import Final

from gwsmtp.base.audit import AuditEvent, Decided, SessionEnded
from gwsmtp.limits.slots import DECISION_TOTALS, SlotWriter, Total

_OUTCOMES: Final = {
    "accepted": Total.MESSAGES_ACCEPTED,
    "rejected": Total.MESSAGES_REJECTED,
    "deferred": Total.MESSAGES_DEFERRED,
    "discarded": Total.MESSAGES_DISCARDED,
    "lost": Total.MESSAGES_LOST,
}


class Counters:
    """See the module."""

    __slots__ = ("_totals",)

    def __init__(self, slot: SlotWriter) -> None:
        self._totals = slot.totals

    def __call__(self, event: AuditEvent) -> None:
        """Counts one event."""
        totals = self._totals
        if isinstance(event, SessionEnded):
            totals[Total.SESSIONS] += 1
            totals[Total.SESSION_MS] += int(event.duration_s * 1000)
            totals[Total.COMMANDS] += event.commands
            totals[Total.COMMAND_ERRORS] += event.errors
            totals[Total.OCTETS_IN] += event.bytes_in
            totals[Total.OCTETS_OUT] += event.bytes_out
            return
        if isinstance(event, Decided):
            totals[DECISION_TOTALS + event.reason] += 1
            return
        totals[_OUTCOMES[event.outcome]] += 1
        totals[Total.MESSAGE_OCTETS] += event.size_bytes
        totals[Total.RECIPIENTS] += len(event.recipients)
        if event.scan_s >= 0:
            totals[Total.SCANS] += 1
            totals[Total.SCAN_US] += int(event.scan_s * 1_000_000)
            if event.verdict == "none":
                totals[Total.SCANS_FAILED] += 1
        if event.delivery_s >= 0:
            totals[Total.DELIVERIES] += 1
            totals[Total.DELIVERY_US] += int(event.delivery_s * 1_000_000)
            if event.outcome == "deferred":
                totals[Total.DELIVERY_FAILURES] += 1
