"""The trace field a message gets from us (RFC 5321 4.4, RFC 3848, RFC 6531 4.3).

What a client says of itself, and the recipient, are repeated only where they fit the grammar of
the field to the letter; anything else is left out, so that no parser meets what the RFC does not
know, and nothing a client chose can end the field. The form is folded: no line comes near the 998
octets of RFC 5322 2.1.1.

Limits: our own name is repeated as configured, and an administrator may have given it an
underscore. A recipient whose address only real mail allows (two dots in a row) is not named.
"""

import re
from collections.abc import Sequence
from typing import Final

from gwsmtp.base.peer import Peer
from gwsmtp.protocol.abnf import address_literal

LONGEST_LINE_OCTETS: Final = 998

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ATEXT: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_QUOTED: Final = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"'
_MAILBOX: Final = re.compile(rf"(?:[{_ATEXT}]+(?:\.[{_ATEXT}]+)*|{_QUOTED})@(.+)")
# RFC 6531 3.3: non-ASCII wherever text is, and U-labels. All that Unicode has of controls and
# line ends stays out.
_UTF8: Final = r"\xa1-\u2027\u2030-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff"
_LABEL_UTF8: Final = rf"[A-Za-z0-9{_UTF8}](?:[A-Za-z0-9{_UTF8}-]*[A-Za-z0-9{_UTF8}])?"
_DOMAIN_UTF8: Final = re.compile(rf"{_LABEL_UTF8}(?:\.{_LABEL_UTF8})*")
_QUOTED_UTF8: Final = rf'"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_UTF8}]|\\[\x20-\x7e])*"'
_MAILBOX_UTF8: Final = re.compile(
    rf"(?:[{_ATEXT}{_UTF8}]+(?:\.[{_ATEXT}{_UTF8}]+)*|{_QUOTED_UTF8})@(.+)"
)

_EXTENDED: Final = "ESMTP id "
_EXTENDED_TLS: Final = "ESMTPS id "
_INTERNATIONAL: Final = {_EXTENDED: "UTF8SMTP id ", _EXTENDED_TLS: "UTF8SMTPS id "}
"""RFC 6531 4.3."""


def trace_prefix(
    helo: str, peer: Peer, host_domain: str, *, is_extended: bool, tls: str = ""
) -> str:
    """The part of the Received field that is the same for all messages of a session.

    A HELO name that is neither a domain nor a literal is not repeated into a header: the client's
    address literal stands in its place. ``tls`` is version and cipher, "" in clear.
    """
    name = domain_or_literal(helo) or peer.literal
    protocol = _EXTENDED if is_extended else "SMTP id "
    if tls:
        # RFC 3848 has no word for HELO within TLS.
        host_domain = f"{host_domain} ({tls})"
        protocol = _EXTENDED_TLS if is_extended else protocol
    return f"Received: from {name} ({peer.literal})\r\n\tby {host_domain} with {protocol}"


def domain_or_literal(helo: str) -> str:
    """What a client calls itself, where that is a domain or an address literal; else ""."""
    return helo if _DOMAIN.fullmatch(helo) else address_literal(helo)


def received_field(
    prefix: str, message_id: str, recipients: Sequence[str], date: str, *, is_utf8: bool = False
) -> bytes:
    """The whole Received field with its CRLF; names the recipient only where there is one, so
    that blind copies stay blind (RFC 5321 7.2). ``message_id`` is an Atom.
    """
    if is_utf8:
        for extended, international in _INTERNATIONAL.items():
            if prefix.endswith(extended):
                prefix = prefix.removesuffix(extended) + international
                break
    only = _for_clause(recipients[0], is_utf8) if len(recipients) == 1 else ""
    return f"{prefix}{message_id}{only};\r\n\t{date}\r\n".encode()


def _for_clause(recipient: str, is_utf8: bool) -> str:
    match = (_MAILBOX_UTF8 if is_utf8 else _MAILBOX).fullmatch(recipient)
    if match is None:
        return ""
    domain = match.group(1)
    is_domain = (_DOMAIN_UTF8 if is_utf8 else _DOMAIN).fullmatch(domain)
    if not is_domain and address_literal(domain) != domain:
        return ""
    line = f"\tfor <{recipient}>;"
    if is_utf8 and len(line.encode()) > LONGEST_LINE_OCTETS:
        return ""
    return f"\r\n{line[:-1]}"
