"""One mail transaction: its envelope, its content, and what happens at its end of data.

The order at the end of data is the order of trust: form, size, scan, next hop. Only a next hop's
250 becomes ours (promise 1). Everything here runs in the session's greenlet and blocks only it.
"""

import logging
from collections.abc import Callable
from typing import Final

import gevent

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.base.audit import MessageEnded
from gwsmtp.base.errors import ScanUnavailable, SpoolError
from gwsmtp.base.quoting import quoted
from gwsmtp.base.reply import Reply
from gwsmtp.delivery.attempt import NO_PARAMETERS, Letter
from gwsmtp.delivery.route import Route
from gwsmtp.directory.domains import HostedDomain
from gwsmtp.net.offload import OffloadBusy
from gwsmtp.protocol.events import EndOfData, Mail
from gwsmtp.protocol.extensions import HOPELESS_FACTOR
from gwsmtp.protocol.hopcount import HopCounter
from gwsmtp.scan.outcome import Action, ScanOutcome, ScanRequest
from gwsmtp.session.hiding import FLOOR_S, REASON, HiddenRecipients
from gwsmtp.session.services import Services
from gwsmtp.session.trace import domain_or_literal, received_field
from gwsmtp.spool.draft import Draft
from gwsmtp.spool.item import Envelope, RecipientEntry, RecipientState

log = logging.getLogger(__name__)

LONGEST_LINE_OCTETS: Final = 1 << 20
"""SETTINGS 2.11: incoming payload lines up to 1 MiB."""
_BLANKS: Final = frozenset((b" ", b"\t"))
"""Content that begins with one has no header; put behind our trace field it would go on in that
(RFC 5322 2.2.3), so an empty line goes between."""
_NOT_SCANNED: Final = b"X-Gwsmtp-Scan: not scanned\r\n"


class Transaction:
    """From MAIL to the reply to the end of data. ``close`` is due whatever happens."""

    __slots__ = (
        "_begins_with_blank",
        "_draft",
        "_ended",
        "_failure",
        "_hops",
        "_services",
        "announced_octets",
        "begun",
        "event",
        "hidden",
        "is_8bit",
        "is_utf8",
        "mail_dsn",
        "rcpt_dsn",
        "received_octets",
        "recipients",
        "route",
        "sender",
        "trace",
    )

    def __init__(self, services: Services, mail: Mail, event: MessageEnded, trace: str) -> None:
        self._services = services
        self.begun = services.clock.monotonic()
        self.sender = mail.sender
        self.is_8bit = mail.body == "8BITMIME"
        self.is_utf8 = mail.is_utf8
        self.mail_dsn = mail.dsn
        self.rcpt_dsn = NO_PARAMETERS
        self.event = event
        self.trace = trace
        # By key: the same mailbox twice is one delivery.
        self.recipients: dict[str, Mailbox] = {}
        self.route: Route | None = None
        self.received_octets = 0
        self.announced_octets = 0
        self._begins_with_blank = False
        self._draft: Draft | None = None
        self._failure: Reply | None = None
        self._hops = HopCounter()
        self._ended = 0.0
        self.hidden: HiddenRecipients | None = None
        event.sender = mail.sender.text

    def add(self, mailbox: Mailbox, dsn: str) -> None:
        """A recipient was accepted; given twice, the first counts."""
        if self.recipients.setdefault(mailbox.key, mailbox) is mailbox and dsn:
            self.rcpt_dsn = {**self.rcpt_dsn, mailbox.text: dsn}

    def hide(self, mailbox: Mailbox, domain: HostedDomain) -> None:
        """A recipient is accepted unseen; from now on the message goes through the spool. Waits."""
        services = self._services
        if self.hidden is None:
            self.hidden = HiddenRecipients(services.verifier, services.defence)
        self.recipients.setdefault(mailbox.key, mailbox)
        self.hidden.add(mailbox, domain)

    def wait_floor(self) -> None:
        """Waits until the answer to a hidden client's message may be given."""
        rest_s = self._ended + FLOOR_S - self._services.clock.monotonic()
        if rest_s > 0:
            gevent.sleep(rest_s)

    @property
    def has_begun_data(self) -> bool:
        """Whether 354 was said: from then on there is a message, be it lost."""
        return self._draft is not None

    def begin_data(self) -> None:
        """Makes ready for the content."""
        services = self._services
        self._draft = Draft(services.draft_directory, services.draft_budget, services.disk.run)
        self.event.recipients = tuple(mailbox.text for mailbox in self.recipients.values())

    def announce(self, octets: int) -> Reply | None:
        """Why a chunk of ``octets`` is not wanted, before it is read; None lets it come."""
        self.announced_octets += octets
        limit = self._services.limits.size
        if limit and self.announced_octets > HOPELESS_FACTOR * limit:
            self.event.cause = "far more data than SIZE"
            return replies.TOO_MUCH_DATA
        if limit and self.announced_octets > limit and self._failure is None:
            self.event.size_bytes = self.announced_octets
            self._fail(replies.MESSAGE_TOO_BIG, "size")
        return self.chunk_error()

    def chunk_error(self) -> Reply | None:
        """Why the chunks received so far cannot become a message; None while they can."""
        if self._failure is not None:
            self.event.outcome = "deferred" if self._failure.is_temporary else "rejected"
            self.event.reply = str(self._failure)
        return self._failure

    def append(self, content: bytes) -> None:
        """Takes content; what already failed is read on to its end and dropped, since only the
        end of data may be answered (RFC 5321 4.1.1.4).
        """
        if not self.received_octets and content[:1] in _BLANKS:
            self._begins_with_blank = True
        self.received_octets += len(content)
        if self._failure is not None or self._draft is None:
            return
        limit = self._services.limits.size
        # Normalising can double the octets; whether the client's own exceed the limit is known
        # for certain only at the end.
        if limit and self.received_octets > 2 * limit:
            self._fail(replies.MESSAGE_TOO_BIG, "size")
            return
        hops = self._hops
        if not hops.is_done:
            hops.feed(content)
        try:
            self._draft.append(content)
        except (SpoolError, OffloadBusy) as e:
            log.error("event=spool-error sid=%s cause=%s", self.event.session_id, quoted(str(e)))
            self._fail(replies.SPOOL_FULL, str(e))

    @property
    def is_hopeless(self) -> bool:
        """Whether the client has sent so much that reading on serves nobody."""
        limit = self._services.limits.size
        return bool(limit) and self.received_octets > HOPELESS_FACTOR * limit

    def close(self) -> None:
        """Gives the content's memory and file back; may be called again."""
        if self._draft is not None:
            self._draft.close()
        if self.hidden is not None:
            self.hidden.close()

    # End of data ---------------------------------------------------------------------------

    def finish(self, end: EndOfData, peer_port: int, is_client_gone: Callable[[], bool]) -> Reply:
        """The reply to the end of data, said by the event that reports it as well."""
        event = self.event
        event.size_bytes = end.size
        if end.bare_newlines:
            event.notes = f"bare-newlines={end.bare_newlines}"
        started = self._ended = self._services.clock.monotonic()
        try:
            reply = self._content_error(end) or self._scan_and_deliver(
                started, peer_port, is_client_gone
            )
        finally:
            self.close()
        event.reply = str(reply)
        return reply

    def _fail(self, reply: Reply, cause: str) -> None:
        self._failure = reply
        self.event.cause = cause
        self.close()

    def _content_error(self, end: EndOfData) -> Reply | None:
        limit = self._services.limits.size
        if limit and end.size > limit:
            self._failure = replies.MESSAGE_TOO_BIG
        elif end.longest_line > LONGEST_LINE_OCTETS:
            self._failure = replies.DATA_LINE_TOO_LONG
        elif end.bare_newlines and self._services.reject_bare_newline:
            self._failure = replies.BARE_NEWLINE_IN_DATA
        elif self._hops.is_loop and self._failure is None:
            self._fail(replies.MAIL_LOOP, "loop")
        if self._failure is None and self._draft is not None:
            try:
                self._draft.finish()
            except (SpoolError, OffloadBusy) as e:
                log.error(
                    "event=spool-error sid=%s cause=%s", self.event.session_id, quoted(str(e))
                )
                self._fail(replies.SPOOL_FULL, str(e))
        if self._failure is not None:
            self.event.outcome = "deferred" if self._failure.is_temporary else "rejected"
        return self._failure

    def _scan_and_deliver(
        self, started: float, peer_port: int, is_client_gone: Callable[[], bool]
    ) -> Reply:
        event, services = self.event, self._services
        received = received_field(
            self.trace,
            f"{event.session_id}-{event.number}",
            event.recipients,
            services.clock.rfc5322(),
            is_utf8=self.is_utf8,
        )
        if self._begins_with_blank:
            received += b"\r\n"
        try:
            outcome = self._scan(received, peer_port)
        except ScanUnavailable as e:
            event.scan_s = services.clock.monotonic() - started
            refusal = self._without_verdict(str(e))
            if refusal is not None:
                return refusal
            prefix = _NOT_SCANNED + received
        else:
            event.scan_s = services.clock.monotonic() - started
            refusal = self._by_verdict(outcome)
            if refusal is not None:
                return refusal
            prefix = _header_fields(outcome) + received if outcome.headers else received
        if self.hidden is not None:
            return self._spool_hidden(self.hidden, prefix)
        return self._deliver(started, prefix, is_client_gone)

    def _scan(self, received: bytes, peer_port: int) -> ScanOutcome:
        event, draft = self.event, self._draft
        if draft is None:
            raise ScanUnavailable("no content")
        return self._services.scanner.scan(
            ScanRequest(
                session_id=event.session_id,
                number=event.number,
                interface=self._services.interface,
                client_ip=event.peer_ip,
                client_port=peer_port,
                helo=event.helo,
                sender=event.sender,
                recipients=event.recipients,
                body=draft,
                received=received,
            )
        )

    def _without_verdict(self, cause: str) -> Reply | None:
        """SETTINGS row 5; None lets the message pass unscanned."""
        event, action = self.event, self._services.scan_failure_action
        event.verdict = "none"
        event.cause = cause
        if action == "allow":
            return None
        event.outcome = "rejected" if action == "reject" else "deferred"
        return replies.SCAN_FAILED if action == "reject" else replies.SCAN_DELAYED

    def _by_verdict(self, outcome: ScanOutcome) -> Reply | None:
        """What the verdict alone answers; None lets the message pass."""
        event = self.event
        event.verdict = outcome.action
        if outcome.action is Action.ACCEPT:
            return None
        event.cause, event.category = outcome.rule, outcome.category
        if outcome.action is Action.REJECT:
            event.outcome = "rejected"
            return replies.content_rejected(outcome.text, event.session_id)
        if outcome.action is Action.DEFER:
            event.outcome = "deferred"
            return replies.content_deferred(outcome.text, event.session_id)
        event.outcome = "discarded"
        return replies.DISCARDED

    def _deliver(self, started: float, prefix: bytes, is_client_gone: Callable[[], bool]) -> Reply:
        event, services, draft, route = self.event, self._services, self._draft, self.route
        if draft is None or route is None:
            event.outcome = "deferred"
            return replies.DELIVERY_UNAVAILABLE
        letter = Letter(
            event.sender,
            event.recipients,
            prefix,
            draft,
            is_8bit=self.is_8bit,
            is_utf8=self.is_utf8,
            mail_dsn=self.mail_dsn,
            rcpt_dsn=self.rcpt_dsn,
            helo_name=domain_or_literal(event.helo) if services.forwards_helo else "",
        )
        before = services.clock.monotonic()
        patience_s = services.inline_patience_s - (before - started)
        result = services.delivery.deliver(route, letter, patience_s, is_client_gone)
        event.delivery_s = services.clock.monotonic() - before
        event.hop = result.hop
        event.outcome = result.outcome
        event.cause = event.cause or result.cause
        if result.refused:  # also of a message that was put off: its next try hears it at RCPT
            for key, mailbox in self.recipients.items():
                refused = result.refused.get(mailbox.text)
                domain = services.directory.hosted(mailbox.domain)
                if refused is not None and domain is not None:
                    services.verifier.refused_at_delivery(domain, key, refused)
        return result.reply

    def _spool_hidden(self, hidden: HiddenRecipients, prefix: bytes) -> Reply:
        """Every message of a hidden client is spooled, in one item, and answered in one way."""
        event, services, draft = self.event, self._services, self._draft
        is_whole = hidden.join()
        event.notes = ",".join(filter(None, (event.notes, f"hidden-unknown={len(hidden.refused)}")))
        if draft is None or not is_whole:
            event.outcome = "deferred"
            return replies.DELIVERY_UNAVAILABLE
        recipients = tuple(
            RecipientEntry(
                text, RecipientState.REFUSED if text in hidden.refused else RecipientState.PENDING
            )
            for text in event.recipients
        )
        envelope = Envelope(
            session_id=event.session_id,
            number=event.number,
            client_ip=event.peer_ip,
            helo=event.helo,
            sender=event.sender,
            recipients=recipients,
            received_at=services.clock.now(),
            is_8bit=self.is_8bit,
            is_utf8=self.is_utf8,
            mail_dsn=self.mail_dsn,
            rcpt_dsn=self.rcpt_dsn,
            reason=REASON,
        )
        try:
            item = services.disk.run(lambda: services.spool.put(envelope, draft, prefix))
        except (SpoolError, OffloadBusy) as e:
            log.error("event=spool-error sid=%s cause=%s", event.session_id, quoted(str(e)))
            event.outcome, event.cause = "deferred", str(e)
            return replies.SPOOL_FULL
        services.wake_queue(item)
        event.outcome, event.hop = "accepted", "spool"
        return replies.QUEUED


def _header_fields(outcome: ScanOutcome) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in outcome.headers).encode("utf-8")
