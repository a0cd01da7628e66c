"""The server's state machine, as tables.

Two rules. Everything that moves the state is in this file. And a command moves it only when its
reply has been spoken: the same 250 that tells the client "sender ok" is what makes RCPT legal, so
what was promised is never kept twice.

The states of a session (RFC 5321 4.1.4):

    GREETING -- our 220 --> CONNECTED -- HELO/EHLO --> READY -- MAIL --> MAIL -- RCPT --> RCPT
                                                         ^                                |
                                                         | END, any reply       DATA, 354 |
                                                         +----------- PAYLOAD <-----------+

With BDAT (RFC 3030) a message comes in chunks, and the session's answer to the BDAT command
itself, which the client never sees, is what admits the octets behind it:

    RCPT or CHUNKS -- BDAT --> CHUNK -- its end, 250 --> CHUNKS
                                 |---- its end, refused --> FAILED -- BDAT, refused --> FAILED
                                 +---- end of the last one, any reply --> READY

STARTTLS (RFC 3207) leads from wherever HELO was said to HANDSHAKE, where nothing is parsed, and the
end of the handshake, which is no reply, back to CONNECTED: nothing that was said before counts.

A refused command leaves the state as it was, with two exceptions: the reply to the end of data
ends the transaction whatever it says (RFC 5321 4.1.1.4), and a refused chunk makes what was sent
before it worthless, so that the chunks behind it meet FAILED until the last of them, RSET, EHLO
or MAIL (RFC 3030 2 wants RSET). RSET and a second EHLO go back to READY. Any reply that closes
leads to CLOSED, where nothing is parsed any more.
"""

from enum import IntEnum, auto
from typing import Final

from gwsmtp.base.reply import Reply


class State(IntEnum):
    """Where a session stands; see the module's drawing."""

    GREETING = auto()
    CONNECTED = auto()
    READY = auto()
    MAIL = auto()
    RCPT = auto()
    PAYLOAD = auto()
    CHUNK = auto()
    CHUNKS = auto()
    FAILED = auto()
    HANDSHAKE = auto()
    CLOSED = auto()


class Verb(IntEnum):
    """What a reply answers. END is the end of data, CHUNK_END that of a chunk which is not the
    last, INVALID anything refused for its form.
    """

    GREETING = auto()
    HELO = auto()
    EHLO = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BDAT = auto()
    BDAT_LAST = auto()
    CHUNK_END = auto()
    END = auto()
    RSET = auto()
    NOOP = auto()
    VRFY = auto()
    HELP = auto()
    STARTTLS = auto()
    QUIT = auto()
    INVALID = auto()


ON_POSITIVE: Final[dict[tuple[State, Verb], State]] = {
    (State.GREETING, Verb.GREETING): State.CONNECTED,
    (State.CONNECTED, Verb.HELO): State.READY,
    (State.CONNECTED, Verb.EHLO): State.READY,
    (State.READY, Verb.HELO): State.READY,
    (State.READY, Verb.EHLO): State.READY,
    (State.MAIL, Verb.HELO): State.READY,
    (State.MAIL, Verb.EHLO): State.READY,
    (State.RCPT, Verb.HELO): State.READY,
    (State.RCPT, Verb.EHLO): State.READY,
    (State.READY, Verb.MAIL): State.MAIL,
    (State.MAIL, Verb.RCPT): State.RCPT,
    (State.RCPT, Verb.RCPT): State.RCPT,
    (State.RCPT, Verb.DATA): State.PAYLOAD,
    (State.PAYLOAD, Verb.END): State.READY,
    (State.MAIL, Verb.RSET): State.READY,
    (State.RCPT, Verb.RSET): State.READY,
    (State.RCPT, Verb.BDAT): State.CHUNK,
    (State.RCPT, Verb.BDAT_LAST): State.CHUNK,
    (State.CHUNKS, Verb.BDAT): State.CHUNK,
    (State.CHUNKS, Verb.BDAT_LAST): State.CHUNK,
    (State.CHUNK, Verb.CHUNK_END): State.CHUNKS,
    (State.CHUNK, Verb.END): State.READY,
    (State.CHUNKS, Verb.RSET): State.READY,
    (State.CHUNKS, Verb.HELO): State.READY,
    (State.CHUNKS, Verb.EHLO): State.READY,
    (State.FAILED, Verb.RSET): State.READY,
    (State.FAILED, Verb.HELO): State.READY,
    (State.FAILED, Verb.EHLO): State.READY,
    (State.FAILED, Verb.MAIL): State.MAIL,
    (State.READY, Verb.STARTTLS): State.HANDSHAKE,
    (State.MAIL, Verb.STARTTLS): State.HANDSHAKE,
    (State.RCPT, Verb.STARTTLS): State.HANDSHAKE,
    (State.CHUNKS, Verb.STARTTLS): State.HANDSHAKE,
    (State.FAILED, Verb.STARTTLS): State.HANDSHAKE,
}
"""Where a positive reply leads; a pair that is not here stays where it is."""

ON_NEGATIVE: Final[dict[tuple[State, Verb], State]] = {
    (State.PAYLOAD, Verb.END): State.READY,
    (State.CHUNK, Verb.END): State.READY,
    (State.CHUNK, Verb.CHUNK_END): State.FAILED,
    (State.RCPT, Verb.BDAT): State.FAILED,
    (State.RCPT, Verb.BDAT_LAST): State.READY,
    (State.CHUNKS, Verb.BDAT): State.FAILED,
    (State.CHUNKS, Verb.BDAT_LAST): State.READY,
    (State.FAILED, Verb.BDAT_LAST): State.READY,
}
"""Where a negative reply leads; a pair that is not here stays where it is."""


def after(state: State, verb: Verb, reply: Reply) -> State:
    """The state after ``verb`` was answered by ``reply`` in ``state``."""
    if reply.closes:
        return State.CLOSED
    table = ON_POSITIVE if reply.is_positive else ON_NEGATIVE
    return table.get((state, verb), state)
