"""What each command does: one function an event, all of them ``(session, event) -> Reply``.

Syntax and sequence have been checked by the protocol; here are the effects. A handler may wait
(for a call-out, a scan, a next hop); while it does, no timer of the client runs.
"""

from collections.abc import Callable
from typing import Any, Final

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.base.audit import MessageEnded
from gwsmtp.base.reply import Reply
from gwsmtp.base.stage import Stage
from gwsmtp.directory.domains import Directory, HostedDomain
from gwsmtp.limits.policy import Offence
from gwsmtp.protocol import events
from gwsmtp.protocol.extensions import HOPELESS_FACTOR
from gwsmtp.session.conversation import Conversation
from gwsmtp.session.trace import trace_prefix
from gwsmtp.session.transaction import Transaction

_OFFENCES: Final = {
    replies.UNKNOWN_COMMAND: Offence.UNKNOWN_COMMAND,
    replies.BARE_NEWLINE_IN_COMMAND: Offence.BARE_NEWLINE,
}
_POSTMASTER_OCTETS: Final = len("postmaster")
USELESS_COMMANDS: Final = 100
"""Commands other than RCPT since the last completed message (DEFENCE, Always)."""


def hello(session: Conversation, event: events.Hello) -> Reply:
    """HELO and EHLO: forget the transaction, remember the name (RFC 5321 4.1.4)."""
    session.roll_back()
    session.helo = event.name
    session.is_extended = event.is_extended
    session.stage = Stage.HELO
    services = session.services
    session.trace = trace_prefix(
        event.name,
        session.peer,
        services.host_domain,
        is_extended=event.is_extended,
        tls=session.summary.tls,
    )
    return session.ehlo if event.is_extended else services.helo


def mail(session: Conversation, event: events.Mail) -> Reply:
    """MAIL: a transaction begins, unless its declared size is too much (RFC 1870 6)."""
    services = session.services
    session.stage = Stage.MAIL
    if services.limits.size and event.size > services.limits.size:
        return replies.MESSAGE_TOO_BIG
    if (refusal := session.conduct.begin_message()) is not None:
        return refusal
    session.roll_back()
    record = MessageEnded(
        session.session_id, session.summary.messages + 1, session.peer.ip, session.helo
    )
    session.transaction = Transaction(services, event, record, session.trace)
    return replies.SENDER_OK


def rcpt(session: Conversation, event: events.Recipient) -> Reply:
    """RCPT: hosted here, known there, and the same next hop as the first (DESIGN 4 and 7)."""
    services, transaction, mailbox = session.services, session.transaction, event.mailbox
    session.stage = Stage.RCPT
    if transaction is None:
        return replies.NEED_MAIL
    if len(transaction.recipients) >= services.limits.recipients:
        return replies.TOO_MANY_RECIPIENTS
    conduct = session.conduct
    if (refusal := conduct.begin_recipient()) is not None:
        return refusal
    domain = services.directory.hosted(mailbox.domain)
    is_postmaster = False
    local = mailbox.local
    if domain is None or len(local) == _POSTMASTER_OCTETS or local[0] == '"':
        settled = _settled(session, mailbox, domain)
        if isinstance(settled, Reply):
            return settled
        mailbox, domain, is_postmaster = settled
    if domain is None or not _stays_here(services.directory, mailbox):
        conduct.offend(Offence.RELAY_ATTEMPT)
        return replies.relay_denied(session.session_id)
    if conduct.hides() or transaction.hidden is not None:
        return _hide(session, transaction, mailbox, domain)
    route = services.router.route_to(domain)
    if transaction.route is not None and transaction.route.key != route.key:
        return replies.OTHER_NEXT_HOP
    reply = replies.RECIPIENT_OK if is_postmaster else services.verifier.cached(domain, mailbox)
    if reply is None:
        reply = _ask(session, domain, mailbox)
    if reply.is_positive:
        transaction.route = route
        transaction.add(mailbox, event.dsn)
        conduct.accept_recipient()
    elif reply is replies.UNKNOWN_MAILBOX:
        conduct.bad_recipient(mailbox.key)
    return reply


def _hide(
    session: Conversation, transaction: Transaction, mailbox: Mailbox, domain: HostedDomain
) -> Reply:
    """RCPT of a client that is told nothing, in whichever of the three ways (SETTINGS 2.2)."""
    services = session.services
    if services.hiding == "defer":
        return replies.HIDDEN_DEFERRED
    if services.hiding == "close":
        session.summary.reason = "dictionary attack"
        return replies.HIDDEN_CLOSED
    session.begin_waiting()
    try:
        transaction.hide(mailbox, domain)
    finally:
        session.end_waiting()
    return replies.RECIPIENT_OK


def _settled(
    session: Conversation, mailbox: Mailbox, domain: HostedDomain | None
) -> tuple[Mailbox, HostedDomain | None, bool] | Reply:
    """Who a Postmaster is, bare or of a hosted domain, and whether it is accepted unasked
    (RFC 5321 4.1.1.3 and 4.5.1, SETTINGS row 49); any other mailbox stays as it is.
    """
    services = session.services
    is_bare = not mailbox.domain
    if not is_bare and (domain is None or mailbox.key != f"postmaster@{mailbox.domain}"):
        return mailbox, domain, False
    if services.postmaster is not None:
        # Not ours to deliver in line: it waits for the queue, and so does its sender.
        hosted = services.directory.hosted(services.postmaster.domain)
        return (
            replies.DELIVERY_UNAVAILABLE if hosted is None else (services.postmaster, hosted, True)
        )
    if not is_bare:
        return mailbox, domain, False
    host_domain = services.host_domain
    mailbox = Mailbox(f"{mailbox.local}@{host_domain}", mailbox.local, host_domain.lower())
    domain = services.directory.hosted(mailbox.domain)
    return replies.UNKNOWN_MAILBOX if domain is None else (mailbox, domain, False)


def _stays_here(directory: Directory, mailbox: Mailbox) -> bool:
    """Whether the local part asks for no host that is not ours (SETTINGS row 61)."""
    return all(directory.hosted(host) is not None for host in mailbox.routed_to())


def _ask(session: Conversation, domain: HostedDomain, mailbox: Mailbox) -> Reply:
    session.begin_waiting()
    try:
        upcoming = session.protocol.upcoming_recipients()
        return session.services.verifier.ask(domain, mailbox, upcoming)
    finally:
        session.end_waiting()


def data(session: Conversation, event: events.Data) -> Reply:  # noqa: ARG001 - one shape for all
    """DATA: content follows."""
    session.stage = Stage.DATA
    if session.transaction is None:
        return replies.NEED_MAIL
    session.transaction.begin_data()
    return replies.START_MAIL


def end_of_data(session: Conversation, event: events.EndOfData) -> Reply:
    """CRLF.CRLF, or the last chunk: the message is judged, handed on, answered and reported."""
    session.stage = Stage.END_OF_DATA
    transaction = session.transaction
    if transaction is None:
        return replies.NEED_MAIL
    if not session.is_extended and session.protocol.has_input:
        session.conduct.offend(Offence.UNASKED_PIPELINING)
    session.begin_waiting()
    try:
        reply = transaction.finish(event, session.peer.port, session.is_client_gone)
        if transaction.hidden is not None:
            session.conduct.note_hidden(transaction.hidden.unknown())
            transaction.wait_floor()
    finally:
        session.end_waiting()
    session.commit()
    return reply


def bdat(session: Conversation, event: events.Bdat) -> Reply:
    """BDAT: the octets behind it are admitted by 354, which is not spoken (RFC 3030 2)."""
    session.stage = Stage.DATA
    transaction = session.transaction
    if transaction is None:
        refusal: Reply | None = _lost_chunk(session, event.size)
    else:
        if not transaction.has_begun_data:
            transaction.begin_data()
        refusal = _unless_refused(session, transaction, transaction.announce(event.size))
    if refusal is not None and refusal.closes:
        session.summary.reason = f"refused: {refusal.text}"
    return refusal or replies.START_MAIL


def _lost_chunk(session: Conversation, octets: int) -> Reply:
    """A chunk behind a refused one is dropped, unless far too much has been already."""
    session.dropped_octets += octets
    limit = session.services.limits.size
    is_hopeless = limit and session.dropped_octets > HOPELESS_FACTOR * limit
    return replies.TOO_MUCH_DATA if is_hopeless else replies.CHUNK_LOST


def chunk_end(session: Conversation, event: events.ChunkEnd) -> Reply:  # noqa: ARG001
    """A chunk was read, and more are to come."""
    transaction = session.transaction
    if transaction is None:
        return replies.CHUNK_LOST
    return _unless_refused(session, transaction, transaction.chunk_error()) or replies.CHUNK_OK


def _unless_refused(
    session: Conversation, transaction: Transaction, refusal: Reply | None
) -> Reply | None:
    if refusal is not None and not refusal.closes:
        session.dropped_octets = transaction.announced_octets
        session.commit()
    return refusal


def start_tls(session: Conversation, event: events.StartTls) -> Reply:  # noqa: ARG001
    """STARTTLS: nothing said in clear counts any more (RFC 3207 4.2); the pump shakes hands."""
    session.stage = Stage.STARTTLS
    tls = session.services.tls
    if tls is None or tls.material is None:
        return replies.TLS_UNAVAILABLE
    if session.conduct.begin_handshake() is not None:
        return replies.handshakes_exceeded(session.session_id)
    session.roll_back()
    session.helo = session.trace = ""
    return replies.START_TLS


def rset(session: Conversation, event: events.Reset) -> Reply:
    """RSET: forget the transaction."""
    session.conduct.idle_command(event.verb)
    session.roll_back()
    return replies.RESET


def noop(session: Conversation, event: events.Noop) -> Reply:
    """NOOP."""
    session.conduct.idle_command(event.verb)
    return replies.NOOP


def vrfy(session: Conversation, event: events.Verify) -> Reply:
    """VRFY: never tells whether a mailbox exists (SETTINGS 2.2)."""
    session.conduct.idle_command(event.verb)
    return replies.VRFY


def help_(session: Conversation, event: events.Help) -> Reply:  # noqa: ARG001
    """HELP."""
    return replies.HELP


def quit_(session: Conversation, event: events.Quit) -> Reply:  # noqa: ARG001
    """QUIT; who sends more behind it is closed with care, see ``Session._close``."""
    session.stage = Stage.QUIT
    has_more = session.protocol.has_input
    session.summary.reason = "quit with input behind it" if has_more else "quit"
    return replies.BYE


def invalid(session: Conversation, event: events.Invalid) -> Reply:
    """A command refused for its form: answered and counted (SETTINGS 2.3)."""
    session.summary.errors += 1
    session.conduct.offend(_OFFENCES.get(event.reply, Offence.SYNTAX_ERROR))
    limit = session.services.invalid_limit
    if 0 <= limit < session.summary.errors:
        session.summary.reason = "too many invalid commands"
        return replies.TOO_MANY_ERRORS
    if event.reply.closes:
        session.summary.reason = f"refused: {event.reply.text}"
    return event.reply


HANDLERS: Final[dict[type[events.Event], Callable[[Conversation, Any], Reply]]] = {
    events.Hello: hello,
    events.Mail: mail,
    events.Recipient: rcpt,
    events.Data: data,
    events.Bdat: bdat,
    events.ChunkEnd: chunk_end,
    events.EndOfData: end_of_data,
    events.Reset: rset,
    events.Noop: noop,
    events.Verify: vrfy,
    events.Help: help_,
    events.StartTls: start_tls,
    events.Quit: quit_,
    events.Invalid: invalid,
}
