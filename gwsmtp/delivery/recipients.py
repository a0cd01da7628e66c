"""Recipients asked of their domain's own SMTP host: the call-out (DESIGN, One message, 4).

``MAIL FROM:<>`` and RCPT, so the answer depends on the recipient only; a group of RCPTs is asked
as one pipelined group. Call-outs have connections of their own, at most two per host and worker,
retired after eight refusals: hosts slow down and hang up on errors.

*Unknown* is 550, 551 or 553 with 5.1.x or without an enhanced code, or 550 5.4.1 (what Exchange
says). Any other 5xx is passed on, and neither cached nor counted. A positive answer is fresh for
an hour and usable for 31 days while the host cannot be asked; a negative one lives five minutes.

Blocks the calling greenlet only, and not at all where the answer is cached (``cached``).

A mailbox that is not ASCII needs MAIL FROM:<> SMTPUTF8; of a host that does not offer it nothing is
asked, and the answer, which says nothing of the mailbox, is not remembered.

Limits: two workers that want the same at the same time both ask.
"""

import logging
from collections.abc import Sequence
from typing import Final

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.base.quoting import quoted
from gwsmtp.base.reply import Reply
from gwsmtp.base.seams import Clock
from gwsmtp.delivery.hop import HopConnection, HopFailure
from gwsmtp.delivery.pool import HopPool
from gwsmtp.directory.domains import HostedDomain, RecipientRule, SmtpHost
from gwsmtp.limits.answers import POSITIVE, UNKNOWN, Answers, Fingerprint
from gwsmtp.net.flights import Flights
from gwsmtp.protocol.client import HopReply

log = logging.getLogger(__name__)

REFUSALS_PER_CONNECTION: Final = 8
GROUP: Final = 50
"""So many recipients are asked in one go at the most."""
GROUP_S: Final = 240.0
"""A group that drips its answers is given up then: a client waits five minutes for its own."""

_UNAVAILABLE: Final = replies.RECIPIENTS_UNAVAILABLE


def is_unknown(reply: HopReply) -> bool:
    """Whether a host's refusal of a recipient means that there is no such mailbox."""
    enhanced = reply.enhanced
    if reply.code in (550, 551, 553):
        return (
            not enhanced
            or enhanced.startswith("5.1.")
            or (reply.code == 550 and enhanced == "5.4.1")
        )
    return False


class RecipientVerifier:
    """Answers whether a mailbox of a hosted domain exists; one per worker."""

    __slots__ = (
        "_accept_unavailable",
        "_answers",
        "_clock",
        "_flights",
        "_hosts",
        "_pool",
        "_refuses_null",
    )

    def __init__(
        self, pool: HopPool, clock: Clock, answers: Answers, *, accept_unavailable: bool
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._accept_unavailable = accept_unavailable
        self._answers = answers
        self._hosts: dict[HostedDomain, str] = {}
        self._flights: Flights[str, Reply] = Flights()
        self._refuses_null: set[str] = set()

    def cached(self, domain: HostedDomain, mailbox: Mailbox) -> Reply | None:
        """The reply to RCPT if it is known without asking; does not block."""
        if domain.rule is RecipientRule.CALLOUT:
            return self._fresh(domain, mailbox.key)
        if domain.rule is RecipientRule.ANY:
            return replies.RECIPIENT_OK
        if domain.known is None:
            return replies.RECIPIENT_OK if self._accept_unavailable else _UNAVAILABLE
        is_known = mailbox.key in domain.known
        return replies.RECIPIENT_OK if is_known else replies.UNKNOWN_MAILBOX

    def ask(
        self, domain: HostedDomain, mailbox: Mailbox, upcoming: Sequence[Mailbox] = ()
    ) -> Reply:
        """The reply to RCPT, asked of the domain's hosts; ``upcoming`` are mailboxes that will be
        asked next and may ride along. Never raises but for bugs.
        """
        key = mailbox.key
        return self._flights.fly(key, lambda: self._ask(domain, mailbox, upcoming))

    def refused_at_delivery(self, domain: HostedDomain, mailbox_key: str, reply: HopReply) -> None:
        """The host refused at delivery what it accepted when asked: it is unknown from now on."""
        if is_unknown(reply):
            self._remember(domain, mailbox_key, replies.UNKNOWN_MAILBOX)

    def _fingerprint(self, domain: HostedDomain, mailbox_key: str) -> Fingerprint:
        """Of a mailbox at the domain's hosts, whichever of them answers."""
        hosts = self._hosts.get(domain)
        if hosts is None:
            hosts = self._hosts[domain] = " ".join(sorted(host.name for host in domain.hosts))
        return self._answers.fingerprint(f"{hosts}\n{mailbox_key}".encode(errors="surrogateescape"))

    def _fresh(self, domain: HostedDomain, mailbox_key: str) -> Reply | None:
        fingerprint = self._fingerprint(domain, mailbox_key)
        known = self._answers.fresh(fingerprint, self._clock.boot_ms())
        if known == POSITIVE:
            return replies.RECIPIENT_OK
        return replies.UNKNOWN_MAILBOX if known == UNKNOWN else None

    def _ask(self, domain: HostedDomain, mailbox: Mailbox, upcoming: Sequence[Mailbox]) -> Reply:
        group = {mailbox.key: mailbox}
        for other in upcoming:
            is_wanted = other.domain == mailbox.domain and len(group) < GROUP
            if is_wanted and self._fresh(domain, other.key) is None:
                group.setdefault(other.key, other)
        cause = "no host"
        for host in sorted(domain.hosts, key=lambda host: host.priority):
            try:
                answers = self._ask_host(host, list(group.values()))
            except HopFailure as e:
                cause = str(e)
                continue
            for key, answer in zip(group, answers, strict=False):
                if answer is not None:
                    self._remember(domain, key, answer)
            if answers and answers[0] is not None:
                return answers[0]
            cause = f"{host}: no final answer for the recipient"
        return self._unanswered(domain, mailbox.key, cause)

    def _unanswered(self, domain: HostedDomain, key: str, cause: str) -> Reply:
        if self._answers.is_usable(self._fingerprint(domain, key), self._clock.boot_ms()):
            return replies.RECIPIENT_OK
        accepted = self._accept_unavailable
        log.warning("event=callout-failed accepted=%s cause=%s", accepted, quoted(cause))
        return replies.RECIPIENT_OK if self._accept_unavailable else _UNAVAILABLE

    def _remember(self, domain: HostedDomain, key: str, answer: Reply) -> None:
        if answer.is_positive:
            kind = POSITIVE
        elif answer is replies.UNKNOWN_MAILBOX:
            kind = UNKNOWN
        else:
            return
        self._answers.remember(self._fingerprint(domain, key), kind, self._clock.boot_ms())

    # On the wire ---------------------------------------------------------------------------

    def _ask_host(self, host: SmtpHost, group: list[Mailbox]) -> list[Reply | None]:
        """An answer for each of ``group``, None where the host gave no final one."""
        connection = self._pool.acquire(host)
        while True:
            try:
                answers = self._dialogue(connection, group)
            except HopFailure:
                self._pool.discard(connection)
                if connection.is_fresh:
                    raise
                # A pooled connection that had gone stale is replaced once.
                connection = self._pool.acquire(host, fresh=True)
            except BaseException:
                self._pool.discard(connection)
                raise
            else:
                connection.messages += 1
                self._pool.release(connection)
                return answers

    def _dialogue(self, connection: HopConnection, group: list[Mailbox]) -> list[Reply | None]:
        protocol = connection.protocol
        is_utf8 = not all(mailbox.is_ascii for mailbox in group)
        if is_utf8 and "SMTPUTF8" not in protocol.extensions:
            asked = [mailbox for mailbox in group if mailbox.is_ascii]
            answers = iter(self._dialogue(connection, asked) if asked else ())
            return [next(answers) if one.is_ascii else replies.NON_ASCII_ADDRESS for one in group]
        if not connection.is_fresh:
            protocol.rset()
        protocol.mail("", is_utf8=is_utf8)
        for mailbox in group:
            protocol.rcpt(mailbox.text)
        give_up_at = self._clock.monotonic() + GROUP_S
        heard = connection.exchange(self._pool.timeouts.command_s, give_up_at)
        if not connection.is_fresh:
            if heard[0].code != 250:
                raise HopFailure(f"{connection.host}: RSET answered {heard[0]}")
            heard = heard[1:]
        for reply in heard:
            if reply.code == 421:
                raise HopFailure(f"{connection.host}: {reply}", is_busy=True)
        if heard[0].is_permanent:
            return self._accepts_any(connection.host, heard[0], len(group))
        if not heard[0].is_positive:
            raise HopFailure(f"{connection.host}: MAIL FROM:<> answered {heard[0]}", is_busy=True)
        return [self._answer(connection, reply) for reply in heard[1:]]

    def _answer(self, connection: HopConnection, reply: HopReply) -> Reply | None:
        if reply.is_positive:
            return replies.RECIPIENT_OK
        connection.refusals += 1
        if not reply.is_permanent:
            return None
        return replies.UNKNOWN_MAILBOX if is_unknown(reply) else reply.as_ours()

    def _accepts_any(self, host: SmtpHost, reply: HopReply, count: int) -> list[Reply | None]:
        if str(host) not in self._refuses_null:
            self._refuses_null.add(str(host))
            log.warning(
                "event=null-sender-refused host=%s reply=%s effect=accepts-any-recipient",
                host,
                quoted(str(reply.as_ours())),
            )
        return [replies.RECIPIENT_OK] * count
