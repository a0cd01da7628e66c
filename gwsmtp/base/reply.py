"""One SMTP reply as a value (RFC 5321 4.2, RFC 2034).

A reply is built once with its bytes ready, so that sending it costs nothing. Both sides use it:
the server queues ``wire``, the client side builds one from what a next hop said.
"""

import re

_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]+")
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")  # RFC 3463 2

MAX_TEXT_OCTETS = 400
"""Text of others that we pass on is cut here; with code and enhanced code it stays below the 512
octets of a reply line (RFC 5321 4.5.3.1.5)."""


class Reply:
    """Code, enhanced code ("" where the RFCs have none) and text lines; compared by value.

    ``is_positive`` is 2xx or 3xx; ``closes`` says that the side that speaks it closes the
    connection afterwards.
    """

    __slots__ = ("closes", "code", "enhanced", "is_positive", "lines", "wire")

    def __init__(self, code: int, enhanced: str, *lines: str, closes: bool = False) -> None:
        self.code = code
        self.enhanced = enhanced
        self.lines = lines or ("",)
        self.closes = closes
        self.is_positive = 200 <= code < 400
        prefix = f"{enhanced} " if enhanced else ""
        if len(self.lines) == 1:
            self.wire = f"{code} {prefix}{self.lines[0]}\r\n".encode()
            return
        last = len(self.lines) - 1
        self.wire = "".join(
            f"{code}{' ' if index == last else '-'}{prefix}{line}\r\n"
            for index, line in enumerate(self.lines)
        ).encode("utf-8")

    @property
    def text(self) -> str:
        """The text lines in one, without codes."""
        return " ".join(self.lines)

    @property
    def is_temporary(self) -> bool:
        """4xx."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5xx."""
        return 500 <= self.code < 600

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reply) and self.wire == other.wire and self.closes == other.closes

    def __hash__(self) -> int:
        return hash(self.wire)

    def __repr__(self) -> str:
        return f"Reply({self!s})"

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


def passed_on(code: int, lines: list[str]) -> Reply:
    """A next hop's reply made fit to be ours: its code, its enhanced code or ``x.0.0``, its text
    printable, in one line, at most 400 octets (DESIGN, One message, 7).
    """
    klass = str(code)[0]
    enhanced = ""
    texts = []
    for line in lines:
        match = _ENHANCED.match(line)
        if match is None:
            texts.append(line)
            continue
        end = match.end()
        texts.append(line[end:])
        if match[1][0] == klass:
            enhanced = enhanced or match[1]
    text = texts[0] if len(texts) == 1 else " ".join(texts)
    return Reply(code, enhanced or f"{klass}.0.0", printable(text) or "no reason given")


def enhanced_code(line: str) -> str:
    """The enhanced status code a reply's text begins with, or ""."""
    found = _ENHANCED.match(line)
    return found.group(1) if found else ""


def printable(text: str, limit: int = MAX_TEXT_OCTETS) -> str:
    """``text`` as one line of printable ASCII, at most ``limit`` octets."""
    if not (text.isascii() and text.isprintable()):
        text = _NOT_PRINTABLE.sub(" ", text)
    return text.strip()[:limit].rstrip()
