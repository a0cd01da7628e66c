"""The client side of SMTP without sockets: replies of a next hop, parsed and bounded.

``feed`` what was read, then take complete replies from ``next_reply``. A next hop is not trusted:
lines, lines a reply and octets kept are bounded, and anything that is no reply raises
RemoteProtocolError, after which the connection is of no more use.

Deviations: a reply line may end with a bare LF (old hosts), and a code's text may be missing.
"""

import re
from typing import Final

from gwsmtp.base.errors import RemoteProtocolError
from gwsmtp.base.reply import Reply, enhanced_code, passed_on

MAX_LINE_OCTETS: Final = 4096
"""RFC 5321 4.5.3.1.5 says 512; hosts in the field exceed it."""
MAX_LINES: Final = 200
_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)


class HopReply:
    """What a next hop said: ``code`` and the text of its lines, codes taken off."""

    __slots__ = ("code", "lines")

    def __init__(self, code: int, lines: list[str]) -> None:
        self.code = code
        self.lines = lines

    @property
    def is_positive(self) -> bool:
        """2xx or 3xx."""
        return self.code < 400

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

    __slots__ = ("_data", "_lines")

    def __init__(self) -> None:
        self._data = b""
        self._lines: list[str] = []

    @property
    def has_leftover(self) -> bool:
        """Whether octets were read that belong to no reply taken yet."""
        return bool(self._data or self._lines)

    def feed(self, data: bytes) -> None:
        """Takes octets from the next hop."""
        self._data = self._data + data if self._data else data

    def next_reply(self) -> HopReply | None:
        """The next complete reply, None when more input is needed; raises RemoteProtocolError."""
        while True:
            end = self._data.find(b"\n")
            if end < 0 or end > MAX_LINE_OCTETS:
                if len(self._data) > MAX_LINE_OCTETS:
                    raise RemoteProtocolError(f"a reply line of over {MAX_LINE_OCTETS} octets")
                return None
            line = self._data[:end]
            self._data = self._data[end + 1 :]
            match = _LINE.fullmatch(line[:-1] if line[-1:] == b"\r" else line)
            if match is None:
                raise RemoteProtocolError(f"no reply: {line[:80]!r}")
            self._lines.append((match.group(3) or b"").decode("utf-8", "replace"))
            if match.group(2) != b"-":
                lines, self._lines = self._lines, []
                return HopReply(int(match.group(1)), lines)
            if len(self._lines) >= MAX_LINES:
                raise RemoteProtocolError(f"a reply of over {MAX_LINES} lines")


def offered_extensions(reply: HopReply) -> dict[str, str]:
    """The keywords of an EHLO reply in upper case, with their parameters (RFC 5321 4.1.1.1)."""
    offered: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = line.strip().partition(" ")
        offered[keyword.upper()] = parameters
    return offered
