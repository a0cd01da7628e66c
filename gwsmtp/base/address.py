"""An envelope address as a value (RFC 5321 4.1.2): what the grammar parsed, ready to compare.

Parsing is ``protocol.abnf``'s; nothing here looks at syntax.
"""

import re
import unicodedata
from typing import Final

_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_ROUTE_MARK: Final = re.compile("[@%]")


class Mailbox:
    """``text`` is the address as the client wrote it, without angle brackets and source route;
    ``local`` its local part as written (quotes included); ``domain`` in lower case and in ASCII
    (A-labels), "" for the null sender and for a bare Postmaster.
    """

    __slots__ = ("domain", "local", "text")

    def __init__(self, text: str, local: str, domain: str) -> None:
        self.text = text
        self.local = local
        self.domain = domain

    @property
    def key(self) -> str:
        """What caches and counters compare: local parts are equal only to the letter by the RFC,
        yet no mail system in use tells them apart by case, and a harvester must not count twice.
        Quotes that are not needed make no difference either (RFC 5321 4.1.2).

        Beyond ASCII it is lower case, not casefold, which takes different letters for one: a
        message for both of two such mailboxes would reach only the first.
        """
        local = self.local
        if local[:1] == '"':
            local = self.unquoted
        if not local.isascii():
            return f"{unicodedata.normalize('NFC', local).lower()}@{self.domain}"
        return f"{local.lower()}@{self.domain}"

    @property
    def unquoted(self) -> str:
        """The local part as its reader means it: without quotes and quoted pairs."""
        if self.local[:1] != '"':
            return self.local
        return _QUOTED_PAIR.sub(r"\1", self.local[1:-1])

    @property
    def is_ascii(self) -> bool:
        """Whether it can be sent without SMTPUTF8 (RFC 6531)."""
        return self.text.isascii()

    def routed_to(self) -> list[str]:
        """All hosts a local part asks to be sent on by (``user%host``, ``host!user``,
        ``"user@host"``): relics that some hosts still follow (RFC 5321 appendix F.2; SETTINGS
        row 61). Whoever follows one follows the next behind it, so the last does not settle it.
        """
        local = self.local
        if "%" not in local and "!" not in local and "@" not in local:
            return []
        user, *hosts = _ROUTE_MARK.split(self.unquoted)
        return [host.lower() for host in (*hosts, *user.split("!")[:-1]) if host]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mailbox) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Mailbox({self.text!r})"


NULL_SENDER = Mailbox("", "", "")
