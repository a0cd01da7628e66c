"""The parameters of MAIL and RCPT that the built-in next hop takes, and what is wrong with others.

RFC 1870 (SIZE), RFC 6152 (BODY), RFC 6531 (SMTPUTF8), RFC 3461 4 (RET, ENVID, NOTIFY, ORCPT).
Pure. Like all of ``trial`` it shares no code with ``gwsmtp.protocol``.

Limits: an address in ORCPT is looked at for its form as xtext only, or, with SMTPUTF8, as
utf-8-addr-unitext (RFC 6533 3).
"""

import re
from collections.abc import Callable, Mapping

from gwsmtp.base import replies
from gwsmtp.base.reply import Reply

MAX_MESSAGE_OCTETS = 64 * 1024 * 1024

_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"
_SIZE = re.compile(r"[0-9]{1,20}")
_ENVID = re.compile(_XTEXT)
_NOTIFY = re.compile(
    r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}", re.IGNORECASE
)
_ORCPT = re.compile(rf"[A-Za-z0-9-]+;(?:{_XTEXT})")
_ORCPT_UTF8 = re.compile(r"utf-8;[^\x00-\x20+=\x7f\ud800-\udfff]+", re.IGNORECASE)


def mail_refusal(sender: str, parameters: str) -> Reply | None:
    """What is wrong with a MAIL, if anything is."""
    return _refusal(parameters, _OF_MAIL) or _address(sender, has_smtputf8(parameters))


def rcpt_refusal(recipient: str, parameters: str, *, is_utf8: bool) -> Reply | None:
    """What is wrong with a RCPT, if anything is; ``is_utf8``: its MAIL said SMTPUTF8."""
    if is_utf8 and not parameters.isascii():
        return _refusal(parameters, _OF_RCPT_UTF8) or _address(recipient, is_utf8)
    return _refusal(parameters, _OF_RCPT) or _address(recipient, is_utf8)


def has_smtputf8(parameters: str) -> bool:
    """Whether SMTPUTF8 is among the parameters of a MAIL."""
    return "SMTPUTF8" in parameters.upper().split()


def _address(address: str, is_utf8: bool) -> Reply | None:
    if address.isascii():
        return None
    if not is_utf8:
        return replies.NON_ASCII_ADDRESS
    try:
        address.encode()
    except UnicodeEncodeError:  # octets that were no UTF-8 came as halves of characters
        return replies.BAD_PARAMETER
    return None


def _refusal(parameters: str, known: Mapping[str, "_Check"]) -> Reply | None:
    seen: set[str] = set()
    for parameter in parameters.split():
        keyword, _, value = parameter.partition("=")
        keyword = keyword.upper()
        check = known.get(keyword)
        if check is None:
            return replies.UNKNOWN_PARAMETER
        if keyword in seen:
            return replies.BAD_PARAMETER
        seen.add(keyword)
        refusal = check(value)
        if refusal is not None:
            return refusal
    return None


def _size(value: str) -> Reply | None:
    if not _SIZE.fullmatch(value):
        return replies.BAD_PARAMETER
    return replies.MESSAGE_TOO_BIG if int(value) > MAX_MESSAGE_OCTETS else None


def _one_of(*values: str) -> "_Check":
    return lambda value: None if value.upper() in values else replies.BAD_PARAMETER


def _like(*patterns: re.Pattern[str], octets: int) -> "_Check":
    def check(value: str) -> Reply | None:
        is_like = any(pattern.fullmatch(value) for pattern in patterns)
        return None if is_like and len(value.encode()) <= octets else replies.BAD_PARAMETER

    return check


_Check = Callable[[str], Reply | None]
_OF_MAIL: dict[str, _Check] = {
    "SIZE": _size,
    "BODY": _one_of("7BIT", "8BITMIME"),
    "SMTPUTF8": _one_of(""),
    "RET": _one_of("FULL", "HDRS"),
    "ENVID": _like(_ENVID, octets=100),
}
_OF_RCPT: dict[str, _Check] = {
    "NOTIFY": _like(_NOTIFY, octets=28),
    "ORCPT": _like(_ORCPT, octets=500),
}
_OF_RCPT_UTF8 = _OF_RCPT | {"ORCPT": _like(_ORCPT, _ORCPT_UTF8, octets=500)}
