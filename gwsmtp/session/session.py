"""The pump of one connection: read, let the protocol see events, let a stage answer, write once.

Runs in a greenlet of its own in a worker and owns its socket: ``run`` closes it whatever happens
and reports the session. A pipelined group is answered in one write; earlier only when a handler
has waited for one second.
"""

import logging
from typing import Final

from gevent import get_hub

from gwsmtp.base import replies
from gwsmtp.base.audit import SessionEnded
from gwsmtp.base.errors import GatewayError, LocalProtocolError, PeerTimeout
from gwsmtp.base.peer import Peer
from gwsmtp.base.reply import Reply
from gwsmtp.base.stage import Stage
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.policy import Offence
from gwsmtp.net.deadline import Deadline
from gwsmtp.net.wire import Wire
from gwsmtp.protocol import events
from gwsmtp.protocol.server import ServerProtocol
from gwsmtp.protocol.state import State
from gwsmtp.session import pace
from gwsmtp.session.closing import close_gently
from gwsmtp.session.conduct import Conduct
from gwsmtp.session.room import MADE_ROOM
from gwsmtp.session.services import Services
from gwsmtp.session.stages import HANDLERS, USELESS_COMMANDS
from gwsmtp.session.tls import TlsError, TlsWire, answer_in_clear
from gwsmtp.session.transaction import Transaction

log = logging.getLogger(__name__)

PATIENCE_FOR_GROUP_S: Final = 1.0
BRISK: Final = frozenset({"quit", MADE_ROOM})


class _Draining(GatewayError):
    """The worker is going down and this session is idle."""


class Session:
    """One client; see the module."""

    __slots__ = (
        "_commands_since_message",
        "_early",
        "_is_draining",
        "_is_implicit_tls",
        "_is_in_payload",
        "_is_reading",
        "_rate",
        "_started",
        "_wire",
        "conduct",
        "dropped_octets",
        "ehlo",
        "helo",
        "is_extended",
        "peer",
        "protocol",
        "services",
        "session_id",
        "stage",
        "summary",
        "trace",
        "transaction",
    )

    def __init__(
        self,
        services: Services,
        wire: Wire,
        peer: Peer,
        listener: str,
        session_id: str,
        place: Entrance,
        *,
        is_implicit_tls: bool = False,
    ) -> None:
        self.services = services
        self.peer = peer
        self.session_id = session_id
        self.conduct = Conduct(services.defence, place, session_id, peer.ip)
        self.protocol = ServerProtocol(services.offer)
        self.summary = SessionEnded(self.session_id, listener, peer.ip, peer.port)
        self.transaction: Transaction | None = None
        self.stage = Stage.CONNECT
        self.helo = ""
        self.is_extended = False
        self.dropped_octets = 0  # of chunks since the one that was refused, itself included
        self.trace = ""
        self.ehlo = services.ehlo
        self._wire: Wire | TlsWire = wire
        self._is_implicit_tls = is_implicit_tls
        self._started = services.clock.monotonic()
        self._is_draining = False
        self._is_reading = False
        self._is_in_payload = False
        self._rate: pace.Rate | None = None
        self._commands_since_message = 0
        self._early: object | None = None

    # Life ----------------------------------------------------------------------------------

    def run(self) -> None:
        """The whole session; returns when the socket is closed. Never raises but GreenletExit."""
        summary = self.summary
        try:
            if not self._is_implicit_tls or self._secure():
                self._talk()
        except PeerTimeout as late:
            summary.reason = f"timeout: {late.phase}"
            self._cut_off(replies.TIMEOUT)
        except pace.CutOff as cut:
            if cut.reply is replies.DATA_TOO_SLOW:
                self.conduct.offend(Offence.SLOW_DATA)
            summary.reason = cut.reason
            self._cut_off(cut.reply)
        except _Draining:
            summary.reason = "shutting down"
            self._say_goodbye(replies.SHUTTING_DOWN)
        except OSError as lost:
            summary.reason = f"lost: {lost.strerror or lost}"
        except Exception as e:
            kind = "protocol misuse" if isinstance(e, LocalProtocolError) else "unexpected"
            log.exception("%s error in session %s after %s", kind, self.session_id, self.stage)
            summary.reason = "internal error"
            self._say_goodbye(replies.INTERNAL_ERROR)
        finally:
            self.roll_back()
            close_gently(self._wire, lingers=summary.reason not in BRISK, give_up=GatewayError)
            summary.helo = self.helo
            summary.after = self.stage
            summary.duration_s = self.services.clock.monotonic() - self._started
            self.services.audit.emit(summary)

    def drain(self) -> None:
        """The worker is going down: ends now if idle, else at the next command boundary."""
        self._is_draining = True
        self._wire.deadline.interrupt(self._end_if_idle)

    @property
    def deadline(self) -> Deadline:
        """That of the waits for the client."""
        return self._wire.deadline

    def _end_if_idle(self) -> Exception | None:
        # Asked at the last moment: meanwhile a command may have come, and its answer be half sent.
        return _Draining() if self._is_reading and self._is_idle else None

    @property
    def _is_idle(self) -> bool:
        state = self.protocol.state
        is_between = state in (State.CONNECTED, State.READY, State.FAILED)
        return is_between and not self.protocol.has_input and not self.protocol.is_reading_payload

    def _is_over(self) -> bool:
        return self.protocol.state is State.CLOSED

    # Pump ----------------------------------------------------------------------------------

    def _talk(self) -> None:
        protocol, timeouts, summary = self.protocol, self.services.timeouts, self.summary
        wire, deadline, conduct = self._wire, self._wire.deadline, self.conduct
        protocol.reply(self.services.greeting)
        if not self._is_implicit_tls and wire.has_input():
            conduct.offend(Offence.EARLY_TALK)
        if conduct.is_watched:
            self._restrain()
        self._flush()
        if self._is_over():
            return
        deadline.watch(self.services.limits.pace.transaction_s, self._look)
        deadline.arm(timeouts.connection_s, "first command")
        while True:
            if self._is_draining and self._is_idle:
                raise _Draining
            self._is_reading = True
            data = wire.read()
            self._is_reading = False
            deadline.disarm()
            if not data:
                summary.reason = summary.reason or "closed by client"
                return
            summary.bytes_in += len(data)
            protocol.receive(data)
            has_progress = self._handle_events()
            if conduct.is_watched:
                self._restrain()
            self._flush()
            if self._is_over():
                return
            if protocol.state is State.HANDSHAKE:
                if not self._secure():
                    return
                wire = self._wire
            self._arm(has_progress)

    def _handle_events(self) -> bool:
        """Answers everything that is complete; whether there was anything."""
        protocol, has_progress = self.protocol, False
        while (event := protocol.next_event()) is not None:
            has_progress = True
            if type(event) is events.Payload:
                self._take(event.data)
                continue
            if type(event) is events.Foreign:
                self.summary.reason = f"{event.name} instead of SMTP"
                self.conduct.offend(Offence.FOREIGN_PROTOCOL)
                continue
            if event.is_command:
                self.summary.commands += 1
                self._commands_since_message += not event.is_useful
                if self._commands_since_message > USELESS_COMMANDS:
                    self.summary.reason = "too many commands without a message"
                    protocol.reply(replies.USELESS_COMMANDS)
                    continue
            protocol.reply(HANDLERS[type(event)](self, event))
        return has_progress

    def _restrain(self) -> None:
        """Of a client that misbehaved: what is to be said waits, or is followed by the end."""
        conduct, protocol = self.conduct, self.protocol
        if (reply := conduct.ban()) is not None:
            if protocol.state is not State.CLOSED:
                self.summary.reason = "banned"
                protocol.abort(reply)
        elif protocol.has_output:
            conduct.delay()

    def _take(self, content: bytes) -> None:
        transaction = self.transaction
        if transaction is None:
            raise LocalProtocolError("payload without a transaction")
        if (rate := self._rate) is None:
            transaction.append(content)
        else:  # what the disk takes of the time is not the client's
            clock = self.services.clock
            began = clock.monotonic()
            transaction.append(content)
            rate.excuse(clock.monotonic() - began)
        if transaction.is_hopeless:
            self.summary.reason = "far more data than SIZE"
            self.protocol.abort(replies.TOO_MUCH_DATA)

    def _arm(self, has_progress: bool) -> None:
        """Sets the timer of the wait that follows (SETTINGS rows 37-40).

        Row 37 and 38 run to a *complete* command, so octets that complete nothing leave the
        deadline where it was; row 40 restarts on any octet.
        """
        timeouts, transaction = self.services.timeouts, self.transaction
        deadline = self._wire.deadline
        if self.protocol.is_reading_payload:
            if self._is_in_payload or (transaction is not None and transaction.received_octets):
                deadline.arm(timeouts.payload_s, "message data")
                if self._rate is None or self._rate.is_paused:
                    self._measure_rate()
            else:
                deadline.arm(timeouts.data_command_s, "start of message data")
            self._is_in_payload = True
            return
        self._is_in_payload = False
        if self._rate is not None:
            self._rate.pause(self.services.clock.monotonic())
        if not has_progress:
            deadline.rearm()
        elif self.protocol.state is State.RCPT:
            deadline.arm(timeouts.data_command_s, "DATA command")
        else:
            deadline.arm(timeouts.command_s, "command")

    def _measure_rate(self) -> None:
        now, limits = self.services.clock.monotonic(), self.services.limits.pace
        if self._rate is None:
            self._rate = pace.Rate(limits, now, self.summary.bytes_in)
        else:
            self._rate.resume(now)
        self._wire.deadline.watch(self._rate.left_s(now), self._look)

    def _look(self) -> float | GatewayError:
        # Asked by the deadline, in the hub: must not wait.
        begun = self.transaction.begun if self.transaction is not None else None
        services = self.services
        now, octets = services.clock.monotonic(), self.summary.bytes_in
        return pace.look(services.pace, now, octets, begun, self._rate)

    def _flush(self) -> None:
        data = self.protocol.take_output()
        if data:
            self.summary.bytes_out += len(data)
            # A client that does not take our octets within row 38's time is gone.
            self._wire.write(data, self.services.timeouts.command_s, "client taking a reply")

    def _secure(self) -> bool:
        """The handshake, behind STARTTLS or before the greeting; False when the session is over.

        Nothing is ever said in clear again but row 42's answers, which do nothing.
        """
        tls, wire, summary = self.services.tls, self._wire, self.summary
        if tls is None or tls.material is None or isinstance(wire, TlsWire):
            raise LocalProtocolError("TLS without material")
        if self.protocol.discarded:
            log.warning(
                "event=starttls_discarded sid=%s peer=%s octets=%d",
                *(self.session_id, self.peer.ip, self.protocol.discarded),
            )
        if self._is_implicit_tls and self.conduct.begin_handshake() is not None:
            summary.reason = "too many handshakes"
            return False
        secured = TlsWire(wire, tls.material)
        monotonic = self.services.clock.monotonic
        try:
            handshake_s = self.services.defence.patience(tls.handshake_s)
            secured.handshake(handshake_s, monotonic, speaks_next=self._is_implicit_tls)
        except (TlsError, PeerTimeout) as e:
            self.conduct.offend(Offence.FAILED_HANDSHAKE)
            summary.reason = f"timeout: {e.phase}" if isinstance(e, PeerTimeout) else str(e)
            summary.sni = secured.server_name
            if not self._is_implicit_tls:
                rest = e.rest if isinstance(e, TlsError) else b""
                answer_in_clear(wire, rest, tls.recovery_s, monotonic)
            return False
        self._wire = secured
        summary.tls = f"{secured.version} {secured.cipher}"
        summary.sni = secured.server_name
        self.protocol.begin_tls(tls.offer)
        self.ehlo = tls.ehlo
        return True

    # For the stages ------------------------------------------------------------------------

    def begin_waiting(self) -> None:
        """A handler begins to wait: replies already queued go out when it takes a second."""
        if not self.protocol.has_output:
            return
        self._early = get_hub().loop.timer(PATIENCE_FOR_GROUP_S)
        self._early.start(self._flush_early)

    def end_waiting(self) -> None:
        """The handler's wait is over."""
        early, self._early = self._early, None
        if early is not None:
            early.stop()  # type: ignore[attr-defined]
            early.close()  # type: ignore[attr-defined]

    def _flush_early(self) -> None:
        # Called by the loop: must not wait. What the socket does not take now goes out later.
        data = self.protocol.take_output()
        if not data:
            return
        sent = self._wire.write_nowait(data)
        self.summary.bytes_out += sent
        self.protocol.put_back(data[sent:])

    def is_client_gone(self) -> bool:
        """Whether the client's side is reset, or closed in both directions. Does not block."""
        return self._wire.is_gone()

    def commit(self) -> None:
        """A message was answered: reports it, counts it and forgets its transaction."""
        transaction, self.transaction = self.transaction, None
        self._rate, self._is_in_payload = None, False
        self._commands_since_message = 0
        if transaction is not None:
            self.summary.messages += 1
            self.conduct.end_message(transaction.event)
            self.services.audit.emit(transaction.event)

    def roll_back(self) -> None:
        """Forgets the transaction; content that had begun and was not answered is lost."""
        transaction, self.transaction = self.transaction, None
        self._rate, self._is_in_payload = None, False
        if transaction is None:
            return
        transaction.close()
        if transaction.has_begun_data:
            transaction.event.size_bytes = transaction.received_octets
            transaction.event.cause = transaction.event.cause or self.summary.reason
            self.services.audit.emit(transaction.event)

    # Close ---------------------------------------------------------------------------------

    def _cut_off(self, reply: Reply) -> None:
        # A client that has not taken what it was told takes no goodbye; trying would wait as long
        # again.
        if self._is_reading:
            self._say_goodbye(reply)

    def _say_goodbye(self, reply: Reply) -> None:
        self._wire.deadline.unwatch()
        try:
            self.protocol.abort(reply)
            self._flush()
        except (OSError, GatewayError):
            pass
