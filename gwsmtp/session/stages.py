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
from gwsmtp.directory.domains import HostedDomain
from gwsmtp.protocol import events
from gwsmtp.session.conversation import Conversation
from gwsmtp.session.trace import trace_prefix
from gwsmtp.session.transaction import Transaction

USELESS_COMMANDS: Final = 100
"""Commands other than RCPT since the last completed message (DEFENCE, Always)."""


def hello(session: Conversation, event: events.Hello) -> Reply:
    """HELO and EHLO: forget the transaction, remember the name (RFC 5321 4.1.4)."""
    session.roll_back()
    session.helo = event.name
    session.stage = Stage.HELO
    services = session.services
    session.trace = trace_prefix(
        event.name, session.peer, services.host_domain, is_extended=event.is_extended
    )
    return services.ehlo if event.is_extended else services.helo


def mail(session: Conversation, event: events.Mail) -> Reply:
    """MAIL: a transaction begins, unless its declared size is too much (RFC 1870 6)."""
    services = session.services
    session.stage = Stage.MAIL
    if services.limits.size and event.size > services.limits.size:
        return replies.MESSAGE_TOO_BIG
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
    if not mailbox.domain:
        # A bare Postmaster is the one of our own domain (RFC 5321 4.1.1.3, SETTINGS row 49).
        host_domain = services.host_domain
        mailbox = Mailbox(f"{mailbox.local}@{host_domain}", mailbox.local, host_domain.lower())
        if services.directory.hosted(mailbox.domain) is None:
            return replies.UNKNOWN_MAILBOX
    domain = services.directory.hosted(mailbox.domain)
    if domain is None:
        return replies.relay_denied(session.session_id)
    route = services.router.route_to(domain)
    if transaction.route is not None and transaction.route.key != route.key:
        return replies.OTHER_NEXT_HOP
    reply = services.verifier.cached(domain, mailbox)
    if reply is None:
        reply = _ask(session, domain, mailbox)
    if reply.is_positive:
        transaction.route = route
        transaction.recipients.setdefault(mailbox.key, mailbox)
    return reply


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
    """CRLF.CRLF: the message is judged, handed on, answered and reported."""
    session.stage = Stage.END_OF_DATA
    transaction = session.transaction
    if transaction is None:
        return replies.NEED_MAIL
    session.begin_waiting()
    try:
        reply = transaction.finish(event, session.peer.port, session.is_client_gone)
    finally:
        session.end_waiting()
    session.commit()
    return reply


def rset(session: Conversation, event: events.Reset) -> Reply:  # noqa: ARG001
    """RSET: forget the transaction."""
    session.roll_back()
    return replies.RESET


def noop(session: Conversation, event: events.Noop) -> Reply:  # noqa: ARG001
    """NOOP."""
    return replies.NOOP


def vrfy(session: Conversation, event: events.Verify) -> Reply:  # noqa: ARG001
    """VRFY: never tells whether a mailbox exists (SETTINGS 2.2)."""
    return replies.VRFY


def quit_(session: Conversation, event: events.Quit) -> Reply:  # noqa: ARG001
    """QUIT."""
    session.stage = Stage.QUIT
    session.summary.reason = "quit"
    return replies.BYE


def invalid(session: Conversation, event: events.Invalid) -> Reply:
    """A command refused for its form: answered and counted (SETTINGS 2.3)."""
    session.summary.errors += 1
    limit = session.services.limits.invalid
    if 0 <= limit < session.summary.errors:
        session.summary.reason = "too many invalid commands"
        return replies.TOO_MANY_ERRORS
    return event.reply


HANDLERS: Final[dict[type[events.Event], Callable[[Conversation, Any], Reply]]] = {
    events.Hello: hello,
    events.Mail: mail,
    events.Recipient: rcpt,
    events.Data: data,
    events.EndOfData: end_of_data,
    events.Reset: rset,
    events.Noop: noop,
    events.Verify: vrfy,
    events.Quit: quit_,
    events.Invalid: invalid,
}
