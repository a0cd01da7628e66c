"""One message in line to one next hop, decided before any final dot (DESIGN, One message, 7-8).

Every RCPT reply is read before the body's dot can be sent. All accepted: body and dot, and the
host's final reply is our answer. All refused: that refusal is our answer. Everything else ends
before a dot: nobody has seen one, the message is still the client's, and it hears 451.

A connection whose DATA got 354 and must be abandoned is dropped, never ended with a dot. A pooled
connection that fails before our dot is replaced once and counts for nothing; once the write that
holds the dot has begun, a failure leaves the message in doubt and is never tried again, since the
host may have taken it (RFC 1047).

Blocks the calling greenlet, a session's, only. Time spent is bounded by ``patience_s`` before the
dot; after it, by the host's final reply timeout alone: giving up earlier makes duplicates.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Final

from gwsmtp.base import replies
from gwsmtp.base.errors import SpoolError
from gwsmtp.base.reply import Reply
from gwsmtp.base.seams import Clock, MessageBody
from gwsmtp.delivery.ascii import has_ascii_envelope, has_ascii_header
from gwsmtp.delivery.hop import HopConnection, HopFailure
from gwsmtp.delivery.pool import HopPool
from gwsmtp.delivery.route import Route
from gwsmtp.directory.domains import SmtpHost
from gwsmtp.net.offload import Offload, OffloadBusy
from gwsmtp.protocol.client import HopReply
from gwsmtp.protocol.data import DotStuffer, dot_stuffed


class Outcome(StrEnum):
    """How an attempt ended. DELIVERED and REFUSED carry the host's own words as reply."""

    DELIVERED = "accepted"
    REFUSED = "rejected"
    DEFERRED = "deferred"
    CLIENT_GONE = "lost"


NO_PARAMETERS: Final[Mapping[str, str]] = {}


class Letter:
    """What is to be delivered: the envelope, our trace fields, and the body after them.

    ``is_utf8``: its sender said SMTPUTF8. ``mail_dsn`` and, by recipient, ``rcpt_dsn`` are the
    parameters of RFC 3461 as they are to be sent on.
    """

    __slots__ = (
        "body",
        "helo_name",
        "is_8bit",
        "is_utf8",
        "mail_dsn",
        "prefix",
        "rcpt_dsn",
        "recipients",
        "sender",
    )

    def __init__(
        self,
        sender: str,
        recipients: Sequence[str],
        prefix: bytes,
        body: MessageBody,
        *,
        is_8bit: bool,
        is_utf8: bool = False,
        mail_dsn: str = "",
        rcpt_dsn: Mapping[str, str] = NO_PARAMETERS,
        helo_name: str = "",
    ) -> None:
        self.sender = sender
        self.recipients = recipients
        self.prefix = prefix
        self.body = body
        self.is_8bit = is_8bit
        self.is_utf8 = is_utf8
        self.mail_dsn = mail_dsn
        self.rcpt_dsn = rcpt_dsn
        self.helo_name = helo_name


class Result:
    """``refused`` holds the replies of recipients that were refused for good, by address,
    ``deferred`` those of recipients that were refused for now.
    """

    __slots__ = ("cause", "deferred", "hop", "outcome", "refused", "reply")

    def __init__(self, outcome: Outcome, reply: Reply, hop: str, cause: str = "") -> None:
        self.outcome = outcome
        self.reply = reply
        self.hop = hop
        self.cause = cause
        self.refused: dict[str, HopReply] = {}
        self.deferred: dict[str, HopReply] = {}


class InlineDelivery:
    """Delivers in line; one per worker."""

    __slots__ = ("_clock", "_disk", "_pool")

    def __init__(self, pool: HopPool, disk: Offload, clock: Clock) -> None:
        self._pool = pool
        self._disk = disk
        self._clock = clock

    def deliver(
        self,
        route: Route,
        letter: Letter,
        patience_s: float,
        is_client_gone: Callable[[], bool],
    ) -> Result:
        """Hands ``letter`` to the first host of ``route`` that can be talked to.

        ``is_client_gone`` is asked just before the dot. Never raises but for bugs.
        """
        give_up_at = self._clock.monotonic() + patience_s
        cause = "no host"
        for host in route.hosts:
            try:
                connection = self._pool.acquire(host, letter.helo_name)
            except HopFailure as e:
                cause = str(e)
                continue
            attempt = _Attempt(self, connection, letter, give_up_at, is_client_gone)
            try:
                return attempt.run()
            except HopFailure as e:
                if attempt.is_in_doubt:
                    return Result(Outcome.DEFERRED, replies.DELIVERY_LOST, str(host), f"{e}")
                cause = str(e)
                if attempt.was_pooled:
                    retried = self._once_more(host, letter, give_up_at, is_client_gone)
                    if isinstance(retried, Result):
                        return retried
                    cause = retried
        return Result(Outcome.DEFERRED, replies.DELIVERY_UNAVAILABLE, route.key, cause)

    def _once_more(
        self,
        host: SmtpHost,
        letter: Letter,
        give_up_at: float,
        is_client_gone: Callable[[], bool],
    ) -> Result | str:
        try:
            connection = self._pool.acquire(host, letter.helo_name, fresh=True)
        except HopFailure as e:
            return str(e)
        attempt = _Attempt(self, connection, letter, give_up_at, is_client_gone)
        try:
            return attempt.run()
        except HopFailure as e:
            if attempt.is_in_doubt:
                return Result(Outcome.DEFERRED, replies.DELIVERY_LOST, str(host), f"{e}")
            return str(e)


class _Attempt:
    """One try on one connection; gives the connection back whatever happens."""

    __slots__ = (
        "_connection",
        "_deferred",
        "_delivery",
        "_give_up_at",
        "_is_client_gone",
        "_letter",
        "_must_drop",
        "_refused",
        "is_in_doubt",
        "was_pooled",
    )

    def __init__(
        self,
        delivery: InlineDelivery,
        connection: HopConnection,
        letter: Letter,
        give_up_at: float,
        is_client_gone: Callable[[], bool],
    ) -> None:
        self._delivery = delivery
        self._connection = connection
        self._letter = letter
        self._give_up_at = give_up_at
        self._is_client_gone = is_client_gone
        self._refused: dict[str, HopReply] = {}
        self._deferred: dict[str, HopReply] = {}
        # Set between 354 and the final reply: what ends there ends without a dot.
        self._must_drop = False
        self.was_pooled = not connection.is_fresh
        self.is_in_doubt = False

    def run(self) -> Result:
        """The whole try; raises HopFailure where the connection was of no use."""
        pool, connection = self._delivery._pool, self._connection
        try:
            result = self._transact()
        except BaseException:
            pool.discard(connection)
            raise
        if result is None:
            pool.discard(connection)
            return self._result(Outcome.CLIENT_GONE, replies.DELIVERY_LOST, "client vanished")
        if result.outcome is Outcome.DELIVERED:
            connection.messages += 1
        if self._must_drop:
            pool.discard(connection)
        else:
            # Whatever stands open on the host is undone by the RSET of the next use.
            pool.release(connection)
        result.refused = self._refused
        result.deferred = self._deferred
        return result

    def _result(self, outcome: Outcome, reply: Reply, cause: str = "") -> Result:
        return Result(outcome, reply, str(self._connection.host), cause)

    def _seconds(self, limit_s: float) -> float:
        left = self._give_up_at - self._delivery._clock.monotonic()
        if left <= 0:
            raise HopFailure(f"{self._connection.host}: delivery.inline_patience ran out")
        return min(limit_s, left)

    # Before the dot ------------------------------------------------------------------------

    def _queue_commands(self, is_utf8: bool) -> None:
        letter, protocol = self._letter, self._connection.protocol
        if not self._connection.is_fresh:
            protocol.rset()
        protocol.mail(
            letter.sender,
            len(letter.prefix) + letter.body.size,
            is_8bit=letter.is_8bit,
            is_utf8=is_utf8,
            dsn=letter.mail_dsn,
        )
        dsn = letter.rcpt_dsn
        for recipient in letter.recipients:
            protocol.rcpt(recipient, dsn.get(recipient, "") if dsn else "")
        if protocol.can_pipeline and len(letter.recipients) == 1:
            protocol.data()

    def _refused_as_utf8(self) -> Reply | None:
        """Why a letter with SMTPUTF8 cannot go to a host without it; None where it can."""
        letter = self._letter
        if not has_ascii_envelope(letter.sender, letter.recipients):
            return replies.NON_ASCII_ADDRESS
        start = letter.body.data
        if start is None:
            start = next(self._pieces(letter.body), b"")
        return None if has_ascii_header(letter.prefix, start) else replies.UTF8_HEADER

    def _transact(self) -> Result | None:
        """The transaction up to its end; None when the client vanished before the dot."""
        connection, letter = self._connection, self._letter
        command_s = self._delivery._pool.timeouts.command_s
        is_utf8 = letter.is_utf8 and "SMTPUTF8" in connection.protocol.extensions
        if letter.is_utf8 and not is_utf8:
            try:
                refusal = self._refused_as_utf8()
            except (SpoolError, OffloadBusy) as e:
                return self._result(Outcome.DEFERRED, replies.SPOOL_FULL, str(e))
            if refusal is not None:
                return self._result(Outcome.REFUSED, refusal, "the host offers no SMTPUTF8")
        self._queue_commands(is_utf8)
        heard = connection.exchange(command_s, self._give_up_at)
        for reply in heard:
            if reply.code == 421:
                # RFC 5321 3.8: it closes. A pooled connection that served its time is no answer.
                raise HopFailure(f"{connection.host}: {reply}", is_busy=True)
        if not connection.is_fresh:
            reset = heard.pop(0)
            if reset.code != 250:
                raise HopFailure(f"{connection.host}: RSET answered {reset}")
        asked = len(letter.recipients) + 1
        verdict = self._before_data(heard[0], heard[1:asked])
        if len(heard) == asked and verdict is None:
            connection.protocol.data()
            heard += connection.exchange(command_s, self._give_up_at)
        self._must_drop = heard[-1].code == 354
        if verdict is not None:
            return verdict
        if heard[-1].code == 354:
            return self._send_body()
        if heard[-1].code < 400:
            # Neither a refusal nor leave to go on: nobody knows where the host stands.
            raise HopFailure(f"{connection.host}: DATA answered {heard[-1]}")
        return self._refusal(heard[-1])

    def _before_data(self, sender: HopReply, recipients: list[HopReply]) -> Result | None:
        """The result where MAIL and RCPT already decide; None to go on to DATA."""
        if not sender.is_positive:
            return self._refusal(sender)
        for address, reply in zip(self._letter.recipients, recipients, strict=True):
            if reply.is_permanent:
                self._refused[address] = reply
            elif not reply.is_positive:
                self._deferred[address] = reply
        if all(reply.is_positive for reply in recipients):
            return None
        if len(self._refused) == len(recipients):
            return self._refusal(recipients[0])
        cause = "; ".join(str(reply) for reply in recipients if not reply.is_positive)
        return self._result(Outcome.DEFERRED, replies.DELIVERY_MIXED, cause[:200])

    def _refusal(self, reply: HopReply) -> Result:
        """A refusal of everything before the dot: 5xx is our answer, 4xx is "not now"."""
        if reply.is_permanent:
            return self._result(Outcome.REFUSED, reply.as_ours(), str(reply)[:200])
        return self._result(Outcome.DEFERRED, replies.DELIVERY_MIXED, str(reply)[:200])

    # The dot -------------------------------------------------------------------------------

    def _send_body(self) -> Result | None:
        """Body, dot and the host's last word; None when the client vanished before the dot."""
        connection, letter = self._connection, self._letter
        timeouts = self._delivery._pool.timeouts
        data = letter.body.data
        if data is not None:
            last = b"".join((letter.prefix, dot_stuffed(data)))
            last += b".\r\n" if last.endswith(b"\r\n") else b"\r\n.\r\n"
        else:
            stuffer = DotStuffer()
            connection.send(stuffer.feed(letter.prefix), self._seconds(timeouts.data_s))
            try:
                for piece in self._pieces(letter.body):
                    connection.send(stuffer.feed(piece), self._seconds(timeouts.data_s))
            except (SpoolError, OffloadBusy) as e:
                return self._result(Outcome.DEFERRED, replies.SPOOL_FULL, str(e))
            last = stuffer.finish()
        if self._is_client_gone():
            return None
        # What it says before our dot is not its answer to the message. A body in memory goes out at
        # once behind the 354; one in a file takes its time.
        if data is None and connection.has_spoken():
            raise HopFailure(f"{connection.host}: spoke before the end of data")
        seconds = self._seconds(timeouts.data_s)
        connection.end_of_data()
        self.is_in_doubt = True
        connection.send(last, seconds)
        final = connection.read(timeouts.final_s)
        if final.code < 400 and not final.is_positive:
            raise HopFailure(f"{connection.host}: end of data answered {final}")
        self.is_in_doubt = False
        if final.code == 421:
            # It closes its connection (RFC 5321 3.8); ours with the client stays.
            self._must_drop = True
            return self._result(Outcome.DEFERRED, replies.DELIVERY_BUSY, str(final)[:200])
        self._must_drop = False
        if final.is_positive:
            return self._result(Outcome.DELIVERED, final.as_ours())
        kind = Outcome.REFUSED if final.is_permanent else Outcome.DEFERRED
        return self._result(kind, final.as_ours(), str(final)[:200])

    def _pieces(self, body: MessageBody) -> Iterator[bytes]:
        """The body from its file, every read done where blocking is allowed."""
        chunks = body.chunks()
        while piece := self._delivery._disk.run(partial(next, chunks, b"")):
            yield piece
