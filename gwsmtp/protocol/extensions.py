"""What EHLO offers, and what that makes legal: parameters and longer lines.

A keyword stands here only when what it promises is kept. Order is that of the list.
"""

from enum import Enum, auto
from typing import Final

COMMAND_OCTETS: Final = 512
"""RFC 5321 4.5.3.1.4, CRLF included."""

HOPELESS_FACTOR: Final = 4
"""Who sends, or announces, more than this many times SIZE is cut off (DEFENCE, Always)."""

_MAIL_ALLOWANCE: Final = 26 + 17 + 10  # RFC 1870 3, RFC 6152 2, RFC 6531 3.1
_VRFY_ALLOWANCE: Final = 10  # RFC 6531 3.1
_MAIL_DSN_ALLOWANCE: Final = 8 + 100  # RFC 3461 4: RET and ENVID
_RCPT_DSN_ALLOWANCE: Final = 28 + 500  # RFC 3461 4: NOTIFY and ORCPT


class StartTls(Enum):
    """What STARTTLS means to a session: known and not offered, offered, not to be had now though
    it was wanted, or behind it already.
    """

    OFF = auto()
    OFFERED = auto()
    UNAVAILABLE = auto()
    ACTIVE = auto()


class Offer:
    """The extensions of one listener: built once per worker and kind of session.

    ``size_limit`` in octets: -1 offers no SIZE at all (row 54), 0 offers SIZE without a limit
    (row 55, RFC 1870 3). ``dsn`` offers delivery status notifications: only whoever can send them
    may. ``custom`` are row 50's lines, appended as they are. ``starttls`` is how this kind
    of session stands to TLS. ``allowances`` holds, by verb, the
    octets a command line may exceed COMMAND_OCTETS by.
    """

    __slots__ = ("allowances", "custom", "dsn", "longest_line", "size_limit", "starttls")

    def __init__(
        self,
        size_limit: int,
        custom: tuple[str, ...] = (),
        *,
        dsn: bool = False,
        starttls: StartTls = StartTls.OFF,
    ) -> None:
        self.size_limit = size_limit
        self.custom = custom
        self.dsn = dsn
        self.starttls = starttls
        self.allowances = {
            b"MAIL": _MAIL_ALLOWANCE + (_MAIL_DSN_ALLOWANCE if dsn else 0),
            b"RCPT": _RCPT_DSN_ALLOWANCE if dsn else 0,
            b"VRFY": _VRFY_ALLOWANCE,
            b"EXPN": _VRFY_ALLOWANCE,
        }
        self.longest_line = COMMAND_OCTETS + max(self.allowances.values())

    def keywords(self) -> list[str]:
        """The lines of the EHLO reply after the first."""
        lines = ["PIPELINING"]
        if self.size_limit >= 0:
            lines.append(f"SIZE {self.size_limit}" if self.size_limit else "SIZE")
        lines += ["8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8"]
        if self.dsn:
            lines.append("DSN")
        if self.starttls is StartTls.OFFERED:
            lines.append("STARTTLS")
        lines.append("HELP")
        lines.extend(self.custom)
        return lines
