"""Whether a letter whose sender said SMTPUTF8 can do without it (RFC 6531 3.2). Pure.

Many clients say SMTPUTF8 whenever we offer it. For a host that does not, it is needed only where
an address or the header section really is not ASCII; an 8-bit body needs 8BITMIME at the most.

Limits: of a header section longer than the first piece of a body in a file (256 KiB) only that
piece is looked at, and headers of parts inside the body are not (RFC 6532 3.7).
"""

from collections.abc import Sequence


def has_ascii_envelope(sender: str, recipients: Sequence[str]) -> bool:
    """Whether all addresses are ASCII."""
    return sender.isascii() and all(recipient.isascii() for recipient in recipients)


def has_ascii_header(prefix: bytes, start: bytes) -> bool:
    """Whether the header section is ASCII; ``prefix`` stands before the message, which begins with
    ``start``. Without an empty line, all of ``start`` is header.
    """
    if not prefix.isascii():
        return False
    if start.isascii() or start.startswith(b"\r\n"):
        return True
    end = start.find(b"\r\n\r\n")
    return end >= 0 and start[:end].isascii()
