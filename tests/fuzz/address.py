"""Target: the grammar of paths and parameters.

Held: nothing raises; what is accepted is free of control characters and, written into a command
again, is the same mailbox; no line costs more than MOST_CPU_S.
"""

import time

from gwsmtp.base.address import Mailbox
from gwsmtp.protocol import abnf
from tests.fuzz.fragments import ADDRESS, expanded, full_table

FRAGMENTS = ADDRESS
LONGEST = 1100  # octets; no command line that reaches the grammar is longer
MOST_CPU_S = 0.25
"""A linear match of LONGEST octets takes some microseconds; the pauses of a busy machine are no
part of a thread's own time.
"""

_TABLE = full_table(FRAGMENTS)
_PATH = (
    ("FROM:<{}>", "FROM:", abnf.parse_reverse_path),
    ("TO:<{}>", "TO:", abnf.parse_forward_path),
)


def check(text: str, way: int) -> None:
    """Raises when ``text``, read in one of five ways, breaks what is held."""
    started = time.thread_time()
    if way == 4:
        _check_parameters(text)
    else:
        wrapped, verb, _ = _PATH[way & 1]
        argument = wrapped.format(text) if way & 2 else text
        _check_path(argument if argument[:1] != "<" else verb + argument, way & 1)
    spent = time.thread_time() - started
    assert spent < MOST_CPU_S, f"{spent:.2f} s for {len(text)} characters"


def _check_path(argument: str, side: int) -> None:
    wrapped, _, parse = _PATH[side]
    parsed = parse(argument)
    if parsed is None:
        return
    mailbox, parameters = parsed
    for part in (mailbox.text, mailbox.local, mailbox.domain):
        assert not has_control(part), f"control characters in {part!r} of {argument!r}"
    again = parse(wrapped.format(mailbox.text))
    assert again is not None, f"{mailbox!r} is not accepted again"
    assert _parts(again[0]) == _parts(mailbox), f"{mailbox!r} is {again[0]!r} when read again"
    assert again[1] == "", f"parameters out of {mailbox!r}"
    _check_parameters(parameters)


def _check_parameters(text: str) -> None:
    parsed = abnf.parse_parameters(text)
    if parsed is None:
        return
    for keyword, value in parsed.items():
        assert keyword.isascii(), f"keyword {keyword!r}"
        assert keyword == keyword.upper(), f"keyword {keyword!r}"
        assert not has_control(keyword + (value or "")), f"control characters in {text!r}"
        assert "=" not in keyword, f"keyword {keyword!r}"
    written = " ".join(k if value is None else f"{k}={value}" for k, value in parsed.items())
    assert abnf.parse_parameters(written) == parsed, f"{written!r} is not {parsed} again"


def has_control(text: str) -> bool:
    """Whether a C0 or C1 control character, a line or a paragraph separator is in ``text``."""
    return not text.isprintable() and any(
        c < " " or "\x7f" <= c < "\xa0" or c in "\u2028\u2029" for c in text
    )


def _parts(mailbox: Mailbox) -> tuple[str, str, str]:
    return mailbox.text, mailbox.local, mailbox.domain


def fragments(data: bytes) -> None:
    """Text made of fragments; the first octet says how it is read."""
    if data:
        octets = expanded(data[1:], _TABLE)[:LONGEST]
        check(octets.decode("utf-8", "replace"), data[0] % 5)


def raw(data: bytes) -> None:
    """Octets as they are; the first one says how they are read."""
    if data:
        check(data[1:].decode("utf-8", "replace"), data[0] % 5)
