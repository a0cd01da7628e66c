"""How values stand in a log line, so that nobody's words can be misread as pairs of ours."""

import re

_PLAIN = re.compile(r"[!#-\x3c\x3e-~]+")
_ESCAPES = (
    {ord('"'): '\\"', ord("\\"): "\\\\"}
    | {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
    # Unicode's own line ends, and what lets text run backwards on a screen.
    | {code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))}
)
# A quoted local part may hold what would end the address and begin a pair of its own.
# So may the blanks Unicode has besides, for a reader that splits at any of them.
_ENVELOPE_ESCAPES = (
    _ESCAPES
    | {ord(char): f"\\x{ord(char):02x}" for char in " <>,\xa0"}
    | {code: f"\\u{code:04x}" for code in (0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)}
)


def quoted(value: str) -> str:
    """``value`` as it stands behind ``key=``: bare where nothing in it could be misread, else in
    double quotes with control characters escaped, so that one event is one line.
    """
    if _PLAIN.fullmatch(value):
        return value
    return '"' + value.translate(_ESCAPES) + '"'


def envelope_text(address: str) -> str:
    """An address as it stands between the angle brackets of ``from=`` and ``to=``."""
    return address if _PLAIN.fullmatch(address) else address.translate(_ENVELOPE_ESCAPES)
