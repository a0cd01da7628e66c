"""The grammar of addresses and parameters (RFC 5321 4.1.2, errata considered; RFC 6531 3.3), one
regex a rule.

All input is one command line without its CRLF. The regexes admit printable characters only, so
nothing that matches can carry a line end into another command. Addresses may hold characters
beyond ASCII here; whether the client had asked for that is the caller's question. Domains leave
here in ASCII: U-labels become A-labels (IDNA 2008, with UTS 46 mapping).

Deviations, each because real mail needs it:
- Dot-string: ``..`` and a dot at either end of a local part are accepted (mobile operators hand
  out such addresses).
- sub-domain: an underscore is accepted.
- blanks between ``FROM:`` and ``<`` are accepted (many clients send one).
- Local-part: up to what a path holds instead of 64 octets (VERP senders exceed it).
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import idna

from gwsmtp.base.address import NULL_SENDER, Mailbox

MAX_PATH_OCTETS: Final = 256
"""RFC 5321 4.5.3.1.3, angle brackets included."""

# UTF8-non-ascii (RFC 6531 3.3), without the C1 controls and the separators of lines
_BEYOND = r"\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.{_BEYOND}-]"
_QUOTED = rf'"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_BEYOND}]|\\[\x20-\x7e])*"'
_LET_DIG = rf"[A-Za-z0-9_{_BEYOND}]"
_SUB_DOMAIN = rf"{_LET_DIG}(?:[A-Za-z0-9_{_BEYOND}-]*{_LET_DIG})?"
_DOMAIN = rf"{_SUB_DOMAIN}(?:\.{_SUB_DOMAIN})*"
_LITERAL = r"\[[\x21-\x5a\x5e-\x7e]+\]"
_MAILBOX = rf"(?P<local>{_ATEXT}+|{_QUOTED})@(?P<domain>{_DOMAIN}|{_LITERAL})"
# A-d-l ":" is the source route: accepted and ignored (RFC 5321 appendix C).
_ROUTE = rf"(?:@(?:{_DOMAIN}|{_LITERAL})(?:,@(?:{_DOMAIN}|{_LITERAL}))*:)?"

_MAPPED_DOMAIN: Final = re.compile(_DOMAIN)
_REVERSE_PATH: Final = re.compile(rf"FROM: *<(?:{_ROUTE}{_MAILBOX})?>(?: +(.*))?", re.IGNORECASE)
_FORWARD_PATH: Final = re.compile(
    rf"TO: *<(?:{_ROUTE}{_MAILBOX}|(?P<postmaster>(?a:postmaster)))>(?: +(.*))?", re.IGNORECASE
)
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e]+))?")
# Deviation: what a client calls itself is noted, not judged; refusing a wrong form here refuses
# mail (RFC 5321 4.1.4). It must be one word of printable ASCII.
_HELO_NAME: Final = re.compile(r"[\x21-\x7e]{1,255}")


def parse_reverse_path(argument: str) -> tuple[Mailbox, str] | None:
    """``FROM:<path> [parameters]`` as (sender, parameters); None for a syntax error."""
    match = _REVERSE_PATH.fullmatch(argument)
    if match is None:
        return None
    local, domain, parameters = match.groups()
    if local is None:
        return NULL_SENDER, parameters or ""
    return _mailbox(local, domain, parameters)


def parse_forward_path(argument: str) -> tuple[Mailbox, str] | None:
    """``TO:<path> [parameters]`` as (recipient, parameters); None for a syntax error.

    ``<Postmaster>`` without a domain is legal here (RFC 5321 4.1.1.3) and has domain "".
    """
    match = _FORWARD_PATH.fullmatch(argument)
    if match is None:
        return None
    local, domain, postmaster, parameters = match.groups()
    if postmaster is not None:
        return Mailbox(postmaster, postmaster, ""), parameters or ""
    return _mailbox(local, domain, parameters)


def _mailbox(local: str, domain: str, parameters: str | None) -> tuple[Mailbox, str] | None:
    text = f"{local}@{domain}"
    if len(text) + 2 > MAX_PATH_OCTETS:
        return None
    if not text.isascii():
        if len(text.encode("utf-8")) + 2 > MAX_PATH_OCTETS:
            return None
        ascii_domain = domain if domain.isascii() else _to_a_labels(domain)
        if ascii_domain is None:
            return None
        domain = ascii_domain
    if domain[0] == "[" and not address_literal(domain):
        return None
    return Mailbox(text, local, domain.lower()), parameters or ""


def _to_a_labels(domain: str) -> str | None:
    try:
        mapped = idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError:  # idna's own error is one
        return None
    # Mapping can leave labels empty.
    return mapped if _MAPPED_DOMAIN.fullmatch(mapped) else None


def address_literal(text: str) -> str:
    """An address literal with its brackets (RFC 5321 4.1.3) in the one form of its address; "" for
    anything else.

    Deviation: no other tag is registered, so no other General-address-literal is one.
    """
    if text[:1] != "[" or text[-1:] != "]" or "%" in text:  # a zone is of no use to others
        return ""
    address = text[1:-1]
    try:
        if address[:5].upper() == "IPV6:":
            return f"[IPv6:{IPv6Address(address[5:])}]"
        return f"[{IPv4Address(address)}]"
    except ValueError:
        return ""


def parse_helo_name(argument: str) -> str | None:
    """The argument of HELO or EHLO; None for a syntax error."""
    name = argument.strip(" ")
    return name if _HELO_NAME.fullmatch(name) else None


def parse_parameters(text: str) -> dict[str, str | None] | None:
    """ESMTP parameters by upper-case keyword, None as the value of a keyword without one; None
    for a syntax error or a keyword given twice.
    """
    found: dict[str, str | None] = {}
    # By blanks alone, which are all that ABNF's SP is: split() would take a tab or U+00A0 too.
    for word in filter(None, text.split(" ")):
        match = _PARAMETER.fullmatch(word)
        if match is None:
            return None
        keyword = match.group(1).upper()
        if keyword in found:
            return None
        found[keyword] = match.group(2)
    return found
