"""What the server side of the protocol reports: one object for each command a client completed.

Plain objects with slots; those without content are shared constants. An event that ``needs_reply``
(all but Payload and Foreign) must be answered by ``ServerProtocol.reply`` before the next one is
asked for.
"""

from typing import Final

from gwsmtp.base.address import Mailbox
from gwsmtp.base.reply import Reply
from gwsmtp.protocol.state import Verb


class Event:
    """Base of all events; ``verb`` is what the reply will answer. ``is_useful`` says of a command
    that a message needs as many of them as it likes.
    """

    __slots__ = ()
    verb: Verb = Verb.INVALID
    needs_reply: bool = True
    is_command: bool = True
    is_useful: bool = False


class Hello(Event):
    """HELO or EHLO with the name the client gave itself."""

    __slots__ = ("is_extended", "name", "verb")

    def __init__(self, name: str, *, is_extended: bool) -> None:
        self.name = name
        self.is_extended = is_extended
        self.verb = Verb.EHLO if is_extended else Verb.HELO


class Mail(Event):
    """MAIL FROM. ``size`` is the declared size in octets or -1; ``body`` "7BIT" or "8BITMIME";
    ``is_utf8`` whether SMTPUTF8 was asked for; ``dsn`` RET and ENVID (RFC 3461) as they go on to
    the next hop, "" when there are none.
    """

    __slots__ = ("body", "dsn", "is_utf8", "sender", "size")
    verb = Verb.MAIL

    def __init__(
        self, sender: Mailbox, size: int, body: str, *, is_utf8: bool = False, dsn: str = ""
    ) -> None:
        self.sender = sender
        self.size = size
        self.body = body
        self.is_utf8 = is_utf8
        self.dsn = dsn


class Recipient(Event):
    """RCPT TO; ``dsn`` is NOTIFY and ORCPT (RFC 3461) as they go on, "" when there are none."""

    __slots__ = ("dsn", "mailbox")
    verb = Verb.RCPT
    is_useful = True

    def __init__(self, mailbox: Mailbox, dsn: str = "") -> None:
        self.mailbox = mailbox
        self.dsn = dsn


class Data(Event):
    """DATA: answered by 354, payload follows; by anything else, it does not."""

    __slots__ = ()
    verb = Verb.DATA


class Bdat(Event):
    """BDAT with the octets of its chunk, which are still to come (RFC 3030 2).

    354 admits them and is not spoken; any other reply is held back until they were dropped.
    """

    __slots__ = ("is_last", "is_useful", "size", "verb")

    def __init__(self, size: int, *, is_last: bool) -> None:
        self.size = size
        self.is_last = is_last
        self.is_useful = size > 0
        self.verb = Verb.BDAT_LAST if is_last else Verb.BDAT


class ChunkEnd(Event):
    """A chunk that is not the last one was read whole."""

    __slots__ = ()
    verb = Verb.CHUNK_END
    is_command = False


class Payload(Event):
    """A piece of the message, dot-unstuffed, with CRLF line ends; no reply."""

    __slots__ = ("data",)
    needs_reply = False
    is_command = False

    def __init__(self, data: bytes) -> None:
        self.data = data


class EndOfData(Event):
    """CRLF.CRLF, or the last chunk, was read. ``size`` counts the payload's octets after
    un-dot-stuffing.
    """

    __slots__ = ("bare_newlines", "longest_line", "size")
    verb = Verb.END
    is_command = False

    def __init__(self, size: int, bare_newlines: int, longest_line: int) -> None:
        self.size = size
        self.bare_newlines = bare_newlines
        self.longest_line = longest_line


class Reset(Event):
    """RSET."""

    __slots__ = ()
    verb = Verb.RSET


class Noop(Event):
    """NOOP."""

    __slots__ = ()
    verb = Verb.NOOP


class Verify(Event):
    """VRFY with its argument."""

    __slots__ = ("argument",)
    verb = Verb.VRFY

    def __init__(self, argument: str) -> None:
        self.argument = argument


class Help(Event):
    """HELP."""

    __slots__ = ()
    verb = Verb.HELP


class StartTls(Event):
    """STARTTLS: answered by 220, a handshake follows (RFC 3207); by anything else, it does not."""

    __slots__ = ()
    verb = Verb.STARTTLS


class Quit(Event):
    """QUIT."""

    __slots__ = ()
    verb = Verb.QUIT


class Invalid(Event):
    """A command refused for its form or its place; ``reply`` is the answer the RFC wants.

    The session may answer something harder instead (SETTINGS 2.3). ``octets`` follow the command
    that are not commands: those of a BDAT out of place.
    """

    __slots__ = ("octets", "reply")

    def __init__(self, reply: Reply, octets: int = 0) -> None:
        self.reply = reply
        self.octets = octets


class Foreign(Event):
    """Another protocol's client; the connection is closed already. ``name`` is for the log."""

    __slots__ = ("name",)
    needs_reply = False

    def __init__(self, name: str) -> None:
        self.name = name


DATA: Final = Data()
CHUNK_END: Final = ChunkEnd()
HELP: Final = Help()
RESET: Final = Reset()
NOOP: Final = Noop()
START_TLS: Final = StartTls()
QUIT: Final = Quit()
