"""The Received field by a grammar of the tests' own, written from the RFCs and not from our code,
and by Python's mail parser.
"""

import email
import email.policy
import re
from email.utils import parsedate_to_datetime

# RFC 5321 4.1.2, 4.1.3 and 4.4, with RFC 6531 3.3 as {U}: only what we may ever write of it.
_SNUM = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_SNUM}(?:\.{_SNUM}){{3}}"
_HEX = r"[0-9A-Fa-f]{1,4}"


def _compressed(groups: int, tail: str = "") -> str:
    """``::`` with at most so many groups at both sides together."""
    forms = []
    for before in range(groups + 1):
        for after in range(groups + 1 - before):
            left = ":".join([_HEX] * before)
            right = ":".join([_HEX] * after + ([tail] if tail else []))
            forms.append(f"{left}::{right}")
    return "|".join(forms)


_IPV6 = (
    rf"(?:{_HEX}(?::{_HEX}){{7}}|{_compressed(6)}"
    rf"|{_HEX}(?::{_HEX}){{5}}:{_IPV4}|{_compressed(4, _IPV4)})"
)
_LITERAL = rf"\[(?:{_IPV4}|IPv6:{_IPV6})\]"
_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~%U]"
_LET_DIG = r"[A-Za-z0-9%U]"
_SUB = rf"{_LET_DIG}(?:[A-Za-z0-9%U-]*{_LET_DIG})?"
_DOMAIN = rf"{_SUB}(?:\.{_SUB})*"
_LOCAL = rf'(?:{_ATEXT}+(?:\.{_ATEXT}+)*|"(?:[\x20-\x21\x23-\x5b\x5d-\x7e%U]|\\[\x20-\x7e])*")'
_FWS = r"(?:[ \t]*\r\n)?[ \t]+"
_DATE = (
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r" [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}"
)
_FIELD = (
    rf"Received:{_FWS}from{_FWS}(?P<name>{_DOMAIN}|{_LITERAL}){_FWS}\((?P<ip>{_LITERAL})\)"
    rf"{_FWS}by{_FWS}(?P<by>{_DOMAIN}){_FWS}with{_FWS}(?P<with>SMTP|ESMTP|UTF8SMTP)"
    rf"{_FWS}id{_FWS}(?P<id>{_ATEXT}+)(?:{_FWS}for{_FWS}<(?P<for>{_LOCAL}@(?:{_DOMAIN}|{_LITERAL}))>)?"
    rf";{_FWS}(?P<date>{_DATE})\r\n"
)
_ASCII_FIELD = re.compile(_FIELD.replace("%U", ""))
_UTF8_FIELD = re.compile(_FIELD.replace("%U", "\xa0-\U0010ffff"))


def parsed(field: bytes, *, is_utf8: bool = False) -> dict[str, str]:
    """The parts of a field; fails unless it fits the grammar and no line is too long."""
    text = field.decode("utf-8" if is_utf8 else "ascii")
    match = (_UTF8_FIELD if is_utf8 else _ASCII_FIELD).fullmatch(text)
    assert match, field
    assert max(len(line) for line in field.split(b"\r\n")) <= 998
    message = email.message_from_bytes(field + b"\r\n", policy=email.policy.default)
    assert message.keys() == ["Received"]
    assert not message.defects
    date = str(message["Received"]).rpartition(";")[2]
    assert parsedate_to_datetime(date) == parsedate_to_datetime(match["date"])
    return match.groupdict()
