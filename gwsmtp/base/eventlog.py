"""The two hot lines of the log, one a session and one a message, formatted by hand."""

from gwsmtp.base.audit import AuditEvent, MessageEnded, SessionEnded
from gwsmtp.base.lines import LineWriter
from gwsmtp.base.quoting import envelope_text, quoted
from gwsmtp.base.seams import Clock


class EventLog:
    """The audit reader that writes the two hot lines."""

    __slots__ = ("_clock", "_process", "_writer")

    def __init__(self, writer: LineWriter, process: str, clock: Clock) -> None:
        self._writer = writer
        self._process = process
        self._clock = clock

    def __call__(self, event: AuditEvent) -> None:
        """Formats ``event`` into one line; does not block but for the batch's write."""
        if isinstance(event, SessionEnded):
            if event.is_check and not event.messages:
                return  # one every few seconds, for ever
            body = (
                f"event=session sid={event.session_id} listener={event.listener} "
                f"peer={event.peer_ip} port={event.peer_port} helo={quoted(event.helo)} "
                f"after={event.after} reason={quoted(event.reason)} messages={event.messages} "
                f"commands={event.commands} errors={event.errors} in={event.bytes_in} "
                f"out={event.bytes_out} seconds={event.duration_s:.3f}"
            )
            if event.tls:
                body += f" tls={event.tls.replace(' ', ',')}"
            if event.sni:
                body += f" sni={quoted(event.sni)}"
        elif isinstance(event, MessageEnded):
            body = (
                f"event=message sid={event.session_id} n={event.number} peer={event.peer_ip} "
                f"helo={quoted(event.helo)} from=<{envelope_text(event.sender)}> "
                f"to={','.join(f'<{envelope_text(rcpt)}>' for rcpt in event.recipients)} "
                f"size={event.size_bytes} verdict={event.verdict or '-'} hop={event.hop or '-'} "
                f"outcome={event.outcome} reply={quoted(event.reply)}"
            )
            if event.scan_s >= 0:
                body += f" scan={event.scan_s:.4f}"
            if event.delivery_s >= 0:
                body += f" delivery={event.delivery_s:.4f}"
            if event.cause:
                body += f" cause={quoted(event.cause)}"
            if event.notes:
                body += f" notes={event.notes}"
        else:
            return  # process.decisionlog
        self._writer.add(f"{self._clock.iso()} {self._process} level=INFO {body}\n")
