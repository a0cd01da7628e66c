"""The client side of SMTP without sockets: replies of a next hop, parsed and bounded.

``feed`` what was read, then take complete replies from ``next_reply``. A next hop is not trusted:
lines, lines a reply and octets kept are bounded, and anything that is no reply raises
RemoteProtocolError, after which the connection is of no more use.

Deviations: a reply line may end with a bare LF (old hosts), and a code's text may be missing.
"""

from typing import Final

from gwsmtp.base.errors import RemoteProtocolError
from gwsmtp.base.reply import Reply, enhanced_code, passed_on

MAX_LINE_OCTETS: Final = 4096
"""RFC 5321 4.5.3.1.5 says 512; hosts in the field exceed it."""
MAX_LINES: Final = 200
_MARKS: Final = frozenset({b" ", b"-", b""})
_CR: Final = 13


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


class ReplyReader:
    """Cuts a next hop's octets into replies; one object per connection."""

    __slots__ = ("_data", "_lines", "_position")

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        self._lines: list[bytes] = []

    @property
    def has_leftover(self) -> bool:
        """Whether octets were read that belong to no reply taken yet."""
        return self._position < len(self._data) or bool(self._lines)

    def feed(self, data: bytes) -> None:
        """Takes octets from the next hop."""
        if self._position < len(self._data):
            data = self._data[self._position :] + data
        self._data = data
        self._position = 0

    def next_reply(self) -> HopReply | None:
        """The next complete reply, None when more input is needed; raises RemoteProtocolError."""
        data = self._data
        while True:
            start = self._position
            end = data.find(b"\n", start)
            if end < 0 or end - start > MAX_LINE_OCTETS:
                if len(data) - start > MAX_LINE_OCTETS:
                    raise RemoteProtocolError(f"a reply line of over {MAX_LINE_OCTETS} octets")
                return None
            self._position = end + 1
            line = data[start : end - 1 if data[end - 1] == _CR else end]
            code, mark = line[:3], line[3:4]
            if len(code) < 3 or not code.isdigit() or not b"2" <= code < b"6" or mark not in _MARKS:
                raise RemoteProtocolError(f"no reply: {line[:80]!r}")
            if mark != b"-":
                if not self._lines:
                    return HopReply(int(code), [line[4:]])
                lines, self._lines = self._lines, []
                lines.append(line[4:])
                return HopReply(int(code), lines)
            self._lines.append(line[4:])
            if len(self._lines) >= MAX_LINES:
                raise RemoteProtocolError(f"a reply of over {MAX_LINES} lines")


def offered_extensions(reply: HopReply) -> dict[str, str]:
    """The keywords of an EHLO reply in upper case, with their parameters (RFC 5321 4.1.1.1)."""
    offered: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = line.strip().partition(" ")
        offered[keyword.upper()] = parameters
    return offered
