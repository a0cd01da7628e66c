"""ESMTP parameters of MAIL and RCPT: their values checked, their meaning made plain.

RFC 1870 (SIZE), RFC 6152 (BODY). A parameter of an extension that was not offered is refused with
555 (RFC 5321 4.1.1.11).
"""

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


def mail_event(sender: Mailbox, parameters: str, offer: Offer) -> Mail | Reply:
    """The event of a MAIL command, or the reply that refuses its parameters."""
    if not parameters:
        return Mail(sender, NO_SIZE, "7BIT")
    values = parse_parameters(parameters)
    if values is None:
        return replies.BAD_SENDER
    size, body = NO_SIZE, "7BIT"
    for keyword, value in values.items():
        if keyword == "SIZE" and offer.size_limit >= 0:
            if value is None or not value.isdecimal() or len(value) > _SIZE_DIGITS:
                return replies.BAD_PARAMETER
            size = int(value)
        elif keyword == "BODY":
            body = (value or "").upper()
            if body not in _BODIES:
                return replies.BAD_PARAMETER
        else:
            return replies.UNKNOWN_PARAMETER
    return Mail(sender, size, body)


def recipient_event(mailbox: Mailbox, parameters: str) -> Recipient | Reply:
    """The event of a RCPT command, or the reply that refuses its parameters."""
    if not parameters:
        return Recipient(mailbox)
    return (
        replies.BAD_RECIPIENT if parse_parameters(parameters) is None else replies.UNKNOWN_PARAMETER
    )
