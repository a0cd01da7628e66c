"""The client side of SMTP as a machine without sockets (RFC 5321, RFC 2920).

Who delivers queues commands (``mail``, ``rcpt`` and so on), writes what ``take_output`` gives,
feeds what it read to ``receive``, and takes replies from ``next_reply`` as long as a command is in
``awaited``. Content goes past the machine: after a 354, ``end_of_data`` says that the dot goes out
now. Used by one greenlet; nothing here blocks.

A next hop is not trusted. Lines, replies and octets kept are bounded; what is no reply, or answers
nothing, raises RemoteProtocolError, after which the connection is of no more use. The commands
that wait for a reply are known, so a reply too many is noticed before the next command is written
instead of being taken for its answer.

Our own texts are not trusted either: a command that would hold a control character, that is not
ASCII where SMTPUTF8 was not said, or a path that would end early, raises LocalProtocolError. No
address and no parameter can put a second command on the wire.

What the host offered decides: parameters of SIZE, 8BITMIME and DSN are left out where it offers
none, and a host without PIPELINING is given one command at a time.

Deviations: a reply line may end with a bare LF (old hosts), a code's text may be missing, and
where the lines of a reply have different codes, the last counts.

Limits: a reply that comes unasked after our write and before the genuine one cannot be told from
it; the reply too many is then noticed behind the last one.
"""

import re
from typing import Final

from gwsmtp.base.errors import LocalProtocolError, RemoteProtocolError
from gwsmtp.base.reply import Reply, enhanced_code, passed_on

MAX_LINE_OCTETS: Final = 4096
"""RFC 5321 4.5.3.1.5 says 512; hosts in the field exceed it."""
MAX_LINES: Final = 200
MAX_REPLY_OCTETS: Final = 65536
MAX_UNREAD_OCTETS: Final = 131072
"""What is fed and not taken; two reads of a socket. More at once is no dialogue."""
NO_SIZE: Final = -1

_DATA: Final = "DATA"
_CONTENT: Final = "in the middle of the content"

_CODES: Final = {b"%d" % code: code for code in range(200, 600)}
_CR: Final = 13
_SPACE: Final = 32
_HYPHEN: Final = 45
# Also C1, the line ends of Unicode, and halves of characters, which no encoding has.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_QUOTED_PATH: Final = re.compile(r'"(?:[^"\\]|\\.)*"@[^ <>"]+')


class HopReply:
    """What a next hop said: ``code`` and its lines, codes taken off; text is decoded when asked
    for, which for most replies nobody does.
    """

    __slots__ = ("_raw", "code")

    def __init__(self, code: int, raw: list[bytes]) -> None:
        self.code = code
        self._raw = raw

    @property
    def lines(self) -> list[str]:
        """The text of its lines."""
        return [line.decode("utf-8", "replace") for line in self._raw]

    @property
    def is_positive(self) -> bool:
        """2xx. A 3xx is asked for after DATA only: anywhere else it grants nothing."""
        return self.code < 300

    @property
    def is_temporary(self) -> bool:
        """4xx."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5xx."""
        return self.code >= 500

    @property
    def enhanced(self) -> str:
        """The enhanced status code of its first line, or ""."""
        return enhanced_code(self.lines[0])

    def as_ours(self) -> Reply:
        """The reply as we pass it on to our own client."""
        return passed_on(self.code, self.lines)

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}"


class ClientProtocol:
    """One connection's dialogue, seen from the client; the greeting is awaited from the start.

    ``awaited`` are the commands written and not answered, oldest first, for others to read only;
    ``extensions`` those of the last EHLO. Unread input is ``_data`` from ``_position`` on; ``_bar``
    says why no command may be queued.
    """

    __slots__ = (
        "_bar",
        "_data",
        "_is_hello",
        "_is_utf8",
        "_lines",
        "_octets",
        "_output",
        "_position",
        "awaited",
        "can_pipeline",
        "extensions",
    )

    def __init__(self) -> None:
        self.extensions: dict[str, str] = {}
        self.can_pipeline = False
        self.awaited = ["connect"]
        self._output: list[str] = []
        self._data = b""
        self._position = 0
        self._lines: list[bytes] = []
        self._octets = 0
        self._is_hello = False
        self._is_utf8 = False
        self._bar = ""

    # Out -----------------------------------------------------------------------------------

    def ehlo(self, name: str) -> None:
        """EHLO. What was offered before is void."""
        self._hello(f"EHLO {name}")
        self._is_hello = True

    def helo(self, name: str) -> None:
        """HELO: nothing is offered then."""
        self._hello(f"HELO {name}")

    def mail(
        self,
        sender: str,
        size: int = NO_SIZE,
        *,
        is_8bit: bool = False,
        is_utf8: bool = False,
        dsn: str = "",
    ) -> None:
        """MAIL; ``size`` in octets, ``dsn`` as "RET=... ENVID=...". SMTPUTF8 must be offered."""
        extensions = self.extensions
        if " " in sender or ">" in sender:
            _check_quoted(sender)
        line = f"MAIL FROM:<{sender}>"
        if is_8bit and "8BITMIME" in extensions:
            line += " BODY=8BITMIME"
        if size >= 0 and "SIZE" in extensions:
            line += f" SIZE={size}"
        if is_utf8:
            if "SMTPUTF8" not in extensions:
                raise LocalProtocolError("SMTPUTF8 is not offered")
            line += " SMTPUTF8"
        if dsn and "DSN" in extensions:
            line += f" {dsn}"
        self._is_utf8 = is_utf8
        self._queue_checked(line, is_utf8)

    def rcpt(self, recipient: str, dsn: str = "") -> None:
        """RCPT; ``dsn`` as "NOTIFY=... ORCPT=..."."""
        if " " in recipient or ">" in recipient:
            _check_quoted(recipient)
        line = f"RCPT TO:<{recipient}>"
        if dsn and "DSN" in self.extensions:
            line += f" {dsn}"
        self._queue_checked(line, self._is_utf8)

    def data(self) -> None:
        """DATA. Nothing may follow it before its reply (RFC 2920 3.1)."""
        self._queue(_DATA)
        self._bar = "behind DATA"

    def rset(self) -> None:
        """RSET."""
        self._queue("RSET")

    def noop(self) -> None:
        """NOOP."""
        self._queue("NOOP")

    def quit(self) -> None:
        """QUIT. Nothing may follow it."""
        self._queue("QUIT")
        self._bar = "behind QUIT"

    def end_of_data(self) -> None:
        """The dot is written now, by the caller. Raises RemoteProtocolError where the host has
        spoken before it: that would be taken for the answer to the message.
        """
        if self._bar is not _CONTENT:
            raise LocalProtocolError("the end of data without a 354")
        if self.has_unread:
            raise self._broken("spoke before the end of data")
        self._bar = ""
        self.awaited.append("end-of-data")

    def take_output(self) -> bytes:
        """What may be written now: all that is queued where the host pipelines, else one command
        and only when nothing is awaited. Raises RemoteProtocolError where the host has spoken
        unasked.
        """
        output, awaited = self._output, self.awaited
        if not output or (awaited and not self.can_pipeline):
            return b""
        if not awaited and self.has_unread:
            raise self._broken("spoke unasked")
        if self.can_pipeline:
            awaited += output
            output.append("")
            wire = "\r\n".join(output).encode()
            output.clear()
            return wire
        awaited.append(output[0])
        return f"{output.pop(0)}\r\n".encode()

    # In ------------------------------------------------------------------------------------

    @property
    def has_unread(self) -> bool:
        """Whether octets were received that belong to no reply taken yet."""
        return self._position < len(self._data) or bool(self._lines)

    def receive(self, data: bytes) -> None:
        """Takes octets from the next hop; parses nothing yet."""
        if self._position < len(self._data):
            data = self._data[self._position :] + data
        if len(data) > MAX_UNREAD_OCTETS:
            raise self._broken(f"over {MAX_UNREAD_OCTETS} octets that nobody waits for")
        self._data = data
        self._position = 0

    def next_reply(self) -> HopReply | None:
        """The reply to the oldest of ``awaited``; None when more input is needed."""
        awaited = self.awaited
        if not awaited:
            if self.has_unread:
                raise self._broken("a reply that answers nothing")
            raise LocalProtocolError("a reply is asked for that no command awaits")
        data = self._data
        while True:
            start = self._position
            end = data.find(b"\n", start)
            if end < 0 or end - start > MAX_LINE_OCTETS:
                if len(data) - start > MAX_LINE_OCTETS:
                    raise self._broken(f"a reply line of over {MAX_LINE_OCTETS} octets")
                return None
            code = _CODES.get(data[start : start + 3])
            if code is None:
                raise self._broken(f"no reply: {data[start : min(end, start + 80)]!r}")
            stop = end - 1 if data[end - 1] == _CR else end
            mark = data[start + 3]
            self._position = end + 1
            if mark == _SPACE or start + 3 == stop:
                lines = self._lines
                # A code alone has no text, and compiled code no slice that ends before it begins.
                lines.append(data[start + 4 : stop] if mark == _SPACE else b"")
                self._lines = []
                self._octets = 0
                reply = HopReply(code, lines)
                command = awaited.pop(0)
                if command is _DATA or self._is_hello:
                    self._note(command, reply)
                return reply
            if mark != _HYPHEN:
                raise self._broken(f"no reply: {data[start : min(end, start + 80)]!r}")
            self._lines.append(data[start + 4 : stop])
            self._octets += end - start
            if len(self._lines) >= MAX_LINES or self._octets > MAX_REPLY_OCTETS:
                raise self._broken(
                    f"a reply of over {MAX_LINES} lines or {MAX_REPLY_OCTETS} octets"
                )

    # Inside --------------------------------------------------------------------------------

    def _hello(self, line: str) -> None:
        self._queue_checked(line, False)
        self.extensions = {}
        self.can_pipeline = False

    def _queue(self, line: str) -> None:
        if self._bar:
            raise LocalProtocolError(f"{line} {self._bar}")
        self._output.append(line)

    def _queue_checked(self, line: str, is_utf8: bool) -> None:
        # For ASCII, printable is exactly: no control character.
        if not (line.isascii() and line.isprintable()):
            if _CONTROL.search(line):
                raise LocalProtocolError(f"a control character in a command: {line!r}")
            if not is_utf8:
                raise LocalProtocolError(f"not ASCII, and SMTPUTF8 was not said: {line!r}")
        if self._bar:
            raise LocalProtocolError(f"{line} {self._bar}")
        self._output.append(line)

    def _note(self, command: str, reply: HopReply) -> None:
        if command is _DATA:
            self._bar = _CONTENT if reply.code == 354 else ""
        elif command.startswith("EHLO "):
            self._is_hello = False
            if reply.is_positive:
                self.extensions = offered_extensions(reply)
                self.can_pipeline = "PIPELINING" in self.extensions

    def _broken(self, reason: str) -> RemoteProtocolError:
        """The error to raise; nothing the host said is kept, and nothing more is said to it."""
        self._data, self._position, self._lines = b"", 0, []
        self.awaited, self._output = [], []
        self._bar = "on a connection that is out of order"
        return RemoteProtocolError(reason)


def _check_quoted(address: str) -> None:
    # Only a quoted local part may hold what ends a path (RFC 5321 4.1.2).
    if not _QUOTED_PATH.fullmatch(address):
        raise LocalProtocolError(f"an address that would end its path: {address!r}")


def offered_extensions(reply: HopReply) -> dict[str, str]:
    """The keywords of an EHLO reply in upper case, with their parameters (RFC 5321 4.1.1.1)."""
    offered: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = line.strip().partition(" ")
        offered[keyword.upper()] = parameters
    return offered
