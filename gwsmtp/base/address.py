"""An envelope address as a value (RFC 5321 4.1.2): what the grammar parsed, ready to compare.

Parsing is ``protocol.abnf``'s; nothing here looks at syntax.
"""


class Mailbox:
    """``text`` is the address as the client wrote it, without angle brackets and source route;
    ``local`` its local part as written (quotes included); ``domain`` in lower case, "" for the
    null sender and for a bare Postmaster.
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
        """
        return f"{self.local.lower()}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        """Whether it can be said without SMTPUTF8 (RFC 6531)."""
        return self.text.isascii()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mailbox) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Mailbox({self.text!r})"


NULL_SENDER = Mailbox("", "", "")
