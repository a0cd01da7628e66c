"""ESMTP parameters of MAIL and RCPT: their values checked, their meaning made plain.

RFC 1870 (SIZE), RFC 6152 (BODY), RFC 6531 (SMTPUTF8), RFC 3461 (RET, ENVID, NOTIFY, ORCPT). A
parameter of an extension that was not offered is refused with 555 (RFC 5321 4.1.1.11).

DSN parameters are carried as text, checked and spelled as they go on to the next hop.
"""

import re
from typing import Final

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.base.reply import Reply
from gwsmtp.protocol.abnf import parse_parameters
from gwsmtp.protocol.events import Mail, Recipient
from gwsmtp.protocol.extensions import Offer

NO_SIZE: Final = -1
_SIZE_DIGITS: Final = 20  # RFC 1870 4: at most twenty digits
_BODIES: Final = frozenset({"7BIT", "8BITMIME"})

_XTEXT: Final = r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})+"  # RFC 3461 4
_DSN_OF_MAIL: Final = {
    "RET": re.compile("FULL|HDRS", re.IGNORECASE),  # RFC 3461 4.3
    "ENVID": re.compile(rf"(?=.{{1,100}}\Z){_XTEXT}"),  # RFC 3461 4.4
}
_DSN_OF_RCPT: Final = {
    # RFC 3461 4.1: NEVER stands alone
    "NOTIFY": re.compile(
        "NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}", re.IGNORECASE
    ),
    # RFC 3461 4.2: an address type, then xtext; 500 octets in all
    "ORCPT": re.compile(rf"(?=.{{1,500}}\Z)[A-Za-z0-9-]+;{_XTEXT}"),
}


def mail_event(sender: Mailbox, parameters: str, offer: Offer) -> Mail | Reply:
    """The event of a MAIL command, or the reply that refuses its parameters."""
    if not parameters:
        return Mail(sender, NO_SIZE, "7BIT")
    values = parse_parameters(parameters)
    if values is None:
        return replies.BAD_SENDER
    size, body, is_utf8, dsn = NO_SIZE, "7BIT", False, ""
    for keyword, value in values.items():
        if keyword == "SIZE" and offer.size_limit >= 0:
            if value is None or not value.isdecimal() or len(value) > _SIZE_DIGITS:
                return replies.BAD_PARAMETER
            size = int(value)
        elif keyword == "BODY":
            body = (value or "").upper()
            if body not in _BODIES:
                return replies.BAD_PARAMETER
        elif keyword == "SMTPUTF8":
            if value is not None:
                return replies.BAD_PARAMETER
            is_utf8 = True
        elif keyword in _DSN_OF_MAIL and offer.dsn:
            if not _DSN_OF_MAIL[keyword].fullmatch(value or ""):
                return replies.BAD_PARAMETER
            dsn += f" {keyword}={value}"
        else:
            return replies.UNKNOWN_PARAMETER
    return Mail(sender, size, body, is_utf8=is_utf8, dsn=dsn.lstrip())


def recipient_event(mailbox: Mailbox, parameters: str, offer: Offer) -> Recipient | Reply:
    """The event of a RCPT command, or the reply that refuses its parameters."""
    if not parameters:
        return Recipient(mailbox)
    values = parse_parameters(parameters)
    if values is None:
        return replies.BAD_RECIPIENT
    dsn = ""
    for keyword, value in values.items():
        if keyword not in _DSN_OF_RCPT or not offer.dsn:
            return replies.UNKNOWN_PARAMETER
        if not _DSN_OF_RCPT[keyword].fullmatch(value or ""):
            return replies.BAD_PARAMETER
        dsn += f" {keyword}={value}"
    return Recipient(mailbox, dsn.lstrip())
