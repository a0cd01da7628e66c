"""The server side of SMTP as a machine without sockets (RFC 5321, 2920, 3030, 6531).

The session feeds what it read to ``receive``, asks ``next_event`` until it is None, answers every
event that needs it by ``reply``, and sends what ``take_output`` gives: one write for a whole
pipelined group. Used by one greenlet; nothing here blocks.

What the machine decides alone: syntax and sequence. Those errors come out as ``Invalid`` events
that carry the reply the RFC wants, so that the session can count them. Effects (who may send,
where it goes, what it holds) are the session's.

A command line ends with CRLF. A bare LF makes the line an error that is reported at once; what
follows up to the next CRLF still belongs to that line and is dropped, so that no line end but CRLF
ever starts a command (SETTINGS 2.20).

The octets a BDAT command announces are its own whatever its reply: those of a refused one are
read and dropped before the reply is spoken (RFC 3030 4.2). One whose size cannot be read, or whose
line is spoiled, closes the connection, since nobody can tell then where its octets end and commands
begin.

Our 220 to STARTTLS ends what may be read in clear: octets behind the command are counted and
dropped (RFC 3207 4.2), whoever put them there. ``begin_tls`` goes on from nothing.
"""

from typing import Final

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.base.errors import LocalProtocolError
from gwsmtp.base.reply import Reply
from gwsmtp.protocol import events
from gwsmtp.protocol.abnf import parse_forward_path
from gwsmtp.protocol.commands import CLIENT_HELLO, is_bdat, parse_command
from gwsmtp.protocol.data import ChunkDecoder, DataDecoder
from gwsmtp.protocol.events import Event
from gwsmtp.protocol.extensions import COMMAND_OCTETS, Offer
from gwsmtp.protocol.state import State, Verb, after

_CR: Final = 13


class ServerProtocol:
    """One connection's dialogue, seen from the server.

    Unread input is ``_data`` from ``_position`` on: remembering the place instead of cutting the
    front off costs a pipelined group one copy in all.
    """

    __slots__ = (
        "_chunk_left",
        "_chunks",
        "_data",
        "_decoder",
        "_drop_left",
        "_held_reply",
        "_is_last_chunk",
        "_is_utf8",
        "_offer",
        "_output",
        "_pending",
        "_position",
        "_skipping",
        "discarded",
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
        self._is_utf8 = False
        self.discarded = 0
        # BDAT: the message's decoder, octets to come of the chunk being read, and of a refused one
        # with the reply that waits for their end.
        self._chunks: ChunkDecoder | None = None
        self._chunk_left = 0
        self._is_last_chunk = False
        self._drop_left = 0
        self._held_reply = b""
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
        if self.state is State.CHUNK:
            return self._next_of_chunk()
        if self._position >= len(self._data):
            return None
        if self.state is State.CLOSED:
            self._position = len(self._data)
            return None
        if self._drop_left and not self._drop():
            return None
        line = self._next_line()
        if line is None:
            return None
        if not isinstance(line, bytes):
            self._pending = Verb.INVALID
            return events.Invalid(line)
        event = parse_command(line, self.state, self._offer, self._is_utf8)
        self._pending = event.verb
        if type(event) is events.Mail:
            self._is_utf8 = event.is_utf8
        elif type(event) is events.Bdat:
            self._chunk_left = event.size
            self._is_last_chunk = event.is_last
        elif type(event) is events.Invalid:
            self._drop_left = event.octets
        elif type(event) is events.Foreign:
            self.close()
        return event

    @property
    def has_input(self) -> bool:
        """Whether octets were received that no event has used."""
        return self._position < len(self._data)

    @property
    def is_reading_payload(self) -> bool:
        """Whether the next octets belong to a message, be it one whose chunks are dropped."""
        return self.state is State.PAYLOAD or self.state is State.CHUNK or self._drop_left > 0

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
            start, line = end + 2, data[start + 5 : end]
            if line.isascii():
                parsed = parse_forward_path(line.decode("ascii"))
                if parsed is not None:
                    found.append(parsed[0])
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
        state = self.state = after(self.state, verb, reply)
        if state is State.HANDSHAKE:
            self.discarded = len(self._data) - self._position
            self._position = len(self._data)
        if state is State.CHUNK:
            return  # RFC 3030 2: BDAT has no intermediate reply
        if self._chunks is not None and state is not State.CHUNKS:
            self._chunks = None
        if verb is Verb.BDAT or verb is Verb.BDAT_LAST:
            self._drop_left = self._chunk_left
        if self._drop_left and not reply.closes:
            self._held_reply = reply.wire
        else:
            self._output.append(reply.wire)

    def begin_tls(self, offer: Offer) -> None:
        """A handshake was done: the session begins anew, with what ``offer`` says."""
        if self.state is not State.HANDSHAKE and self.state is not State.GREETING:
            raise LocalProtocolError(f"TLS begins in {self.state.name}")
        if self.state is State.HANDSHAKE:
            self.state = State.CONNECTED
        self._offer = offer
        self._is_utf8 = False

    def abort(self, reply: Reply) -> None:
        """Says ``reply`` unasked and closes: a timer ran out, or the worker is going down."""
        self.close()
        self._output.append(reply.wire)

    def close(self) -> None:
        """Closes without a word."""
        self._pending = None
        self._decoder = None
        self._chunks = None
        self._drop_left = 0
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

    def _next_of_chunk(self) -> Event | None:
        """The next piece of the chunk being read, then its end."""
        if self._chunks is None:
            self._chunks = ChunkDecoder()
        data, start = self._data, self._position
        octets = min(self._chunk_left, len(data) - start)
        if octets:
            self._chunk_left -= octets
            self._position = start + octets
            piece = data if octets == len(data) else data[start : start + octets]
            is_end = self._is_last_chunk and not self._chunk_left
            content = self._chunks.feed(piece, is_last=is_end)
            if content:
                return events.Payload(content)
        if self._chunk_left:
            return None
        return self._end_of_chunk(self._chunks)

    def _end_of_chunk(self, decoder: ChunkDecoder) -> Event:
        if not self._is_last_chunk:
            self._pending = Verb.CHUNK_END
            return events.CHUNK_END
        # An empty last chunk leaves what the one before it held back.
        content = decoder.feed(b"", is_last=True)
        if content:
            return events.Payload(content)
        self._pending = Verb.END
        return events.EndOfData(decoder.size, decoder.bare_newlines, decoder.longest_line)

    def _drop(self) -> bool:
        """Reads on in a refused chunk; True when its end was reached and its reply is spoken."""
        octets = min(self._drop_left, len(self._data) - self._position)
        self._position += octets
        self._drop_left -= octets
        if self._drop_left:
            return False
        self._output.append(self._held_reply)
        return True

    # Commands ------------------------------------------------------------------------------

    def _next_line(self) -> bytes | Reply | None:
        """The next command, or why a line is none; the begin of a TLS record counts as a line."""
        if self._skipping and not self._skip():
            return None
        data, start = self._data, self._position
        if start < len(data) and data[start] == CLIENT_HELLO[0]:
            if data.startswith(CLIENT_HELLO, start):
                return CLIENT_HELLO
            if len(data) - start < len(CLIENT_HELLO):
                return None
        end = data.find(b"\n", start)
        if end < 0:
            if len(data) - start > self._offer.longest_line:
                return self._spoiled(start, replies.LINE_TOO_LONG)
            return None
        self._position = end + 1
        is_bare = end == start or data[end - 1] != _CR
        if end - start > self._offer.longest_line:
            # The same as without its end: how the network cut the line must not matter.
            self._skipping = is_bare
            return _refused(data[start : start + 4], replies.LINE_TOO_LONG)
        if is_bare:
            return self._spoiled(start, replies.BARE_NEWLINE_IN_COMMAND)
        line = data[start : end - 1]
        if b"\r" in line:
            return _refused(line, replies.BARE_NEWLINE_IN_COMMAND)
        if len(line) > COMMAND_OCTETS - 2 and (
            len(line) > COMMAND_OCTETS - 2 + self._offer.allowances.get(line[:4].upper(), 0)
        ):
            return _refused(line, replies.LINE_TOO_LONG)
        return line

    def _spoiled(self, start: int, reply: Reply) -> Reply:
        self._skipping = True
        return _refused(self._data[start : start + 4], reply)

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


def _refused(line: bytes, reply: Reply) -> Reply:
    """What refuses a line for its form: ``reply``, unless octets may follow that nobody counts."""
    return replies.BDAT_UNREADABLE if is_bdat(line) else reply
