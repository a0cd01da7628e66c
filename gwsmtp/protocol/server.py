"""The server side of SMTP as a machine without sockets (RFC 5321, RFC 2920).

The session feeds what it read to ``receive``, asks ``next_event`` until it is None, answers every
event that needs it by ``reply``, and sends what ``take_output`` gives: one write for a whole
pipelined group. Used by one greenlet; nothing here blocks.

What the machine decides alone: syntax and sequence. Those errors come out as ``Invalid`` events
that carry the reply the RFC wants, so that the session can count them. Effects (who may send,
where it goes, what it holds) are the session's.

A command line ends with CRLF. A bare LF makes the line an error that is reported at once; what
follows up to the next CRLF still belongs to that line and is dropped, so that no line end but CRLF
ever starts a command (SETTINGS 2.20).
"""

from collections.abc import Callable
from typing import Final

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.base.errors import LocalProtocolError
from gwsmtp.base.reply import Reply
from gwsmtp.protocol import events
from gwsmtp.protocol.abnf import parse_forward_path, parse_helo_name, parse_reverse_path
from gwsmtp.protocol.data import DataDecoder
from gwsmtp.protocol.events import Event
from gwsmtp.protocol.extensions import Offer
from gwsmtp.protocol.params import mail_event, recipient_event
from gwsmtp.protocol.state import State, Verb, after

COMMAND_OCTETS: Final = 512
"""RFC 5321 4.5.3.1.4, CRLF included."""
_ALLOWANCE: Final = {b"MAIL": 26 + 17}  # RFC 1870 3 and RFC 6152 2
_LONGEST_OCTETS: Final = COMMAND_OCTETS + max(_ALLOWANCE.values())
_CR: Final = 13
_AFTER_VERB: Final = frozenset({b" ", b""})


class ServerProtocol:
    """One connection's dialogue, seen from the server.

    Unread input is ``_data`` from ``_position`` on: remembering the place instead of cutting the
    front off costs a pipelined group one copy in all.
    """

    __slots__ = (
        "_data",
        "_decoder",
        "_offer",
        "_output",
        "_pending",
        "_position",
        "_skipping",
        "state",
    )

    def __init__(self, offer: Offer) -> None:
        self.state = State.GREETING
        self._offer = offer
        self._data = b""
        self._position = 0
        self._decoder: DataDecoder | None = None
        self._pending: Verb | None = Verb.GREETING
        self._skipping = False
        self._output: list[bytes] = []

    # In ------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Takes octets from the client; parses nothing yet."""
        self._data = self._data[self._position :] + data if self.has_input else data
        self._position = 0

    def next_event(self) -> Event | None:
        """The next thing the client completed; None when more input is needed, or when closed."""
        if self._pending is not None:
            raise LocalProtocolError(f"event asked for while {self._pending.name} has no reply")
        if self._decoder is not None:
            return self._next_payload(self._decoder)
        if self._position >= len(self._data):
            return None
        if self.state is State.CLOSED:
            self._position = len(self._data)
            return None
        line = self._next_line()
        if line is None:
            return None
        event = self._command(line) if isinstance(line, bytes) else events.Invalid(line)
        self._pending = event.verb
        return event

    @property
    def has_input(self) -> bool:
        """Whether octets were received that no event has used."""
        return self._position < len(self._data)

    def upcoming_recipients(self) -> list[Mailbox]:
        """The mailboxes of RCPT commands already received behind this one, unparsed by then.

        Lets a whole pipelined group be asked of a next hop at once; changes nothing.
        """
        found: list[Mailbox] = []
        data, start = self._data, self._position
        while data[start : start + 5].upper() == b"RCPT ":
            end = data.find(b"\r\n", start)
            if end < 0 or end - start > COMMAND_OCTETS:
                break
            parsed = parse_forward_path(data[start + 5 : end].decode("ascii", "replace"))
            if parsed is not None:
                found.append(parsed[0])
            start = end + 2
        return found

    # Out -----------------------------------------------------------------------------------

    def reply(self, reply: Reply) -> None:
        """Answers the pending event: commits its transition and queues the reply's octets."""
        verb = self._pending
        if verb is None:
            raise LocalProtocolError(f"reply {reply} answers nothing")
        self._pending = None
        if verb is Verb.DATA and reply.code == 354:
            self._decoder = DataDecoder()
        elif verb is Verb.END:
            self._decoder = None
        self.state = after(self.state, verb, reply)
        self._output.append(reply.wire)

    def abort(self, reply: Reply) -> None:
        """Says ``reply`` unasked and closes: a timer ran out, or the worker is going down."""
        self.close()
        self._output.append(reply.wire)

    def close(self) -> None:
        """Closes without a word."""
        self._pending = None
        self._decoder = None
        self.state = State.CLOSED

    def take_output(self) -> bytes:
        """All octets queued since the last call, in one piece."""
        output = self._output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    @property
    def has_output(self) -> bool:
        """Whether replies are queued."""
        return bool(self._output)

    def put_back(self, data: bytes) -> None:
        """Returns the end of what ``take_output`` gave and the socket did not take."""
        if data:
            self._output.insert(0, data)

    # Payload -------------------------------------------------------------------------------

    def _next_payload(self, decoder: DataDecoder) -> Event | None:
        if not decoder.reached_end():
            data, start = self._data, self._position
            if start >= len(data):
                return None
            content = decoder.feed(data[start:] if start else data)
            self._data = decoder.rest
            self._position = 0
            if content:
                return events.Payload(content)
            if not decoder.reached_end():
                return None
        self._pending = Verb.END
        return events.EndOfData(decoder.size, decoder.bare_newlines, decoder.longest_line)

    # Commands ------------------------------------------------------------------------------

    def _next_line(self) -> bytes | Reply | None:
        if self._skipping and not self._skip():
            return None
        data, start = self._data, self._position
        end = data.find(b"\n", start)
        if end < 0:
            if len(data) - start > _LONGEST_OCTETS:
                return self._spoiled(replies.LINE_TOO_LONG)
            return None
        self._position = end + 1
        if end == start or data[end - 1] != _CR:
            return self._spoiled(replies.BARE_NEWLINE_IN_COMMAND)
        line = data[start : end - 1]
        if b"\r" in line:
            return replies.BARE_NEWLINE_IN_COMMAND
        if len(line) > COMMAND_OCTETS - 2 and (
            len(line) > COMMAND_OCTETS - 2 + _ALLOWANCE.get(line[:4].upper(), 0)
        ):
            return replies.LINE_TOO_LONG
        return line

    def _spoiled(self, reply: Reply) -> Reply:
        self._skipping = True
        return reply

    def _skip(self) -> bool:
        """Drops the rest of a spoiled line; True when its CRLF was found."""
        end = self._data.find(b"\r\n", self._position)
        if end < 0:
            # A CR at the end may be the first half of the line end we wait for.
            self._position = len(self._data) - self._data.endswith(b"\r")
            return False
        self._position = end + 2
        self._skipping = False
        return True

    def _command(self, line: bytes) -> Event:
        # All verbs have four letters; one glued to its argument is no verb.
        parse = _COMMANDS.get(line[:4].upper()) if line[4:5] in _AFTER_VERB else None
        if parse is None:
            is_known = line.partition(b" ")[0].upper() in _NOT_OFFERED
            return events.Invalid(replies.NOT_OFFERED if is_known else replies.UNKNOWN_COMMAND)
        try:
            argument = line[5:].decode("ascii")
        except UnicodeDecodeError:
            return events.Invalid(replies.BAD_ARGUMENTS)
        result = parse(self, argument.strip(" "))
        return result if isinstance(result, Event) else events.Invalid(result)

    def _hello(self, argument: str, is_extended: bool) -> Event | Reply:
        name = parse_helo_name(argument)
        return replies.BAD_HELO if name is None else events.Hello(name, is_extended=is_extended)

    def _parse_ehlo(self, argument: str) -> Event | Reply:
        return self._hello(argument, True)

    def _parse_helo(self, argument: str) -> Event | Reply:
        return self._hello(argument, False)

    def _parse_mail(self, argument: str) -> Event | Reply:
        if self.state is not State.READY:
            is_early = self.state is State.CONNECTED
            return replies.SEND_HELO_FIRST if is_early else replies.SENDER_ALREADY_GIVEN
        parsed = parse_reverse_path(argument)
        if parsed is None:
            return replies.BAD_SENDER
        return mail_event(parsed[0], parsed[1], self._offer)

    def _parse_rcpt(self, argument: str) -> Event | Reply:
        if self.state is not State.MAIL and self.state is not State.RCPT:
            is_early = self.state is State.CONNECTED
            return replies.SEND_HELO_FIRST if is_early else replies.NEED_MAIL
        parsed = parse_forward_path(argument)
        if parsed is None:
            return replies.BAD_RECIPIENT
        return recipient_event(parsed[0], parsed[1])

    def _parse_data(self, argument: str) -> Event | Reply:
        if argument:
            return replies.NO_ARGUMENTS
        if self.state is State.RCPT:
            return events.DATA
        if self.state is State.CONNECTED:
            return replies.SEND_HELO_FIRST
        return replies.NEED_RCPT if self.state is State.MAIL else replies.NEED_MAIL

    def _parse_rset(self, argument: str) -> Event | Reply:
        return replies.NO_ARGUMENTS if argument else events.RESET

    def _parse_noop(self, argument: str) -> Event | Reply:  # noqa: ARG002 - RFC 5321 4.1.1.9: ignored
        return events.NOOP

    def _parse_vrfy(self, argument: str) -> Event | Reply:
        return events.Verify(argument) if argument else replies.BAD_ARGUMENTS

    def _parse_quit(self, argument: str) -> Event | Reply:
        return replies.NO_ARGUMENTS if argument else events.QUIT


_COMMANDS: Final[dict[bytes, Callable[[ServerProtocol, str], Event | Reply]]] = {
    b"EHLO": ServerProtocol._parse_ehlo,
    b"HELO": ServerProtocol._parse_helo,
    b"MAIL": ServerProtocol._parse_mail,
    b"RCPT": ServerProtocol._parse_rcpt,
    b"DATA": ServerProtocol._parse_data,
    b"RSET": ServerProtocol._parse_rset,
    b"NOOP": ServerProtocol._parse_noop,
    b"VRFY": ServerProtocol._parse_vrfy,
    b"QUIT": ServerProtocol._parse_quit,
}

_NOT_OFFERED: Final = frozenset(
    (b"EXPN", b"HELP", b"STARTTLS", b"AUTH", b"BDAT", b"ETRN", b"TURN", b"SEND", b"SOML", b"SAML")
)
"""Commands of SMTP and its extensions that we know and do not offer (RFC 5321 4.2.4)."""
