"""The trace field a message gets from us (RFC 5321 4.4, RFC 3848)."""

import re
from collections.abc import Sequence
from typing import Final

from gwsmtp.base.peer import Peer

_DOMAIN_OR_LITERAL: Final = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?|\[(?:IPv6:)?[0-9A-Fa-f.:]{2,60}\]"
)


def trace_prefix(
    helo: str, peer: Peer, host_domain: str, *, is_extended: bool, tls: str = ""
) -> str:
    """The part of the Received field that is the same for all messages of a session.

    A HELO name that is neither a domain nor a literal is not repeated into a header: the client's
    address literal stands in its place. ``tls`` is version and cipher, "" in clear.
    """
    name = helo if _DOMAIN_OR_LITERAL.fullmatch(helo) else peer.literal
    protocol = "ESMTP" if is_extended else "SMTP"
    if tls:
        # RFC 3848 has no word for HELO within TLS.
        host_domain = f"{host_domain} ({tls})"
        protocol = "ESMTPS" if is_extended else protocol
    return f"Received: from {name} ({peer.literal})\r\n\tby {host_domain} with {protocol} id "


def received_field(prefix: str, message_id: str, recipients: Sequence[str], date: str) -> bytes:
    """The whole Received field with its CRLF; names the recipient only where there is one, so
    that blind copies stay blind (RFC 5321 7.2).
    """
    only = f"\r\n\tfor <{recipients[0]}>" if len(recipients) == 1 else ""
    return f"{prefix}{message_id}{only};\r\n\t{date}\r\n".encode("ascii")
