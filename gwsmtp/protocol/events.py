"""What the server side of the protocol reports: one object for each command a client completed.

Plain objects with slots; those without content are shared constants. An event that ``needs_reply``
must be answered by ``ServerProtocol.reply`` before the next one is asked for.
"""

from typing import Final

from gwsmtp.base.address import Mailbox
from gwsmtp.base.reply import Reply
from gwsmtp.protocol.state import Verb


class Event:
    """Base of all events; ``verb`` is what the reply will answer."""

    __slots__ = ()
    verb: Verb = Verb.INVALID
    needs_reply: bool = True


class Hello(Event):
    """HELO or EHLO with the name the client gave itself."""

    __slots__ = ("is_extended", "name", "verb")

    def __init__(self, name: str, *, is_extended: bool) -> None:
        self.name = name
        self.is_extended = is_extended
        self.verb = Verb.EHLO if is_extended else Verb.HELO


class Mail(Event):
    """MAIL FROM. ``size`` is the declared size in octets or -1; ``body`` "7BIT" or "8BITMIME"."""

    __slots__ = ("body", "sender", "size")
    verb = Verb.MAIL

    def __init__(self, sender: Mailbox, size: int, body: str) -> None:
        self.sender = sender
        self.size = size
        self.body = body


class Recipient(Event):
    """RCPT TO."""

    __slots__ = ("mailbox",)
    verb = Verb.RCPT

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox


class Data(Event):
    """DATA: answered by 354, payload follows; by anything else, it does not."""

    __slots__ = ()
    verb = Verb.DATA


class Payload(Event):
    """A piece of the message, dot-unstuffed, with CRLF line ends; no reply."""

    __slots__ = ("data",)
    needs_reply = False

    def __init__(self, data: bytes) -> None:
        self.data = data


class EndOfData(Event):
    """CRLF.CRLF was read. ``size`` counts the payload's octets after un-dot-stuffing."""

    __slots__ = ("bare_newlines", "longest_line", "size")
    verb = Verb.END

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


class Quit(Event):
    """QUIT."""

    __slots__ = ()
    verb = Verb.QUIT


class Invalid(Event):
    """A command refused for its form or its place; ``reply`` is the answer the RFC wants.

    The session may answer something harder instead (SETTINGS 2.3).
    """

    __slots__ = ("reply",)

    def __init__(self, reply: Reply) -> None:
        self.reply = reply


DATA: Final = Data()
RESET: Final = Reset()
NOOP: Final = Noop()
QUIT: Final = Quit()
